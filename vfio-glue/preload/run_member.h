// SPDX-License-Identifier: LGPL-2.1-or-later
// A process of a run keeps the run's folder: it holds a lock on RUN/alive by a descriptor
// that goes from one program to the next (vfio-glue/command/run_folder.h), and that daemons,
// which close what they do not know, cannot close.
#pragma once

namespace pviommu::vfio {

/// When the library is loaded: keeps the descriptor that this process has inherited, or opens
/// the file again where somebody has closed it.  Nothing outside of a run.
void join_run();
/// The descriptor, which is internal (unique_fd.h); -1: there is none.
int run_descriptor();

}  // namespace pviommu::vfio
