// SPDX-License-Identifier: LGPL-2.1-or-later
// The `pviommu` command: one file a subcommand.
//
// Exit status: 0, that of the program run, 1 when something failed, 2 for bad
// input, 126/127 when the program cannot be executed / found (as in a shell).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vfio-glue/engine/engine.h"
#include "vfio-glue/host/connection.h"

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

struct HostOptions {
  std::optional<std::string> uri;  ///< by libvirt ("": its default); none: by sysfs
  bool json = false;
  host::HostRoots roots;
};
int list_host(const HostOptions& options);

struct BindOptions : HostOptions {
  std::vector<std::string> addresses;
  std::string driver;  ///< empty: what the machine's hypervisor wants
  bool dry_run = false;
  bool force = false;
  bool reset = false;
  bool persist = false;  ///< with the rule for the next boots (boot_rules.h)
};
int bind(const BindOptions& options);
int unbind(const BindOptions& options);

struct AttachOptions {
  vfio::EngineConfig engine;
  std::string device, domain;
  std::string at = "00:10.0";      ///< place on the guest's bus
  std::optional<std::string> uri;  ///< the domain is looked up by libvirt
  bool background = false;
};
int attach(AttachOptions options);

struct DetachOptions {
  vfio::EngineConfig engine;
  std::string device;
};
int detach(const DetachOptions& options);

/// The devices of this machine, by the way that the options name.
struct HostAccess {
  std::unique_ptr<host::HostDevices> sysfs;
  std::unique_ptr<host::HostConnection> connection;
  host::HostDevices* devices = nullptr;
  /// 0, or the exit status after a complaint.
  int open(const HostOptions& options);
};

/// The file of the preload front end (PVIOMMU_PRELOAD, else the installed one).
std::string preload_library();

/// "pviommu: <message>" on stderr.
void complain(const std::string& message);

/// Hexadecimal with at least `digits` digits, without 0x.
std::string hex(unsigned value, int digits);

/// Opens the hypervisor; empty after a complaint.
std::unique_ptr<Hypervisor> open(const vfio::EngineConfig& config);

}  // namespace pviommu::command
