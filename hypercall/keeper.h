// SPDX-License-Identifier: LGPL-2.1-or-later
// Where a hypervisor has a device (hypercall/module.h, keeper()).
#pragma once

#include <cstdint>

#include "hypercall/module.h"

namespace pviommu {

enum class Keeper : std::uint8_t {
  unknown = PVIOMMU_KEEPER_UNKNOWN,
  host = PVIOMMU_KEEPER_HOST,
  quarantine = PVIOMMU_KEEPER_QUARANTINE,  ///< set aside: its DMA and its interrupts reach nobody
  space = PVIOMMU_KEEPER_SPACE,            ///< in an address space of a program, living or dead
  guest = PVIOMMU_KEEPER_GUEST,
};

}  // namespace pviommu
