// SPDX-License-Identifier: LGPL-2.1-or-later
// Memory of the program we live in, without trusting its pointers.
//
// The kernel answers a bad pointer with EFAULT; so do we, although the pointer
// is one of our own process.
#pragma once

#include <cstddef>
#include <cstdint>

#include "hypercall/result.h"

namespace pviommu::vfio {

/// EFAULT when any byte cannot be read / written; then a part may have been
/// copied.  Thread-safe, async-signal-safe after a thread's first call.
///
/// Addresses on the calling thread's own live stack (where the arguments of
/// nearly every ioctl are) are copied directly; all others by the kernel.
Status copy_from_program(void* to, std::uint64_t from, std::size_t bytes);
Status copy_to_program(std::uint64_t to, const void* from, std::size_t bytes);

/// The same without process_vm_readv/writev, which a seccomp filter may forbid:
/// through a memfd.  Used as the fallback; public for tests.
Status copy_from_program_by_file(void* to, std::uint64_t from, std::size_t bytes);
Status copy_to_program_by_file(std::uint64_t to, const void* from, std::size_t bytes);

/// True when the bytes lie in the live part of the calling thread's stack.
bool on_own_stack(std::uint64_t address, std::size_t bytes);

}  // namespace pviommu::vfio
