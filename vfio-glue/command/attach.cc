// SPDX-License-Identifier: LGPL-2.1-or-later
// pviommu attach, detach: a device on the PCI bus of a guest that exists.
//
// attach is the process that has the device, as long as the guest has it: it
// answers the guest's configuration accesses and ends with the guest.  So what
// detach does is to end it, and whatever ends it (a kill, too) detaches.
#include <fcntl.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <thread>

#include "hypercall/backend.h"
#include "hypercall/device_lock.h"
#include "vfio-glue/command/command.h"
#include "vfio-glue/guest/guest_device.h"

namespace pviommu::command {
namespace {

/// How long a process may take to give a device back: a reset, and an unmapping.
constexpr auto kDetachTime = std::chrono::seconds(20);

/// SIGTERM, SIGINT and SIGHUP as a descriptor; of this and all later threads.
UniqueFd stop_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) ::sigaddset(&set, number);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  return UniqueFd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

/// The rest of the work in a child that outlives us; here its first answer is waited
/// for.  In the child: the descriptor to give it to.  Exits in the parent.
UniqueFd go_to_background() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return {};
  UniqueFd read_end(ends[0]), write_end(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return {};
  if (child == 0) {
    ::setsid();
    return write_end;
  }
  write_end.reset();
  std::uint8_t status = kFailed;
  if (::read(read_end.get(), &status, 1) != 1) {
    int ended = 0;
    if (::waitpid(child, &ended, 0) == child && WIFEXITED(ended)) status = static_cast<std::uint8_t>(WEXITSTATUS(ended));
  }
  ::_exit(status);
}

/// Nobody reads what we say any more, and who waits for the end of our output does not
/// wait for the guest: what there is to say goes to a file beside the device's lock.
void say_into_log(const std::string& device) {
  const auto folder = DeviceLock::folder();
  UniqueFd log(folder ? ::open((*folder + "/attach-" + device + ".log").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)
                      : -1);
  const UniqueFd nothing(::open("/dev/null", O_RDWR | O_CLOEXEC));
  (void)::dup2(nothing.get(), STDIN_FILENO);
  for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) (void)::dup2(log ? log.get() : nothing.get(), fd);
}

std::string with_domain(const std::string& hypervisor, const std::string& domain) {
  return hypervisor + (hypervisor.find(':') == hypervisor.npos ? ":" : ",") + "domain=" + domain;
}

/// The guest as libvirt knows it, and word of libvirt's end.  What becomes of the guest
/// the hypervisor tells, which is there when libvirt is not.
struct LibvirtGuest {
  std::unique_ptr<host::HostConnection> connection;
  std::unique_ptr<host::GuestWatch> watch;  // before its connection
  std::string domid;
};

/// False after a complaint.
bool resolve(const AttachOptions& options, LibvirtGuest& guest) {
  const std::string uri = options.uri->empty() ? "libvirt's default connection" : *options.uri;
  // A domid of another machine would name some other guest of this one.  With a host in
  // the URI that is known before anybody waits for it to answer.
  const auto elsewhere = [&uri] {
    complain(uri + ": its guests are not this machine's; pviommu attach runs where the guest does");
    return false;
  };
  const std::size_t scheme = uri.find("://");
  if (scheme != uri.npos && scheme + 3 < uri.size() && uri[scheme + 3] != '/') return elsewhere();
  auto opened = host::open_host_connection(*options.uri);
  if (!opened) {
    complain(to_string(opened.error()));
    return false;
  }
  guest.connection = std::move(*opened);
  if (!guest.connection->devices().is_this_machine()) return elsewhere();
  host::GuestDomains& domains = guest.connection->domains();
  const auto domain = host::resolve_running(domains, options.domain);
  if (!domain) {
    complain(to_string(domain.error()));
    return false;
  }
  guest.domid = std::to_string(*domain->id);
  const auto tell = [uri, device = options.device](host::GuestEvent event) {
    if (event == host::GuestEvent::lost)
      complain(uri + ": libvirt has gone; " + device +
               " stays with the guest until the guest ends, which the hypervisor tells");
  };
  auto watch = domains.watch(*domain, tell);
  if (watch)
    guest.watch = std::move(*watch);
  else
    complain(to_string(watch.error()) + "; the end of libvirt will not be noticed");
  return true;
}

}  // namespace

