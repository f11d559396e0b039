// SPDX-License-Identifier: LGPL-2.1-or-later
// What a consumer of handed-over event channels does: reads them from the
// descriptor that it was given (Interrupts::event_fd()).
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>

#include "hypercall/notification.h"
#include "hypercall/result.h"

/// Takes waiting event channels of `fd` and lets the next ones come; 0 when none waits.
inline pviommu::Result<std::size_t> read_ports(int fd, std::span<pviommu::EventPort> out) {
  std::uint32_t ports[16];
  const std::size_t room = std::min(out.size(), std::size(ports)) * sizeof ports[0];
  const ssize_t got = ::read(fd, ports, room);
  if (got < 0 && errno == EAGAIN) return std::size_t{0};
  if (got < 0) return pviommu::Error{errno, "read event channels"};
  (void)!::write(fd, ports, static_cast<std::size_t>(got));
  const std::size_t count = static_cast<std::size_t>(got) / sizeof ports[0];
  for (std::size_t i = 0; i < count; ++i) out[i] = pviommu::EventPort(ports[i]);
  return count;
}
