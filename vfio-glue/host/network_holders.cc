// SPDX-License-Identifier: LGPL-2.1-or-later
// Interfaces point at each other, where both are in one network namespace:
//
//   default route --- br0 --lower_eth0--> eth0 --- below 0000:00:03.0
//                     br0 <--upper_br0--- eth0
//
// A datapath of Open vSwitch is above its ports in this way; the bridges that ovs-vsctl makes
// of it are internal ports, whose folders have no links:
//
//   default route --- xenbr0 - - - ovs-system <--upper_ovs-system--- eth0
#include "vfio-glue/host/network_holders.h"

#include <arpa/inet.h>

#include <cstdio>
#include <cstring>
#include <set>
#include <sstream>

#include "vfio-glue/host/open_files.h"
#include "vfio-glue/host/routes.h"
#include "vfio-glue/host/sysfs_files.h"

namespace pviommu::host {
namespace {

namespace fs = std::filesystem;

constexpr unsigned kDepth = 8;  // of interfaces on interfaces, as in the kernel
constexpr const char* kDatapath = "ovs-system";

/// The value of "KEY=VALUE" between commas; empty: none.
std::string option_of(const std::string& options, const std::string& key) {
  std::istringstream in(options);
  for (std::string option; std::getline(in, option, ',');)
    if (option.starts_with(key + '=')) return option.substr(key.size() + 1);
  return {};
}

/// An address of /proc/net/tcp or tcp6, "0100007F:2A30": words as this machine's numbers.
std::string address_of(const std::string& text) {
  const std::size_t colon = text.find(':');
  std::uint32_t words[4] = {};
  const std::size_t count = colon == text.npos ? 0 : colon / 8;
  if (count != 1 && count != 4) return {};
  for (std::size_t i = 0; i < count; ++i)
    words[i] = static_cast<std::uint32_t>(std::strtoul(text.substr(8 * i, 8).c_str(), nullptr, 16));
  char out[INET6_ADDRSTRLEN];
  // An IPv4 connection of an IPv6 socket: ::ffff:a.b.c.d.
  const bool is_mapped = count == 4 && words[0] == 0 && words[1] == 0 && words[2] == ::htonl(0xffff);
  const void* const from = is_mapped ? &words[3] : &words[0];
  return ::inet_ntop(count == 1 || is_mapped ? AF_INET : AF_INET6, from, out, sizeof out) ? out : "";
}

/// What is reached over the network: a phrase, and the server's address.
struct Remote {
  std::string what, address;
  std::string interface;  ///< empty: the route's
};

class Interfaces {
 public:
  Interfaces(const HostRoots& roots, const fs::path& function, const std::vector<Mount>& mounts)
      : roots_(roots), classes_(fs::path(roots.sysfs) / "class/net"), function_(function), mounts_(mounts) {
    for (const std::string& name : names_in(classes_))
      if (is_below(folder(name), function_)) own_.insert(name);
  }

  std::set<std::string> holders() {
    if (own_.empty()) return {};
    for (const std::string& name : own_)
      for (const std::string& above : linked(name, "upper_"))
        holders_.insert(name + " is below " + above + kind(above));
    const std::vector<Route> routes = read_routes(roots_);
    for (const std::string& name : default_interfaces(routes)) add(name, "the default route goes through ");
    for (const Remote& remote : remotes())
      for (const std::string& name : remote.interface.empty() ? interfaces_to(routes, remote.address)
                                                              : std::set<std::string>{remote.interface})
        add(name, remote.what + " through ");
    return std::move(holders_);
  }

 private:
  fs::path folder(const std::string& name) const { return resolved(classes_ / name); }

  /// "br0" of a link "upper_br0" in the folder of `name`.
  std::vector<std::string> linked(const std::string& name, const std::string& prefix) const {
    std::vector<std::string> out;
    for (const std::string& link : names_in(folder(name)))
      if (link.starts_with(prefix)) out.push_back(link.substr(prefix.size()));
    return out;
  }

  std::string kind(const std::string& name) const {
    if (name == kDatapath) return " (Open vSwitch)";
    std::ifstream in(classes_ / name / "uevent");
    for (std::string line; std::getline(in, line);)
      if (line.starts_with("DEVTYPE=")) return " (" + line.substr(8) + ')';
    return {};
  }

