// SPDX-License-Identifier: LGPL-2.1-or-later
// Rights of a MAP_DMA, and what people are told, once in a process, of maps that the hypervisor's
// limits touch.
#pragma once

#include <cstdint>

#include "hypercall/capabilities.h"
#include "vfio-glue/engine/engine_config.h"

namespace pviommu::vfio {

/// By the VFIO_DMA_MAP_FLAGs, those beside reading and writing ignored.
Access access_of(std::uint32_t map_flags);
/// Memory was mapped with `access`: counted and told if the hypervisor gives more than that.
void note_widened(const Capabilities& limits, const EngineConfig& config, Access access);
/// A map at `iova` was EINVAL: told if it lies outside of the iova ranges.
void note_outside(const Capabilities& limits, const EngineConfig& config, std::uint64_t iova, std::uint64_t size);

}  // namespace pviommu::vfio
