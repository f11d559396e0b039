// SPDX-License-Identifier: LGPL-2.1-or-later
// hypercall/precompiled.h for unit tests.
#pragma once

#include <gtest/gtest.h>

#include "hypercall/precompiled.h"
