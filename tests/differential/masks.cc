// SPDX-License-Identifier: LGPL-2.1-or-later
// The list of what is not compared, each with its reason; doc/developer.md repeats it.
#include "tests/differential/masks.h"

#include <algorithm>

#include "tests/differential/structures.h"

namespace differential {
namespace {

struct Mask {
  const char* what;
  const char* why;
  bool (*forgives)(const Sequence& sequence, std::size_t index, const std::string& first,
                   const std::string& second);
  bool ends;  ///< both are in different states now
};

// Both read that many bytes.
bool same_length(const std::string& first, const std::string& second) {
  return !first.starts_with('-') && first.size() == second.size() &&
         first.substr(0, first.find(' ')) == second.substr(0, second.find(' '));
}

// A slot that was, or may be, given another device than edu.
bool not_edu(const Sequence& sequence, std::size_t index) {
  const std::string slot = sequence[index].word(0);
  return std::any_of(sequence.begin(), sequence.begin() + static_cast<long>(index), [&](const Operation& one) {
    return one.name == "device" && one.word(0) == slot && !one.value("name", "edu").starts_with("edu");
  });
}

// A slot that was, or may be, given an edu before `end`, by itself or as another's copy.
bool may_be_edu(const Sequence& sequence, std::size_t end, const std::string& slot) {
  for (std::size_t i = 0; i < end; ++i) {
    const Operation& one = sequence[i];
    if (one.name == "device" && one.word(0) == slot && one.value("name", "edu").starts_with("edu")) return true;
    if (one.name == "dup" && one.word(1) == slot && may_be_edu(sequence, i, one.word(0))) return true;
  }
  return false;
}

bool registers(const Sequence& sequence, std::size_t index, const std::string& first,
               const std::string& second) {
  const Operation& operation = sequence[index];
  // Where the file offset is, whatever was shifted out at its top.
  const std::uint64_t region = operation.number("region") << 40 >> 40;
  return operation.name == "pread" && region < 7 && same_length(first, second) &&
         not_edu(sequence, index);
}

// "... bits 0:1040": those of the second are among those of the first.
bool stale_bits(const Sequence& sequence, std::size_t index, const std::string& first,
                const std::string& second) {
  const auto gets = [](const Operation& operation) {
    return operation.name == "dirty" || (operation.name == "unmap" && operation.find("flags"));
  };
  if (!gets(sequence[index]) ||
      std::count_if(sequence.begin(), sequence.begin() + static_cast<long>(index), gets) < 2)
    return false;
  const auto bits_of = [](const std::string& answer) {
    std::vector<std::uint8_t> bits;
    const auto from = answer.find(" bits ");
    if (from == std::string::npos) return bits;
    for (const std::string& stretch : split(answer.substr(from + 6), ' ')) {
      const auto colon = stretch.find(':');
      const auto bytes = bytes_of(stretch.substr(colon + 1));
      bits.resize(std::max<std::size_t>(bits.size(), number_of(stretch) + bytes.size()));
      std::copy(bytes.begin(), bytes.end(), bits.begin() + static_cast<long>(number_of(stretch)));
    }
    return bits;
  };
  auto more = bits_of(first), fewer = bits_of(second);
  if (first.substr(0, first.find(" bits ")) != second.substr(0, second.find(" bits "))) return false;
  fewer.resize(std::max(fewer.size(), more.size()));
  more.resize(fewer.size());
  for (std::size_t i = 0; i < more.size(); ++i)
    if (fewer[i] & ~more[i]) return false;
  return true;
}

// The eventfd that was to unmask is closed, the program wants another one.
bool closed_unmask(const Sequence& sequence, std::size_t index, const std::string& first,
                   const std::string& second) {
  const auto unmask = [](const Operation& operation) {
    return operation.name == "set_irqs" && operation.value("flags").find("unmask") != std::string::npos;
  };
  const auto closes = [](const Operation& operation) {
    return operation.name == "eventfd" || operation.name == "close" || operation.name == "dup";
  };
  const auto begin = sequence.begin(), end = begin + static_cast<long>(index);
  const auto armed = std::find_if(begin, end, unmask);
  return unmask(sequence[index]) && first == "0" && second == "-1 EBUSY" && std::any_of(armed, end, closes);
}

// What comes on an eventfd, after one eventfd was both what INTx signals and what unmasks it.
bool feeds_itself(const Sequence& sequence, std::size_t index, const std::string&, const std::string&) {
  if (sequence[index].name != "poll" && sequence[index].name != "wait") return false;
  const auto begin = sequence.begin(), end = begin + static_cast<long>(index);
  const auto sets = [](const Operation& operation, const char* action) {
    const std::string flags = operation.value("flags");
    return operation.name == "set_irqs" && operation.number("index") == 0 &&
           flags.find("eventfd") != std::string::npos && flags.find(action) != std::string::npos;
  };
  return std::any_of(begin, end, [&](const Operation& unmask) {
    return sets(unmask, "unmask") && std::any_of(begin, end, [&](const Operation& trigger) {
             return sets(trigger, "trigger") && trigger.value("data") == unmask.value("data");
           });
  });
}

// Where the kernel answered EINVAL, and since 6.18 EOVERFLOW, as pviommu does.
bool wraps(const Sequence&, std::size_t, const std::string& first, const std::string& second) {
  const std::string old = "-1 EINVAL", now = "-1 EOVERFLOW";
  return first.starts_with(old) && second.starts_with(now) && first.substr(old.size()) == second.substr(now.size());
}

// The nesting type, which is gone since 7.0.
bool nesting(const Sequence& sequence, std::size_t index, const std::string& first, const std::string& second) {
  const Operation& operation = sequence[index];
  return (operation.name == "extension" && operation.number("n") == 6 && first == "1" && second == "0") ||
         (operation.name == "set_iommu" && first == "-1 EINVAL" && second == "-1 ENODEV");
}

// Conventional devices have an error interrupt, and no BAR is executable, since 7.0.
bool error_interrupt(const Sequence& sequence, std::size_t index, const std::string& first, const std::string&) {
  const Operation& operation = sequence[index];
  return (operation.name == "irq_info" || operation.name == "set_irqs") && operation.number("index") == 3 &&
         first.starts_with("-1 EINVAL") && may_be_edu(sequence, index, operation.word(0));
}
bool executable(const Sequence& sequence, std::size_t index, const std::string&, const std::string& second) {
  const Operation& operation = sequence[index];
  return operation.name == "mmap" && operation.value("prot").find('x') != std::string::npos && second == "-1 EPERM";
}

/// The whole list.  What a program could notice is in doc/vfio-differences.md, too.
constexpr Mask kMasks[] = {
    {"contents of the registers of NVMe and e1000e", "they are the device's, not the interface's", registers,
     false},
    {"more bits in a dirty bitmap after an earlier one",
     "the kernel shifts its own bitmap in place and does not shift it back", stale_bits, false},
    {"another eventfd to unmask INTx after the first was closed, and what follows",
     "the engine holds the eventfd and is not told", closed_unmask, true},
    {"how often an INTx comes that unmasks itself",
     "as often as its thread runs, in the kernel as well", feeds_itself, true},
    {"EOVERFLOW for a range that ends beyond 2^64", "the kernel's answer since 6.18; EINVAL before", wraps, false},
    {"the nesting type", "gone from the kernel since 7.0", nesting, false},
    {"the error interrupt of conventional devices, and what follows", "there since 7.0", error_interrupt, true},
    {"executable mappings of BARs, and what follows", "refused since 7.0", executable, true},
};

}  // namespace

Judgement judge(const Sequence& sequence, std::size_t index, const std::string& first,
                const std::string& second) {
  if (index >= sequence.size()) return Judgement::different;
  for (const Mask& mask : kMasks)
    if (mask.forgives(sequence, index, first, second))
      return mask.ends ? Judgement::forgiven_to_the_end : Judgement::forgiven;
  return Judgement::different;
}

std::string masks_text() {
  std::string text;
  for (const Mask& mask : kMasks) text += std::string(mask.what) + ": " + mask.why + '\n';
  return text;
}

}  // namespace differential
