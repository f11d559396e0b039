// SPDX-License-Identifier: LGPL-2.1-or-later
// The CONF of NAME:CONF: "key=value,flag,key=value" with sizes like 64M.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pviommu {

/// Parses a number with an optional suffix K, M, G or T (powers of 1024) and an
/// optional 0x.  Empty on anything else or on overflow.
std::optional<std::uint64_t> parse_size(std::string_view text);

/// One element of a CONF list: "nvme,file=disk.img,serial=x" -> head "nvme".
/// Elements are separated by ';', items within one by ','.  A value may be
/// double-quoted to hold either: file="a,b".  Blanks around elements, items,
/// keys and values are dropped, and so are empty elements: a CONF may span lines
/// and end with ';'.  An empty item and a key given twice are errors.
struct ConfElement {
  std::string head;  ///< first item if it has no '=', else empty
  std::vector<std::pair<std::string, std::string>> items;  ///< flag without '=': value "on"
};

struct ConfError {
  std::string message;  ///< names the offending text
};

/// Splits CONF.  On error `error.message` is set and the result is empty.
std::vector<ConfElement> parse_conf(std::string_view conf, ConfError& error);

/// Reads items out of an element and remembers which were asked for, so that a
/// misspelt key is an error that lists the known ones.
class ConfReader {
 public:
  explicit ConfReader(const ConfElement& element) : element_(element) {}

  std::string text(std::string_view key, std::string_view fallback);
  std::uint64_t size(std::string_view key, std::uint64_t fallback);
  bool flag(std::string_view key, bool fallback);  ///< on/off, yes/no, 1/0
  /// One of `choices`; the message lists them otherwise.
  std::string choice(std::string_view key, std::string_view fallback,
                     std::initializer_list<std::string_view> choices);

  /// Empty when all was understood; call after the last read.
  std::string finish();

 private:
  const std::string* find(std::string_view key);
  void complain(std::string problem);  ///< the first one is kept
  const ConfElement& element_;
  std::vector<std::string> asked_;
  std::string problem_;
};

}  // namespace pviommu