  /// The interface of the function that `name` stands on; empty: none.
  std::string lower(const std::string& name, unsigned depth = kDepth) const {
    if (own_.contains(name)) return name;
    if (depth == 0) return {};
    for (const std::string& below : linked(name, "lower_"))
      if (const std::string found = lower(below, depth - 1); !found.empty()) return found;
    return {};
  }

  /// The interface of the function that is a port of Open vSwitch, where `name` can be one too:
  /// a virtual interface that stands on nothing.
  std::string switched(const std::string& name) const {
    if (name == kDatapath || !linked(name, "lower_").empty() ||
        !is_below(folder(name), resolved(roots_.sysfs) / "devices/virtual"))
      return {};
    return lower(kDatapath);
  }

  void add(const std::string& name, const std::string& phrase) {
    if (const std::string below = lower(name); !below.empty())
      holders_.insert(phrase + name + (below == name ? "" : " (on " + below + ")"));
    else if (const std::string port = switched(name); !port.empty())
      holders_.insert(phrase + name + " (by Open vSwitch on " + port + ")");
  }

  std::vector<Remote> remotes() const {
    std::vector<Remote> out;
    for (const Mount& mount : mounts_)
      if (const std::string address = option_of(mount.options, "addr"); !address.empty())
        out.push_back({mount.point + " is mounted from " + mount.source, address, {}});
    const fs::path classes = fs::path(roots_.sysfs) / "class";
    for (const std::string& name : names_in(classes / "iscsi_connection")) {
      std::string address = first_line_of(classes / "iscsi_connection" / name / "address");
      if (address.empty()) address = first_line_of(classes / "iscsi_connection" / name / "persistent_address");
      out.push_back({"iSCSI " + name + " goes to " + address, address, {}});
    }
    for (const std::string& name : names_in(classes / "nvme")) {
      const std::string transport = first_line_of(classes / "nvme" / name / "transport");
      if (transport != "tcp" && transport != "rdma") continue;
      const std::string how = first_line_of(classes / "nvme" / name / "address");
      const std::string address = option_of(how, "traddr");
      out.push_back({name + " (NVMe over " + transport + ") is at " + address, address,
                     option_of(how, "host_iface")});
    }
    for (const std::string& name : names_in(classes / "block"))
      if (name.starts_with("nbd"))
        if (const std::string process = first_line_of(classes / "block" / name / "pid"); !process.empty())
          for (const std::string& address : nbd_servers(process))
            out.push_back({name + " is at " + address, address, {}});
    return out;
  }

  /// The other ends of the connections of the process that made an NBD device; when it is gone
  /// and has left them to the kernel, of all connections to NBD's port.
  std::set<std::string> nbd_servers(const std::string& process) const {
    constexpr std::string_view kPort = ":2A39";  // 10809
    constexpr std::string_view kEstablished = "01";
    std::set<std::string> sockets, own, any;
    const fs::path fds = fs::path(roots_.proc) / process / "fd";
    for (const std::string& fd : names_in(fds)) {
      std::error_code error;
      const std::string target = fs::read_symlink(fds / fd, error);
      if (!error && target.starts_with("socket:[")) sockets.insert(target.substr(8, target.size() - 9));
    }
    for (const char* file : {"/net/tcp", "/net/tcp6"}) {
      std::ifstream in(roots_.proc + file);
      for (std::string line; std::getline(in, line);) {
        // Number, local, remote, state, queues, timer, retransmits, user, timeouts, inode.
        std::istringstream words(line);
        std::string skip, remote, state, inode;
        words >> skip >> skip >> remote >> state >> skip >> skip >> skip >> skip >> skip >> inode;
        if (state != kEstablished) continue;
        const std::string address = address_of(remote);
        if (address.empty()) continue;
        if (sockets.contains(inode)) own.insert(address);
        if (remote.ends_with(kPort)) any.insert(address);
      }
    }
    return own.empty() ? any : own;
  }

  const HostRoots& roots_;
  const fs::path classes_, function_;
  const std::vector<Mount>& mounts_;
  std::set<std::string> own_;  ///< the function's own
  std::set<std::string> holders_;
};

}  // namespace

std::vector<std::string> network_holders(const HostRoots& roots, const fs::path& function,
                                         const std::vector<Mount>& mounts) {
  const std::set<std::string> holders = Interfaces(roots, function, mounts).holders();
  return {holders.begin(), holders.end()};
}

}  // namespace pviommu::host
