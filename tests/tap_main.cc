// SPDX-License-Identifier: LGPL-2.1-or-later
// main() of the GoogleTest programs, in libtap.a: comes before GoogleTest's own.
#include <gtest/gtest.h>

#include "tests/tap.h"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  speak_tap();
  return RUN_ALL_TESTS();
}
