// SPDX-License-Identifier: LGPL-2.1-or-later
//   "machine;nvme,file=disk.img,size=64M"   ';' separates elements, ',' items, '=' key and
//                                           value; double quotes protect all three
//
// A ConfReader notes which keys were asked for: finish() complains of the others.
#include "hypercall/conf.h"

#include <algorithm>

namespace pviommu {
namespace {

std::string quoted(std::string_view text) { return '"' + std::string(text) + '"'; }

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  const auto first = text.find_first_not_of(kBlank);
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

/// Cuts `text` at every `separator` that is not inside double quotes.  False:
/// a quote is not closed.
bool split_unquoted(std::string_view text, char separator, std::vector<std::string_view>& parts) {
  bool in_quotes = false;
  std::size_t start = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"') in_quotes = !in_quotes;
    if (text[i] == separator && !in_quotes) {
      parts.push_back(text.substr(start, i - start));
      start = i + 1;
    }
  }
  parts.push_back(text.substr(start));
  return !in_quotes;
}

/// The value of an item: bare, or wholly in quotes.
bool unquote(std::string_view text, std::string& value) {
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') text = text.substr(1, text.size() - 2);
  value = text;
  return text.find('"') == text.npos;
}

std::string parse_element(std::string_view text, ConfElement& element) {
  std::vector<std::string_view> items;
  split_unquoted(text, ',', items);
  for (std::size_t i = 0; i < items.size(); ++i) {
    const std::string_view item = trimmed(items[i]);
    if (item.empty()) return "empty item in " + quoted(text);
    const auto equals = item.find('=');
    const std::string_view key = trimmed(item.substr(0, equals));
    std::string value = "on";
    if (key.empty()) return "no key in " + quoted(item);
    if (key.find('"') != key.npos) return "quote in a key: " + std::string(item);
    if (equals != item.npos && !unquote(trimmed(item.substr(equals + 1)), value))
      return "a quoted value must be quoted as a whole: " + std::string(item);
    if (i == 0 && equals == item.npos) {
      element.head = key;
      continue;
    }
    const auto same = [&](const auto& other) { return other.first == key; };
    if (std::any_of(element.items.begin(), element.items.end(), same))
      return quoted(key) + " is given twice in " + quoted(text);
    element.items.emplace_back(key, std::move(value));
  }
  return {};
}

}  // namespace

std::optional<std::uint64_t> parse_size(std::string_view text) {
  unsigned base = 10;
  if (text.starts_with("0x") || text.starts_with("0X")) {
    base = 16;
    text.remove_prefix(2);
  }
  unsigned shift = 0;
  if (!text.empty()) {
    switch (text.back()) {
      case 'k':
      case 'K':
        shift = 10;
        break;
      case 'm':
      case 'M':
        shift = 20;
        break;
      case 'g':
      case 'G':
        shift = 30;
        break;
      case 't':
      case 'T':
        shift = 40;
        break;
      default:
        break;
    }
    if (shift != 0) text.remove_suffix(1);
  }
  if (text.empty()) return std::nullopt;
  std::uint64_t value = 0;
  for (const char c : text) {
    unsigned digit = base;
    if (c >= '0' && c <= '9')
      digit = static_cast<unsigned>(c - '0');
    else if (c >= 'a' && c <= 'f')
      digit = static_cast<unsigned>(c - 'a' + 10);
    else if (c >= 'A' && c <= 'F')
      digit = static_cast<unsigned>(c - 'A' + 10);
    if (digit >= base) return std::nullopt;
    if (__builtin_mul_overflow(value, base, &value) || __builtin_add_overflow(value, digit, &value))
      return std::nullopt;
  }
  if (__builtin_mul_overflow(value, std::uint64_t{1} << shift, &value)) return std::nullopt;
  return value;
}

std::vector<ConfElement> parse_conf(std::string_view conf, ConfError& error) {
  error.message.clear();
  std::vector<std::string_view> texts;
  if (!split_unquoted(conf, ';', texts)) {
    error.message = "quote is not closed in " + std::string(conf);
    return {};
  }
  std::vector<ConfElement> elements;
  for (std::string_view text : texts) {
    text = trimmed(text);
    if (text.empty()) continue;  // a list may end with its separator
    ConfElement element;
    error.message = parse_element(text, element);
    if (!error.message.empty()) return {};
    elements.push_back(std::move(element));
  }
  return elements;
}

const std::string* ConfReader::find(std::string_view key) {
  asked_.emplace_back(key);
  for (const auto& [name, value] : element_.items)
    if (name == key) return &value;
  return nullptr;
}

void ConfReader::complain(std::string problem) {
  if (problem_.empty()) problem_ = std::move(problem);
}

std::string ConfReader::text(std::string_view key, std::string_view fallback) {
  const std::string* value = find(key);
  return value != nullptr ? *value : std::string(fallback);
}

std::uint64_t ConfReader::size(std::string_view key, std::uint64_t fallback) {
  const std::string* value = find(key);
  if (value == nullptr) return fallback;
  if (const auto size = parse_size(*value)) return *size;
  complain(std::string(key) + "=" + *value + ": not a size (like 4096, 0x1000, 64K, 2M, 1G)");
  return fallback;
}

bool ConfReader::flag(std::string_view key, bool fallback) {
  const std::string* value = find(key);
  if (value == nullptr) return fallback;
  if (*value == "on" || *value == "yes" || *value == "1") return true;
  if (*value == "off" || *value == "no" || *value == "0") return false;
  complain(std::string(key) + "=" + *value + ": not on or off");
  return fallback;
}

std::string ConfReader::choice(std::string_view key, std::string_view fallback,
                               std::initializer_list<std::string_view> choices) {
  const std::string* value = find(key);
  if (value == nullptr) return std::string(fallback);
  if (std::find(choices.begin(), choices.end(), *value) != choices.end()) return *value;
  std::string message = std::string(key) + "=" + *value + ": not one of";
  for (const std::string_view choice : choices) message.append(" ").append(choice);
  complain(std::move(message));
  return std::string(fallback);
}

std::string ConfReader::finish() {
  for (const auto& [name, value] : element_.items) {
    if (std::find(asked_.begin(), asked_.end(), name) != asked_.end()) continue;
    std::string message = "unknown key " + quoted(name) + "; known:";
    for (const std::string& known : asked_) message.append(" ").append(known);
    if (asked_.empty()) message += " none";
    complain(std::move(message));
  }
  if (problem_.empty() || element_.head.empty()) return problem_;
  return element_.head + ": " + problem_;
}

}  // namespace pviommu
