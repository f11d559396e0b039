// SPDX-License-Identifier: LGPL-2.1-or-later
// The `pviommu` command: one file a subcommand.
//
// Exit status: 0, that of the program run, 1 when something failed, 2 for bad
// input, 126/127 when the program cannot be executed / found (as in a shell).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "vfio-glue/engine.h"

namespace pviommu::command {

inline constexpr int kFailed = 1;
inline constexpr int kBadInput = 2;
inline constexpr int kCannotExecute = 126;
inline constexpr int kNotFound = 127;

struct RunOptions {
  vfio::EngineConfig engine;
  std::string stats;       ///< "", "table" or "json"
  std::string stats_file;  ///< empty: stderr
  std::string sysfs;       ///< empty: a folder of ours
  std::vector<std::string> program;
};
int run(const RunOptions& options);

struct QueryOptions {
  vfio::EngineConfig engine;
  bool json = false;
};
int list(const QueryOptions& options);
int info(const QueryOptions& options);

struct DoctorOptions {
  vfio::EngineConfig engine;
  std::string device;  ///< empty: only the machine
  bool json = false;
};
int doctor(const DoctorOptions& options);

struct ReapOptions {
  vfio::EngineConfig engine;
  bool dry_run = false;
  bool json = false;
};
int reap(const ReapOptions& options);

/// The file of the preload front end.
std::string preload_library();

/// "pviommu: <message>" on stderr.
void complain(const std::string& message);

/// Opens the hypervisor; empty after a complaint.
std::unique_ptr<Hypervisor> open(const vfio::EngineConfig& config);

}  // namespace pviommu::command
