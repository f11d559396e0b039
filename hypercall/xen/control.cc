// SPDX-License-Identifier: LGPL-2.1-or-later
// The table of libxenctrl's functions, filled once from the library of the Xen that runs.
// Their prototypes are the same from 4.17 to 4.23; the compiler checks them against the
// headers this is built with.
#include "hypercall/xen/control.h"

#include <dlfcn.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <type_traits>

extern "C" {
#include <xenctrl.h>
}
#include <xen/version.h>

namespace pviommu::xen {
namespace {

struct Functions {
  decltype(&::xc_interface_open) interface_open;
  decltype(&::xc_interface_close) interface_close;
  decltype(&::xc_maximum_ram_page) maximum_ram_page;
  decltype(&::xc_reserved_device_memory_map) reserved_device_memory_map;
  decltype(&::xc_get_device_group) get_device_group;
  decltype(&::xc_version) version;
  decltype(&::xc_send_debug_keys) send_debug_keys;
};

void* library;  // stays loaded
Functions functions;

Status load(XenCalls& calls) {
  static std::mutex lock;
  const std::lock_guard guard(lock);
  if (library != nullptr) return {};
  const std::uint32_t number = PVIOMMU_TRY(calls.version());
  const std::string version = std::to_string(number >> 16) + "." + std::to_string(number & 0xffff);
  const std::string name = "libxenctrl.so." + version;
  const auto missing = [&](const char* why) {
    return Error{ENOENT, "open libxenctrl"}.with_sentence(
        name + ", the control library of the Xen that runs, cannot be used: " + (why != nullptr ? why : "not found") +
        "; install that Xen's tools (Debian: libxenmisc" + version + ")");
  };
  void* opened = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (opened == nullptr) return missing(::dlerror());
  bool all = true;
  const auto find = [&](auto& function, const char* symbol) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(::dlsym(opened, symbol));
    all = all && function != nullptr;
  };
  find(functions.interface_open, "xc_interface_open");
  find(functions.interface_close, "xc_interface_close");
  find(functions.maximum_ram_page, "xc_maximum_ram_page");
  find(functions.reserved_device_memory_map, "xc_reserved_device_memory_map");
  find(functions.get_device_group, "xc_get_device_group");
  find(functions.version, "xc_version");
  find(functions.send_debug_keys, "xc_send_debug_keys");
  if (!all) {
    const Error error = missing(::dlerror());
    ::dlclose(opened);
    return error;
  }
  library = opened;
  return {};
}

}  // namespace

Result<std::unique_ptr<Control>> Control::open(XenCalls& calls) {
  PVIOMMU_TRY(load(calls));
  xc_interface* handle = functions.interface_open(nullptr, nullptr, 0);
  if (handle == nullptr) return Error{errno, "xc_interface_open"};
  return std::unique_ptr<Control>(new Control(handle));
}

Control::~Control() { (void)functions.interface_close(handle_); }

void* Control::function(const char* name) { return ::dlsym(library, name); }

Result<Mfn> Control::highest_frame() {
  unsigned long mfn = 0;
  if (functions.maximum_ram_page(handle_, &mfn) != 0) return Error{errno, "XENMEM_maximum_ram_page"};
  return Mfn(mfn);
}

Result<std::vector<xen_reserved_device_memory>> Control::reserved_memory(std::optional<Sbdf> sbdf) {
  const std::uint32_t raw = sbdf ? sbdf->raw() : 0;
  std::vector<xen_reserved_device_memory> entries;
  // Asked without room for an answer first, Xen tells how many there are.
  for (std::uint32_t count = 0;;) {
    const int rc = functions.reserved_device_memory_map(
        handle_, sbdf ? 0 : XENMEM_RDM_ALL, static_cast<std::uint16_t>(raw >> 16), static_cast<std::uint8_t>(raw >> 8),
        static_cast<std::uint8_t>(raw), entries.data(), &count);
    if (rc < 0 && (errno != ENOBUFS || count <= entries.size())) return Error{errno, "XENMEM_reserved_device_memory_map"};
    const bool done = rc >= 0;
    entries.resize(count);
    if (done) return entries;
  }
}

Result<std::vector<Sbdf>> Control::device_group(Sbdf sbdf) {
  std::array<std::uint32_t, 64> same;  // bus << 16 | devfn << 8
  std::uint32_t count = 0;
  if (functions.get_device_group(handle_, 0, sbdf.raw(), same.size(), &count, same.data()) != 0)
    return Error{errno, "XEN_DOMCTL_get_device_group"};
  std::vector<Sbdf> found;
  for (std::uint32_t i = 0; i < count && i < same.size(); ++i)
    found.push_back(Sbdf((sbdf.raw() & 0xffff0000) | (same[i] >> 8 & 0xffff)));
  return found;
}

Result<std::string> Control::command_line() {
  xen_commandline_t line{};
  if (functions.version(handle_, XENVER_commandline, line) != 0) return Error{errno, "XENVER_commandline"};
  return std::string(line, ::strnlen(line, sizeof line));
}

Status Control::debug_key(char key) {
  const char keys[] = {key, '\0'};
  if (functions.send_debug_keys(handle_, keys) != 0) return Error{errno, "XEN_SYSCTL_debug_keys"};
  return {};
}

}  // namespace pviommu::xen
