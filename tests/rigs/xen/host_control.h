// SPDX-License-Identifier: LGPL-2.1-or-later
// Functions of the libxenctrl of the Xen that runs, so that tests that are built once run on
// every Xen.
//
//   const tiny::HostControl control;
//   control.call(HOST_CONTROL(xc_domain_unpause), domid);
#pragma once

#include <cerrno>
#include <cstdio>
#include <cstdlib>

extern "C" {
#include <xenctrl.h>
}

#include "hypercall/xen/control.h"

/// A function and its type, by the headers.
#define HOST_CONTROL(name) (::tiny::host_function<decltype(&::name)>(#name))

namespace tiny {

template <class Function>
Function host_function(const char* name) {
  if (void* found = pviommu::xen::Control::function(name); found != nullptr) return reinterpret_cast<Function>(found);
  std::fprintf(stderr, "tiny guest: this Xen's libxenctrl has no %s\n", name);
  std::exit(1);
}

/// An open handle of libxenctrl.  What can go wrong ends the program with a line.
class HostControl {
 public:
  HostControl() {
    auto calls = pviommu::xen::XenCalls::open();
    if (!calls) fail(calls.error());
    interface_ = (*calls)->interface();
    // Loads the library.
    if (const auto control = pviommu::xen::Control::open(**calls); !control) fail(control.error());
    handle_ = HOST_CONTROL(xc_interface_open)(nullptr, nullptr, 0);
    if (handle_ == nullptr) fail({errno, "xc_interface_open"});
  }
  ~HostControl() { (void)HOST_CONTROL(xc_interface_close)(handle_); }
  HostControl(const HostControl&) = delete;
  HostControl& operator=(const HostControl&) = delete;

  const pviommu::xen::Interface& interface() const { return interface_; }
  template <class Function, class... Arguments>
  auto call(Function function, Arguments... arguments) const {
    return function(handle_, arguments...);
  }

 private:
  [[noreturn]] static void fail(const pviommu::Error& error) {
    std::fprintf(stderr, "tiny guest: %s\n", to_string(error).c_str());
    std::exit(1);
  }
  pviommu::xen::Interface interface_;
  xc_interface* handle_ = nullptr;
};

}  // namespace tiny
