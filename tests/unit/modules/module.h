// SPDX-License-Identifier: LGPL-2.1-or-later
// What entry.cc and module.cc of a test module share.  Hidden: several such
// modules are loaded into one program.
#pragma once

#include <cstdint>

#include "hypercall/module.h"

#pragma GCC visibility push(hidden)
extern const char* const test_module_name;

/// CONF "fail": ENXIO with a message; "silent": fails without saying anything.
void* test_module_open(const pviommu_open_args* args, int* error);
/// CONF "fail": ENXIO behind the row; "large": 10,000 rows; "odd": what a module must not give.
int test_module_diagnose(const char* conf, const char* device, void (*row)(void*, const pviommu_check*), void* to);
/// More than 64 KiB of rows, each with the number of calls until now.  CONF "fail": EIO behind them.
int test_module_reap(const char* conf, int dry_run, void (*row)(void*, const pviommu_reaped*), void* to);
/// Function 1 of a device is in quarantine until it is moved; function 2: ENODEV; function 3: what
/// a module must not give.
int test_module_keeper(const char* conf, const char* device);
int test_module_set_keeper(const char* conf, const char* device, std::uint32_t keeper);
#pragma GCC visibility pop
