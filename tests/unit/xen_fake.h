// SPDX-License-Identifier: LGPL-2.1-or-later
// A Xen of any version for unit tests, behind libxencall's functions (and xenstore's names and ends of domains).
// It knows domains and what is asked of them, by the layouts of the version that it plays: they
// are written down here a second time, by hand from Xen's headers.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace fake {

struct Domain {
  std::array<std::uint8_t, 16> handle{};
  std::uint32_t flags = 0;
  std::string name;
};

/// What a createdomain asked for, read as the played version reads it.
struct Created {
  std::uint16_t domid_asked = 0;
  std::array<std::uint8_t, 16> handle{};
  std::uint32_t flags = 0, iommu_opts = 0, max_vcpus = 0, max_grant_frames = 0, grant_opts = 0, emulation_flags = 0;
  std::uint32_t altp2m = 0, vmtrace_size = 0;
};

struct Xen {
  std::uint32_t domctl = 0x15, sysctl = 0x15;  ///< the numbers it takes
  unsigned major = 4, minor = 17;
  int refuse = 0;  ///< errno of every domctl and sysctl with the right number
  std::map<std::uint16_t, Domain> domains;
  std::uint16_t next_domid = 1;

  std::vector<Created> created;
  std::vector<std::uint16_t> destroyed;
  unsigned lists = 0;          ///< XEN_SYSCTL_getdomaininfolist that were answered
  unsigned other_numbers = 0;  ///< calls that were refused for their number
  unsigned buffers = 0;        ///< of libxencall, not given back
  bool store_there = true;     ///< xenstore's watches work
  unsigned domain_ends = 0;    ///< events that nobody has taken yet
  unsigned handles = 0;        ///< of libxencall and xenstore, open

  /// The one that answers; each test begins with a new one.
  static Xen& get();
  static void reset();
};

}  // namespace fake
