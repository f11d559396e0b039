// SPDX-License-Identifier: LGPL-2.1-or-later
// What is asked of every device.
#pragma once

#include <sys/uio.h>

#include "tests/conformance/answers/answers.h"

namespace conformance::answers {

inline constexpr std::uint32_t kNone = VFIO_IRQ_SET_DATA_NONE, kBool = VFIO_IRQ_SET_DATA_BOOL,
                               kEventfd = VFIO_IRQ_SET_DATA_EVENTFD, kMask = VFIO_IRQ_SET_ACTION_MASK,
                               kUnmask = VFIO_IRQ_SET_ACTION_UNMASK, kTrigger = VFIO_IRQ_SET_ACTION_TRIGGER;

/// D10 to D14: regions, interrupts, information at every argsz.
void common(const Device& device, const std::string& label);
/// D20: configuration space in rows of 16 bytes.
void config_rows(const Device& device, const std::string& label);
/// Writes `width` bytes and answers with what is read then.
void write_and_read(const Device& device, const std::string& name, std::size_t offset, unsigned width, std::uint32_t value,
                    std::size_t read_offset, unsigned read_width, const char* form);

}  // namespace conformance::answers
