// SPDX-License-Identifier: LGPL-2.1-or-later
// The two files have one idea of a route each: words in hexadecimal, in an order of their own.
#include "vfio-glue/host/routes.h"

#include <arpa/inet.h>
#include <linux/ipv6_route.h>
#include <linux/route.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

namespace pviommu::host {
namespace {

std::uint32_t hex(const std::string& text) {
  return static_cast<std::uint32_t>(std::strtoul(text.c_str(), nullptr, 16));
}

std::vector<std::vector<std::string>> words_of(const std::string& path) {
  std::vector<std::vector<std::string>> lines;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    auto& out = lines.emplace_back();
    for (std::string next; words >> next;) out.push_back(next);
  }
  return lines;
}

bool covers(const Route& route, const in6_addr& address) {
  for (unsigned bit = 0; bit < route.length; ++bit) {
    const unsigned differ = route.destination.s6_addr[bit / 8] ^ address.s6_addr[bit / 8];
    if ((differ & 0x80u >> bit % 8) != 0) return false;
  }
  return true;
}

}  // namespace

std::vector<Route> read_routes(const HostRoots& roots) {
  std::vector<Route> routes;
  // Interface, destination, gateway, flags, references, use, metric, mask, ...: an
  // address is printed as the number that its four bytes make on this machine.
  for (const auto& word : words_of(roots.proc + "/net/route")) {
    if (word.size() < 8 || word[1].size() != 8) continue;  // its head
    if ((hex(word[3]) & RTF_REJECT) != 0) continue;
    Route route{.interface = word[0]};
    const std::uint32_t destination = hex(word[1]);
    std::memcpy(&route.destination, &destination, sizeof destination);
    route.length = static_cast<unsigned>(std::popcount(hex(word[7])));
    route.metric = static_cast<std::uint32_t>(std::strtoul(word[6].c_str(), nullptr, 10));
    routes.push_back(std::move(route));
  }
  // Destination, its length, source, its length, gateway, metric, references, use, flags,
  // interface.  "lo" has the default route that refuses.
  for (const auto& word : words_of(roots.proc + "/net/ipv6_route")) {
    if (word.size() < 10 || word[0].size() != 32 || word.back() == "lo") continue;
    if ((hex(word[8]) & (RTF_REJECT | RTF_LOCAL | RTF_ANYCAST)) != 0) continue;
    Route route{.interface = word.back(), .is_ipv6 = true};
    for (unsigned i = 0; i < 16; ++i)
      route.destination.s6_addr[i] = static_cast<std::uint8_t>(hex(word[0].substr(2 * i, 2)));
    route.length = std::min(hex(word[1]), std::uint32_t{128});
    route.metric = hex(word[5]);
    routes.push_back(std::move(route));
  }
  return routes;
}

std::set<std::string> default_interfaces(const std::vector<Route>& routes) {
  std::set<std::string> names;
  for (const Route& route : routes)
    if (route.length == 0) names.insert(route.interface);
  return names;
}

std::set<std::string> interfaces_to(const std::vector<Route>& routes, std::string address) {
  if (const auto scope = address.find('%'); scope != address.npos) return {address.substr(scope + 1)};
  in6_addr wanted{};
  const bool is_ipv6 = address.find(':') != address.npos;
  if (::inet_pton(is_ipv6 ? AF_INET6 : AF_INET, address.c_str(), &wanted) != 1) return {};
  const Route* best = nullptr;
  std::set<std::string> names;
  for (const Route& route : routes) {
    if (route.is_ipv6 != is_ipv6 || !covers(route, wanted)) continue;
    if (best != nullptr && (route.length < best->length ||
                            (route.length == best->length && route.metric > best->metric)))
      continue;
    if (best == nullptr || route.length != best->length || route.metric != best->metric) names.clear();
    best = &route;
    names.insert(route.interface);
  }
  return names;
}

}  // namespace pviommu::host
