// SPDX-License-Identifier: LGPL-2.1-or-later
// The main routing tables, by /proc/net/route and /proc/net/ipv6_route.
//
// These files show neither rules and other tables nor, for IPv4, any next hop but the first.
#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "vfio-glue/host/devices.h"

namespace pviommu::host {

struct Route {
  std::string interface;
  bool is_ipv6 = false;
  in6_addr destination{};  ///< IPv4: the first four bytes
  unsigned length = 0;     ///< of its prefix, in bits; 0: the default route
  std::uint32_t metric = 0;
};

/// All routes by which packets leave the machine; those that refuse packets are left out.
std::vector<Route> read_routes(const HostRoots& roots);

/// The interfaces of all default routes.
std::set<std::string> default_interfaces(const std::vector<Route>& routes);

/// The interfaces of the best route to an address ("192.0.2.1", "2001:db8::1", "fe80::1%eth0");
/// none: there is no route, or this is no address.
std::set<std::string> interfaces_to(const std::vector<Route>& routes, std::string address);

}  // namespace pviommu::host
