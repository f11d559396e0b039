// SPDX-License-Identifier: LGPL-2.1-or-later
// Defining a C library function without colliding with its declaration:
//
//   PVIOMMU_WRAP(ssize_t, wrap_read, read, (int fd, void* buffer, size_t bytes)) { ... }
#pragma once

/// Begins the definition of `type own arguments`, which is exported under the C library's
/// `name`.  (Its own name differs: headers declare the real ones with attributes that promise
/// things, such as never being given a null pointer, that we must not rely on.)
#define PVIOMMU_WRAP(type, own, name, arguments)                                  \
  type own arguments __asm__(#name) __attribute__((visibility("default"), used)); \
  type own arguments

extern "C" void buffer_overflow_detected() __asm__("__chk_fail") __attribute__((noreturn));
