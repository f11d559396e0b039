// SPDX-License-Identifier: LGPL-2.1-or-later
// Running both sides operation by operation, and shrinking: operations, words and values are
// left out or made simpler as long as the same kind of difference remains.
#include "tests/differential/comparison.h"

#include <algorithm>
#include <vector>

#include "tests/differential/masks.h"

namespace differential {
namespace {

constexpr int kTries = 600;

// Bytes say little about the cause, where they begin to differ says much.
std::string shape(const std::string& answer, const std::string& other) {
  const auto parts = split(answer, ' '), others = split(other, ' ');
  std::string shape;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    shape += ' ';
    if (i == 0 || parts[i].find_first_not_of("0123456789abcdefx:") != std::string::npos) {
      shape += parts[i];
      continue;
    }
    shape += parts[i].substr(0, parts[i].find(':') + 1);
    if (i < others.size() && others[i] != parts[i])
      shape += '@' +
               std::to_string(
                   std::mismatch(parts[i].begin(), parts[i].end(), others[i].begin(), others[i].end()).first -
                   parts[i].begin());
  }
  return shape;
}

// What differs.  Bytes that are read are told apart by where they come from.
std::string subject(const Operation& operation, const std::string& first, const std::string& second) {
  if (operation.name != "pread" && operation.name != "pwrite") return operation.name;
  std::string text = operation.name + " region " + hex(operation.number("region"));
  const auto one = split(first, ' '), other = split(second, ' ');
  if (one.size() < 2 || other.size() < 2 || one[0] != other[0]) return text;
  const auto at =
      std::mismatch(one[1].begin(), one[1].end(), other[1].begin(), other[1].end()).first - one[1].begin();
  return text + " byte " + hex(operation.number("offset") + static_cast<std::uint64_t>(at) / 2);
}

// Simpler values of an argument, the simplest first; none: without it.
std::vector<std::string> simpler(const std::string& value) {
  std::vector<std::string> values;
  const auto plus = value.find('+');
  if (plus != std::string::npos) values.push_back(value.substr(0, plus));
  if (const auto parts = split(value, '|'); parts.size() > 1)
    for (const std::string& part : parts) values.push_back(part);
  if (const auto parts = split(value, ','); parts.size() > 1) {
    values.push_back(parts[0]);
    values.push_back(value.substr(0, value.rfind(',')));
  }
  if (!value.empty() && value[0] >= '0' && value[0] <= '9' && value.find('|') == std::string::npos) {
    const std::uint64_t number = number_of(value);
    for (const std::uint64_t simple : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{0x1000},
                                       number & ~std::uint64_t{0xfff}, number / 2})
      if (simple < number) values.push_back(hex(simple));
  }
  return values;
}

}  // namespace

std::string Difference::kind() const {
  if (name.find(" byte ") != std::string::npos) return name;
  return name + shape(first, second) + " /" + shape(second, first);
}

std::optional<Difference> Comparison::run(const Sequence& sequence) {
  first_.send(sequence);
  second_.send(sequence);
  const auto first = first_.receive(), second = second_.receive();
  for (std::size_t i = 0; i < std::max(first.size(), second.size()); ++i) {
    const std::string a = i < first.size() ? first[i] : "no answer",
                      b = i < second.size() ? second[i] : "no answer";
    if (a == b) continue;
    const Operation end{"end", {}, {}};
    const Operation& operation = i < sequence.size() ? sequence[i] : end;
    const Judgement judgement = judge(sequence, i, a, b);
    if (judgement == Judgement::forgiven) continue;
    if (judgement == Judgement::forgiven_to_the_end) return {};
    return Difference{i, subject(operation, a, b), a, b};
  }
  return {};
}

Sequence Comparison::shrink(Sequence sequence, Difference& difference) {
  int tries = 0;
  const auto accept = [&](Sequence candidate) {
    if (++tries > kTries) return false;
    const auto found = run(candidate);
    if (!found || found->name != difference.name) return false;
    candidate.resize(std::min(candidate.size(), found->index + 1));
    sequence = std::move(candidate);
    difference = *found;
    return true;
  };
  Sequence cut(sequence.begin(),
               sequence.begin() + static_cast<long>(std::min(sequence.size(), difference.index + 1)));
  accept(cut);
  for (bool better = true; better && tries < kTries;) {
    better = false;
    for (std::size_t step = std::max<std::size_t>(1, sequence.size() / 2);; step /= 2) {
      for (std::size_t from = sequence.size(); from-- > 0;) {
        if (from % step != 0 || from >= sequence.size()) continue;
        Sequence candidate = sequence;
        candidate.erase(candidate.begin() + static_cast<long>(from),
                        candidate.begin() + static_cast<long>(std::min(from + step, candidate.size())));
        better |= accept(std::move(candidate));
      }
      if (step == 1) break;
    }
    for (std::size_t i = 0; i < sequence.size(); ++i) {
      for (std::size_t k = 0; i < sequence.size() && k < sequence[i].arguments.size();) {
        Sequence without = sequence;
        without[i].arguments.erase(without[i].arguments.begin() + static_cast<long>(k));
        if (accept(std::move(without))) {
          better = true;
          continue;
        }
        for (const std::string& value : simpler(sequence[i].arguments[k].second)) {
          Sequence candidate = sequence;
          candidate[i].arguments[k].second = value;
          if (accept(std::move(candidate))) {
            better = true;
            break;
          }
        }
        ++k;
      }
    }
  }
  return sequence;
}

std::string Comparison::transcript(const Sequence& sequence) {
  first_.send(sequence);
  second_.send(sequence);
  const auto first = first_.receive(), second = second_.receive();
  std::string text;
  for (std::size_t i = 0; i < sequence.size() || i < first.size() || i < second.size(); ++i) {
    const std::string a = i < first.size() ? first[i] : "no answer",
                      b = i < second.size() ? second[i] : "no answer";
    text += (i < sequence.size() ? sequence[i].text() : "end") + '\n';
    if (a == b) {
      text += "    both: " + a + '\n';
    } else {
      const bool hidden = judge(sequence, i, a, b) != Judgement::different;
      text += "    " + first_.name() + ": " + a + '\n' + "    " + second_.name() + ": " + b +
              (hidden ? "   (not compared)" : "") + '\n';
    }
  }
  return text;
}

}  // namespace differential
