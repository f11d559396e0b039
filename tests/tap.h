// SPDX-License-Identifier: LGPL-2.1-or-later
// TAP from GoogleTest programs: see tap.cc.
#ifndef PVIOMMU_TESTS_TAP_H
#define PVIOMMU_TESTS_TAP_H

/// From now on the program says its results in TAP on stdout, in place of GoogleTest's own
/// output.  Once, between InitGoogleTest() and RUN_ALL_TESTS().
void speak_tap();

#endif
