// SPDX-License-Identifier: LGPL-2.1-or-later
// Text to operation and back, and the names of flags.
#include "tests/differential/operation.h"

#include <linux/vfio.h>

#include <cstdio>
#include <cstdlib>
#include <sstream>

namespace differential {

const std::vector<Name> kMapFlags{{"r", VFIO_DMA_MAP_FLAG_READ},
                                  {"w", VFIO_DMA_MAP_FLAG_WRITE},
                                  {"rw", VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE},
                                  {"vaddr", VFIO_DMA_MAP_FLAG_VADDR}};
const std::vector<Name> kUnmapFlags{{"dirty", VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP},
                                    {"all", VFIO_DMA_UNMAP_FLAG_ALL},
                                    {"vaddr", VFIO_DMA_UNMAP_FLAG_VADDR}};
const std::vector<Name> kDirtyFlags{{"start", VFIO_IOMMU_DIRTY_PAGES_FLAG_START},
                                    {"stop", VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP},
                                    {"get", VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP}};
const std::vector<Name> kIrqFlags{
    {"none", VFIO_IRQ_SET_DATA_NONE},       {"bool", VFIO_IRQ_SET_DATA_BOOL},
    {"eventfd", VFIO_IRQ_SET_DATA_EVENTFD}, {"mask", VFIO_IRQ_SET_ACTION_MASK},
    {"unmask", VFIO_IRQ_SET_ACTION_UNMASK}, {"trigger", VFIO_IRQ_SET_ACTION_TRIGGER}};
const std::vector<Name> kFeatureFlags{
    {"get", VFIO_DEVICE_FEATURE_GET}, {"set", VFIO_DEVICE_FEATURE_SET}, {"probe", VFIO_DEVICE_FEATURE_PROBE}};

std::string hex(std::uint64_t value) {
  char text[20];
  std::snprintf(text, sizeof text, value < 10 ? "%llu" : "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

std::uint64_t number_of(const std::string& text) { return std::strtoull(text.c_str(), nullptr, 0); }

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, separator);)
    if (!part.empty()) parts.push_back(part);
  return parts;
}

Operation Operation::parse(const std::string& line) {
  Operation operation;
  for (const std::string& token : split(line, ' ')) {
    if (const auto equals = token.find('='); equals != std::string::npos)
      operation.arguments.emplace_back(token.substr(0, equals), token.substr(equals + 1));
    else if (operation.name.empty())
      operation.name = token;
    else
      operation.words.push_back(token);
  }
  return operation;
}

std::string Operation::text() const {
  std::string text = name;
  for (const std::string& word : words) text += ' ' + word;
  for (const auto& [key, value] : arguments) text += ' ' + key + '=' + value;
  return text;
}

const std::string* Operation::find(std::string_view key) const {
  for (const auto& [name, value] : arguments)
    if (name == key) return &value;
  return nullptr;
}

std::string Operation::value(std::string_view key, std::string_view fallback) const {
  const std::string* found = find(key);
  return found ? *found : std::string(fallback);
}

std::uint64_t Operation::number(std::string_view key, std::uint64_t fallback) const {
  const std::string* found = find(key);
  return found ? number_of(*found) : fallback;
}

std::uint64_t Operation::flags(std::string_view key, const std::vector<Name>& known,
                               std::uint64_t fallback) const {
  const std::string* found = find(key);
  if (!found) return fallback;
  std::uint64_t flags = 0;
  for (const std::string& part : split(*found, '|')) {
    bool named = false;
    for (const Name& name : known)
      if (name.name == part) {
        flags |= name.value;
        named = true;
      }
    if (!named) flags |= number_of(part);
  }
  return flags;
}

Operation& Operation::set(std::string_view key, std::string value) {
  arguments.emplace_back(key, std::move(value));
  return *this;
}
Operation& Operation::set(std::string_view key, std::uint64_t value) { return set(key, hex(value)); }

Sequence parse_sequence(const std::string& text) {
  Sequence sequence;
  for (const std::string& line : split(text, '\n'))
    if (line[0] != '#') sequence.push_back(Operation::parse(line));
  return sequence;
}

std::string text_of(const Sequence& sequence) {
  std::string text;
  for (const Operation& operation : sequence) text += operation.text() + '\n';
  return text;
}

}  // namespace differential
