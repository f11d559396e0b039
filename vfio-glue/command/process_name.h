// SPDX-License-Identifier: LGPL-2.1-or-later
// The name of a process that we fork and that is not `pviommu run` for those who look for that.
#pragma once

namespace pviommu::command {

/// As ps, pgrep and killall show this process from now on; for a forked child.
void name_process(const char* name);

}  // namespace pviommu::command
