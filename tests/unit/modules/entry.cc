// SPDX-License-Identifier: LGPL-2.1-or-later
// The entry of a module that the registry's tests load, good or spoilt in one of
// the ways that hypercall.mk chooses with -D.  What it opens is in module.cc,
// which is compiled once for all.
#include "hypercall/module.h"
#include "tests/unit/modules/module.h"

#ifndef MODULE_SIZE
#define MODULE_SIZE sizeof(pviommu_module)
#endif
#ifndef MODULE_API_VERSION
#define MODULE_API_VERSION PVIOMMU_MODULE_API_VERSION
#endif
#ifndef MODULE_KIND
#define MODULE_KIND PVIOMMU_MODULE_HYPERVISOR
#endif
#ifndef MODULE_SYMBOL
#define MODULE_SYMBOL pviommu_module_entry
#endif

#ifdef MODULE_NEEDS_UNDEFINED
extern "C" int pviommu_test_nobody_has_this(void);
__attribute__((visibility("default"))) int (*pviommu_test_needs)(void) = &pviommu_test_nobody_has_this;
#endif

const char* const test_module_name = MODULE_NAME;

extern "C" __attribute__((visibility("default"))) const pviommu_module MODULE_SYMBOL = {
    MODULE_SIZE,      MODULE_API_VERSION,   MODULE_KIND,     MODULE_NAME, "for the tests of the registry",
    test_module_open, test_module_diagnose, test_module_reap, test_module_keeper,   test_module_set_keeper};
