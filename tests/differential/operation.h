// SPDX-License-Identifier: LGPL-2.1-or-later
// One operation of a sequence, in the text form that people and files see:
//
//   NAME [WORD...] [KEY=VALUE...]        map c0 iova=0x1000 size=0x2000 vaddr=m0+0x1000
//
// Objects are slots (c0 a container, g0 a group, d0 a device, e0 an eventfd, m0 memory),
// so that which operation comes next never hangs on an answer.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace differential {

struct Name {
  std::string_view name;
  std::uint64_t value;
};

struct Operation {
  std::string name;
  std::vector<std::string> words;
  std::vector<std::pair<std::string, std::string>> arguments;

  static Operation parse(const std::string& line);
  std::string text() const;

  std::string word(std::size_t index) const { return index < words.size() ? words[index] : std::string(); }
  const std::string* find(std::string_view key) const;
  std::string value(std::string_view key, std::string_view fallback = "") const;
  std::uint64_t number(std::string_view key, std::uint64_t fallback = 0) const;
  /// "a|b|0x40": names of `known` and numbers.
  std::uint64_t flags(std::string_view key, const std::vector<Name>& known, std::uint64_t fallback) const;

  Operation& set(std::string_view key, std::string value);
  Operation& set(std::string_view key, std::uint64_t value);
};

using Sequence = std::vector<Operation>;

/// Lines that are empty or begin with '#' are left out.
Sequence parse_sequence(const std::string& text);
std::string text_of(const Sequence& sequence);

std::string hex(std::uint64_t value);
std::uint64_t number_of(const std::string& text);
std::vector<std::string> split(const std::string& text, char separator);

// Names of flags, for the worker, who reads them, and the generator, who writes them.
extern const std::vector<Name> kMapFlags, kUnmapFlags, kDirtyFlags, kIrqFlags, kFeatureFlags;

}  // namespace differential