int attach(AttachOptions options) {
  const auto sbdf = parse_sbdf(options.device);
  if (!sbdf) {
    complain("'" + options.device + "': expected SSSS:BB:DD.F like 0000:00:05.0");
    return kBadInput;
  }
  const auto place = parse_sbdf(options.at);
  if (!place || place->raw() >> 8 != 0) {
    complain("--at='" + options.at + "': expected a place on bus 0 of the guest, like 00:10.0");
    return kBadInput;
  }
  UniqueFd answer;
  if (options.background) {
    answer = go_to_background();
    if (!answer) {
      complain("cannot go to the background: " + to_string(Error{errno, "fork"}));
      return kFailed;
    }
  }
  const UniqueFd stop = stop_signals();
  LibvirtGuest guest;
  if (options.uri && !resolve(options, guest)) return kBadInput;

  options.engine.hypervisor =
      with_domain(options.engine.hypervisor, options.uri ? guest.domid : options.domain);
  const auto engine = vfio::Engine::create(options.engine);
  if (!engine) {
    complain(to_string(engine.error()));
    return kBadInput;
  }
  const auto bus = (*engine)->hypervisor().guest_bus();
  if (!bus) {
    complain("hypervisor '" + options.engine.hypervisor + "': " + to_string(bus.error()));
    return bus.error().code == EOPNOTSUPP ? kBadInput : kFailed;
  }
  const auto device = vfio::GuestDevice::open(**engine, **bus, *sbdf, (*bus)->guest());
  if (!device) {
    complain((device.error().sentence.empty() ? options.device + ": " : "") + to_string(device.error()));
    return kFailed;
  }
  if (const Status added = (*bus)->add(*place, **device); !added) {
    complain("--at=" + options.at + ": " + to_string(added.error()));
    return kFailed;
  }
  std::printf("%s is %s of domain %u; it ends with the guest, or by pviommu detach %s\n", to_string(*sbdf).c_str(),
              to_string(*place).c_str(), unsigned{(*bus)->guest().raw()}, to_string(*sbdf).c_str());
  std::fflush(stdout);
  if (answer) {
    const std::uint8_t fine = 0;
    say_into_log(to_string(*sbdf));
    if (::write(answer.get(), &fine, 1) != 1) return kFailed;  // nobody waits any more
    answer.reset();
  }
  const auto end = (*bus)->serve(stop.get());
  if (!end) {
    complain(options.device + ": the guest's accesses: " + to_string(end.error()));
    return kFailed;
  }
  std::printf("%s: %s\n", to_string(*sbdf).c_str(), *end == GuestBus::End::stopped ? "detached" : "the guest has ended");
  return 0;
}

int detach(const DetachOptions& options) {
  const auto sbdf = parse_sbdf(options.device);
  if (!sbdf) {
    complain("'" + options.device + "': expected SSSS:BB:DD.F like 0000:00:05.0");
    return kBadInput;
  }
  const auto hypervisor = open(options.engine);
  if (!hypervisor) return kBadInput;
  const auto devices = hypervisor->devices();
  if (!devices) {
    complain("hypervisor " + std::string(hypervisor->name()) + " cannot list its devices: " + to_string(devices.error()));
    return kFailed;
  }
  const auto found = std::ranges::find(*devices, *sbdf, &PciDeviceInfo::sbdf);
  if (found == devices->end()) {
    complain("there is no device " + to_string(*sbdf) + "; pviommu list shows those there are");
    return kBadInput;
  }
  const auto owner = found->lock.empty() ? Result<std::optional<DeviceOwner>>(std::nullopt) : DeviceLock::owner(found->lock);
  if (!owner) {
    complain("who has " + to_string(*sbdf) + " cannot be told: " + to_string(owner.error()));
    return kFailed;
  }
  if (!*owner) {
    complain(to_string(*sbdf) + " is not attached to a guest");
    return kFailed;
  }
  const DeviceOwner& has = **owner;
  if (has.comm != "pviommu") {
    complain(to_string(*sbdf) + " is used by process " + std::to_string(has.pid) + " (" + has.comm +
             "), which is no pviommu attach; end that program");
    return kFailed;
  }
  if (::kill(has.pid, SIGTERM) != 0) {
    complain("process " + std::to_string(has.pid) + ", which has " + to_string(*sbdf) + ": " +
             to_string(Error{errno, "kill"}));
    return kFailed;
  }
  for (const auto until = std::chrono::steady_clock::now() + kDetachTime; std::chrono::steady_clock::now() < until;) {
    const auto now = DeviceLock::owner(found->lock);
    if (now && (!*now || (*now)->pid != has.pid)) return 0;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  complain("process " + std::to_string(has.pid) + " has not given " + to_string(*sbdf) + " back within " +
           std::to_string(kDetachTime.count()) + " s; pviommu reap looks after it once it is gone");
  return kFailed;
}

}  // namespace pviommu::command
