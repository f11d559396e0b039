// SPDX-License-Identifier: LGPL-2.1-or-later
// An event channel's number is read from the device, which masks the channel, and written back,
// which unmasks it: what comes in between is told then.
#include "hypercall/xen/events.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <string>

extern "C" {
#include <xenstore.h>
#include <xen/xen.h>
#include <xen/sys/evtchn.h>  // behind what declares domid_t
}

namespace pviommu::xen {

std::unique_ptr<ConsoleEvents> ConsoleEvents::open() {
  UniqueFd fd(::open("/dev/xen/evtchn", O_RDWR | O_CLOEXEC | O_NONBLOCK));
  ioctl_evtchn_bind_virq bind{VIRQ_CON_RING};
  if (!fd || ::ioctl(fd.get(), IOCTL_EVTCHN_BIND_VIRQ, &bind) < 0) return nullptr;
  return std::unique_ptr<ConsoleEvents>(new ConsoleEvents(std::move(fd)));
}

bool ConsoleEvents::take() {
  std::uint32_t port;
  const ssize_t got = ::read(fd_.get(), &port, sizeof port);
  if (got < 0 && errno == EAGAIN) return true;
  return got == sizeof port && ::write(fd_.get(), &port, sizeof port) == sizeof port;
}

std::unique_ptr<DomainEnds> DomainEnds::open() {
  xs_handle* store = open_store();
  if (store == nullptr) return nullptr;
  std::unique_ptr<DomainEnds> ends(new DomainEnds(store));
  if (!::xs_watch(store, "@releaseDomain", "pviommu")) return nullptr;
  return ends;
}

DomainEnds::~DomainEnds() { ::xs_close(store_); }

int DomainEnds::fd() const { return ::xs_fileno(store_); }

bool DomainEnds::take() {
  while (char** event = ::xs_check_watch(store_)) std::free(event);
  return errno == EAGAIN;
}

xs_handle* open_store() {
  const char* folder = ::secure_getenv("XENSTORED_RUNDIR");
  const std::string path = std::string(folder != nullptr ? folder : "/var/run/xenstored") + "/socket";
  return ::access(path.c_str(), R_OK | W_OK) == 0 ? ::xs_open(0) : nullptr;
}

}  // namespace pviommu::xen
