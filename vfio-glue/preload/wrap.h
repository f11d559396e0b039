// SPDX-License-Identifier: LGPL-2.1-or-later
// Defining a C library function without colliding with its declaration:
//
//   ssize_t wrap_read(int, void*, size_t) PVIOMMU_WRAP(read);
#pragma once

/// The function being declared is exported under the C library's name.  (Its
/// own name differs: headers declare the real ones with attributes that promise
/// things, such as never being given a null pointer, that we must not rely on.)
#define PVIOMMU_WRAP(name) __asm__(#name) __attribute__((visibility("default"), used))

extern "C" void buffer_overflow_detected() __asm__("__chk_fail") __attribute__((noreturn));
