// SPDX-License-Identifier: LGPL-2.1-or-later
// The names of vector kinds, as shown to people and in JSON.
#include "hypercall/notification.h"

namespace pviommu {

// No default label: the compiler names a forgotten enumerator.
const char* to_string(VectorKind kind) {
  switch (kind) {
    case VectorKind::intx:
      return "intx";
    case VectorKind::msi:
      return "msi";
    case VectorKind::msix:
      return "msix";
  }
  return "?";
}

}  // namespace pviommu
