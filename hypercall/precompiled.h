// SPDX-License-Identifier: LGPL-2.1-or-later
// What nearly every file of ours includes, parsed once a build (configure
// --disable-pch does without).  Nobody includes this file by name, and each file
// includes what it needs all the same: it must compile alone.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hypercall/hypervisor.h"
#include "hypercall/statistics.h"
