// SPDX-License-Identifier: LGPL-2.1-or-later
// An error as text: the operation, the errno's words, and the hypervisor's raw code.
#include "hypercall/result.h"

#include <cstring>

namespace pviommu {

std::string to_string(const Error& error) {
  std::string text;
  if (error.operation != nullptr && *error.operation != '\0') {
    text += error.operation;
    text += ": ";
  }
  // Not strerror(): its buffer is shared between threads.
  const char* description = strerrordesc_np(error.code);
  text += description != nullptr ? description : "error " + std::to_string(error.code);
  if (error.raw != 0) text += " (raw " + std::to_string(error.raw) + ")";
  return text;
}

}  // namespace pviommu
