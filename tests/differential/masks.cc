// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/differential/masks.h"

namespace differential {
namespace {

struct Mask {
  const char* what;
  const char* why;
  bool (*applies)(const Sequence& sequence, std::size_t index);
  std::string (*apply)(const Operation& operation, const std::string& answer);
};

/// The whole list.  What a program could notice is in doc/vfio-differences.md, too.
constexpr Mask kMasks[] = {
    {"contents of registers of NVMe and e1000e", "they are the device's, not the interface's",
     [](const Sequence& sequence, std::size_t index) { return sequence[index].name == "none"; },
     [](const Operation&, const std::string& answer) { return answer; }},
};

}  // namespace

std::string masked(const Sequence& sequence, std::size_t index, const std::string& answer) {
  std::string text = answer;
  if (index >= sequence.size()) return text;
  for (const Mask& mask : kMasks)
    if (mask.applies(sequence, index)) text = mask.apply(sequence[index], text);
  return text;
}

std::string masks_text() {
  std::string text;
  for (const Mask& mask : kMasks) text += std::string(mask.what) + ": " + mask.why + '\n';
  return text;
}

}  // namespace differential
