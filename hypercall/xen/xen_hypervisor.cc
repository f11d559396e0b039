// SPDX-License-Identifier: LGPL-2.1-or-later
// Opening, the watching thread, spaces and the module's entry.  Devices and vectors are in
// open_device.cc.
//
//   open()       checks the machine, reaps what dead programs left; holds nothing
//   activate()   with the first space or device: guardian, ledger, watching thread
//   watch()      waits: for text in Xen's console ring, which may be faults and is read 200 ms
//                later; for the end of a domain, which may be the guest; for a guardian's end,
//                which is replaced.  Where there are no such events (events.h), it asks every 200 ms
#include "hypercall/xen/xen_hypervisor.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>

#include "hypercall/statistics.h"
#include "hypercall/xen/carrier.h"
#include "hypercall/xen/doctor.h"
#include "hypercall/xen/open_device.h"
#include "hypercall/xen/owner.h"
#include "hypercall/xen/reaper.h"
#include "hypercall/xen/xen_conf.h"

namespace pviommu::xen {
namespace {

/// How often Xen's console is looked at for faults, while there are any or nobody tells.
constexpr int kConsoleMilliseconds = 200;
constexpr unsigned kConsoleBytes = 16384;
/// How long is waited at most, without a call to Xen: another thread may have replaced a guardian, and
/// its descriptor, right before.
constexpr int kWaitMilliseconds = 10000;

}  // namespace

XenHypervisor::XenHypervisor(Host host, std::unique_ptr<XenCalls> calls, std::unique_ptr<Guest> guest)
    : host_(std::move(host)), calls_(std::move(calls)), guest_(std::move(guest)) {
  Capabilities& caps = capabilities_;
  caps.reserved = host_.reserved;
  caps.iova_ranges = {IovaRange::from_size(Iova(0), std::uint64_t{1} << host_.iommu_bits).value()};
  for (const ReservedRange& reserved : caps.reserved) caps.iova_ranges = without(caps.iova_ranges, reserved.range);
  caps.page_sizes = kPageSize | std::uint64_t{1} << 21 | std::uint64_t{1} << 30;
  caps.notifications = bit(NotificationKind::sink) | bit(NotificationKind::event_channel) | bit(NotificationKind::guest_vector);
  caps.vectors_before_attach = true;
  // Direct mappings have both rights in Xen, always.
  caps.read_only = caps.write_only = false;
  caps.peer_to_peer = true;
  caps.held_frames_only = true;
  if (!guest_) return;
  // Memory is the guest's, and so are the vectors.
  caps.notifications = bit(NotificationKind::guest_vector);
  caps.vectors_before_attach = false;
  caps.held_frames_only = false;
  caps.pins_memory = true;
  injected_ = std::make_unique<GuestVectors>(*calls_, *guest_);
  vectors_ = injected_.get();
}

Result<std::unique_ptr<XenHypervisor>> XenHypervisor::open(std::string_view conf) {
  const auto wrong = [](const std::string& what) { return Error{EINVAL, "open xen"}.with_sentence(what); };
  const XenConf read = PVIOMMU_TRY(parse_xen_conf(conf));
  const auto& [interrupts, domain, fail, assumed] = read;

  PVIOMMU_TRY(on_xen());
  auto calls = XenCalls::open(assumed);
  if (!calls && !calls.error().sentence.empty()) return calls.error();
  if (!calls)
    return calls.error().with_sentence(to_string(calls.error()) +
                                       ": are you root in dom0, is xen-privcmd loaded (modprobe xen-privcmd)?");
  Host host = PVIOMMU_TRY(examine_host(**calls));

  ReapReport report;
  reap_orphans(**calls, kReapMilliseconds, report);
  if (!report.done.empty())
    std::fprintf(stderr, "pviommu: cleaned up behind a program that died: %u devices, %u vectors, %u carriers\n",
                 report.devices, report.vectors, report.carriers);
  for (const std::string& line : report.problems) std::fprintf(stderr, "pviommu: %s\n", line.c_str());

  std::unique_ptr<Guest> guest;
  if (!domain.empty()) {
    if (interrupts == "may-crash-dom0")
      return wrong("domain= and interrupts=may-crash-dom0: a guest needs no event channels");
    guest = PVIOMMU_TRY(find_guest(**calls, domain));
  }
  std::unique_ptr<XenHypervisor> xen(new XenHypervisor(std::move(host), std::move(*calls), std::move(guest)));
  if (const Status channels = xen->use_channels(interrupts == "may-crash-dom0", interrupts == "none"); !channels)
    return channels.error().with_sentence(to_string(channels.error()) +
                                          ": load the kernel's event channel device (modprobe xen-evtchn)");
  xen->fail_ = fail;
  return xen;
}

/// This is found out at the start, because it decides which interrupts devices are said to
/// have.
Status XenHypervisor::use_channels(bool may_crash_dom0, bool none) {
  if (!guest_) {
    channels_ = PVIOMMU_TRY(PirqVectors::open(*calls_, may_crash_dom0));
    vectors_ = channels_.get();
  }
  no_interrupts_ = none;
  const bool offered = !none && (guest_ || channels_->delivery() != Delivery::none);
  capabilities_.vector_kinds = offered ? bit(VectorKind::msi) | bit(VectorKind::msix) : 0;
  return {};
}

XenHypervisor::~XenHypervisor() {
  watcher_.end(stop_);
  guardian_.reset();
}

Status XenHypervisor::activate() {
  if (active_.load(std::memory_order_acquire)) return {};
  const std::lock_guard guard(activation_lock_);
  if (active_.load(std::memory_order_relaxed)) return {};
  if (fail_ != 0) calls_->fail_call(std::exchange(fail_, 0));
  if (!physical_) physical_ = PVIOMMU_TRY(PhysicalMap::open(*calls_));
  if (!ledger_) ledger_ = PVIOMMU_TRY(Ledger::create());
  if (!guardian_) {
    auto started = GuardianLink::start(*ledger_, calls_->interface());
    if (!started) {
      std::fprintf(stderr, "pviommu: %s\n", to_string(started.error()).c_str());
      ledger_->discard();
      ledger_.reset();
      return started.error();
    }
    guardian_ = std::move(*started);
  }
  if (!stop_) {
    stop_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!stop_) return Error{errno, "eventfd"};
  }
  const char* no_notices = std::getenv("PVIOMMU_QUIET");
  const bool quiet = no_notices != nullptr && std::strcmp(no_notices, "1") == 0;
  console_events_ = ConsoleEvents::open();
  if (guest_) domain_ends_ = DomainEnds::open();
  // What is in the ring by now happened to others.
  {
    std::string old;
    std::vector<char> piece(kConsoleBytes);
    for (auto got = calls_->read_console(piece, console_index_); got && *got != 0;) {
      old.append(piece.data(), *got);
      got = calls_->read_console(piece, console_index_);
    }
    if (const auto remapped = interrupt_remapping(old); remapped && !*remapped && !quiet)
      std::fprintf(stderr,
                   "pviommu: Xen does not remap interrupts: a device can send any interrupt to this machine, so only "
                   "programs that are trusted like root should have one; switch interrupt remapping on in the firmware, "
                   "and leave iommu=no-intremap off Xen's command line\n");
  }
  if (!guest_) PVIOMMU_TRY(start_channels(quiet));
  PVIOMMU_TRY(watcher_.start("thread", [this] { watch(); }));
  active_.store(true, std::memory_order_release);
  return {};
}

Status XenHypervisor::start_channels(bool quiet) {
  if (channels_->delivery() == Delivery::none && !no_interrupts_ && !quiet)
    std::fprintf(stderr,
                 "pviommu: this kernel cannot hand a device's interrupt to a program, so devices have none here; "
                 "install Linux 6.6 or later (Debian 12: linux-image-amd64 from bookworm-backports)\n");
  if (channels_->delivery() == Delivery::swap_port)
    std::fprintf(stderr,
                 "pviommu: interrupts=may-crash-dom0: event channels are taken from under this kernel, which may end "
                 "dom0; Linux 6.6 or later needs no such thing\n");
  PVIOMMU_TRY(channels_->start());
  PVIOMMU_TRY(guardian_->hold_channels(channels_->fd()));
  return guardian_->hold_channels(channels_->consumer_fd());
}

void XenHypervisor::watch() {
  bool text = !console_events_;  // there is, or there may be
  for (;;) {
    const auto guardians = guardian_->fds();
    const bool ask = guest_ && (!domain_ends_ || guest_->gone.load());
    pollfd events[] = {{stop_.get(), POLLIN, 0},
                       {guardians[0], 0, 0},
                       {guardians[1], 0, 0},
                       {console_events_ && !text ? console_events_->fd() : -1, POLLIN, 0},
                       {domain_ends_ ? domain_ends_->fd() : -1, POLLIN, 0}};
    const int ready = ::poll(events, std::size(events), text || ask ? kConsoleMilliseconds : kWaitMilliseconds);
    if (events[0].revents != 0) return;
    if (events[1].revents != 0 || events[2].revents != 0) {
      // Somebody has killed a guardian.  Until there is a new one the pins
      // live only as long as we or the other one do.
      if (const Status again = guardian_->restart(); !again) {
        std::fprintf(stderr, "pviommu: no guardian: %s\n", to_string(again.error()).c_str());
        (void)::poll(nullptr, 0, kConsoleMilliseconds);
      }
    }
    if (events[3].revents != 0) {
      text = true;
      if (!console_events_->take()) console_events_.reset();
    }
    if (events[4].revents != 0) {
      if (!domain_ends_->take()) domain_ends_.reset();
      watch_guest();
    }
    if (ready != 0) continue;
    // Until it was quiet, once: see read_console().
    if (text) text = read_console() || !console_events_;
    if (ask) watch_guest();
  }
}

bool XenHypervisor::read_console() {
  char text[kConsoleBytes];
  std::vector<Fault> found;
  bool quiet = true;
  for (;;) {
    const auto got = calls_->read_console(text, console_index_);
    if (!got || *got == 0) break;
    quiet = false;
    fault_log_.feed(std::string_view(text, *got), found);
  }
  // In a quiet ring a second line does not come any more: Xen's rate limit has taken it.
  if (quiet) fault_log_.settle(found);
  for (const Fault& fault : found) {
    {
      const std::lock_guard devices(devices_lock_);
      if (find(fault.sbdf) == nullptr) continue;  // not ours
    }
    count_fault(fault);
  }
  return !quiet;
}

// ---- address spaces ------------------------------------------------------------

void XenHypervisor::watch_guest() {
  if (!guest_->gone.load()) {
    if (guest_lives(*calls_, *guest_)) return;
    guest_->gone.store(true);
    const std::uint64_t once = 1;
    (void)!::write(guest_->end.get(), &once, sizeof once);
    std::fprintf(stderr, "pviommu: the guest %s (domain %u) has ended; its devices go back to dom0\n",
                 guest_->text.c_str(), guest_->domid.raw());
  }
  const std::lock_guard guard(devices_lock_);
  for (const auto& [sbdf, device] : devices_) device->guest_ended();
}

XenHypervisor::Space* XenHypervisor::find(SpaceId space) {
  const std::shared_lock guard(spaces_lock_);
  const auto found = spaces_.find(space.raw());
  return found == spaces_.end() ? nullptr : &found->second;
}

Result<SpaceId> XenHypervisor::create_space(const SpaceConfig&) {
  PVIOMMU_TRY(activate());
  const std::unique_lock guard(spaces_lock_);
  return guest_ ? take_guest() : make_carrier();
}

Result<SpaceId> XenHypervisor::make_carrier() {
  const LedgerId ledger = ledger_->id();
  const CarrierTag tag{ledger.pid, static_cast<std::uint16_t>(ledger.number), ++carriers_made_};
  const Domid domid = PVIOMMU_TRY(create_carrier(*calls_, tag, host_.max_mfn));
  auto mapping = Mapping::make(*calls_, domid);
  if (!mapping) {
    for (int again = 0; again < 3; ++again)
      if (destroy_carrier(*calls_, domid)) break;
    return mapping.error();
  }
  spaces_[domid.raw()].mapping = std::move(*mapping);
  return SpaceId(domid.raw());
}

Result<SpaceId> XenHypervisor::take_guest() {
  if (!spaces_.empty()) return Error{ENOSPC, "create_space: there is one guest"};
  if (guest_->gone.load()) return Error{ESRCH, "create_space: the guest has ended"};
  auto mapping = PVIOMMU_TRY(GuestMapping::make(*calls_, *guest_, *ledger_));
  spaces_[guest_->domid.raw()].mapping = std::move(mapping);
  return SpaceId(guest_->domid.raw());
}

Status XenHypervisor::destroy_space(SpaceId space) {
  const std::unique_lock guard(spaces_lock_);
  const auto found = spaces_.find(space.raw());
  if (found == spaces_.end()) return Error{ENOENT, "destroy_space"};
  if (found->second.attached != 0) return Error{EBUSY, "destroy_space: devices are attached"};
  if (!guest_) PVIOMMU_TRY(destroy_carrier(*calls_, Domid(static_cast<std::uint16_t>(space.raw()))));
  spaces_.erase(found);
  return {};
}

Status XenHypervisor::attach(SpaceId space, Sbdf sbdf) {
  const std::unique_lock guard(spaces_lock_);
  const auto found = spaces_.find(space.raw());
  if (found == spaces_.end()) return Error{ENOENT, "attach: no such space"};
  const std::lock_guard devices(devices_lock_);
  OpenDevice* device = find(sbdf);
  if (device == nullptr) return Error{ENODEV, "attach: the device is not open"};
  PVIOMMU_TRY(device->attach(Domid(static_cast<std::uint16_t>(space.raw()))));
  ++found->second.attached;
  return {};
}

Status XenHypervisor::detach(SpaceId space, Sbdf sbdf) {
  const std::unique_lock guard(spaces_lock_);
  const auto found = spaces_.find(space.raw());
  if (found == spaces_.end()) return Error{ENOENT, "detach: no such space"};
  {
    const std::lock_guard devices(devices_lock_);
    OpenDevice* device = find(sbdf);
    if (device == nullptr) return Error{ENODEV, "detach: the device is not open"};
    PVIOMMU_TRY(device->detach(Domid(static_cast<std::uint16_t>(space.raw()))));
  }
  --found->second.attached;
  return {};
}

BatchResult XenHypervisor::map(SpaceId space, std::span<const MapRun> runs) {
  Space* found = find(space);
  if (found == nullptr) return {0, Error{ENOENT, "map: no such space"}};
  return found->mapping->map(runs);
}

BatchResult XenHypervisor::unmap(SpaceId space, std::span<const UnmapRun> runs) {
  Space* found = find(space);
  if (found == nullptr) return {0, Error{ENOENT, "unmap: no such space"}};
  return found->mapping->unmap(runs);
}

Status XenHypervisor::frames_of(PinnedMemory& memory, std::vector<FrameRun>& out) {
  PVIOMMU_TRY(activate());
  if (guest_) {
    // The program's view of the guest's memory is a foreign mapping, of which this
    // kernel tells nobody what it shows.  What it does tell is that memory is dom0's
    // own: that is not the guest's.
    std::vector<FrameRun> own;
    if (physical_->frames_of(memory.range(), own)) return Error{EFAULT, "frames_of: this is the program's own memory"};
    out.push_back({Mfn(kNamedFrame | memory.range().first().raw() >> kPageShift), memory.pages()});
    return {};
  }
  const int holder = memory.holder_fd();
  // Xen takes no reference: memory that nobody holds could be given to somebody
  // else under the device.
  if (!memory.holds_pages() || holder < 0) return Error{EFAULT, "frames_of: the pages are not held"};
  {
    const std::lock_guard guard(held_lock_);
    if (!held_.contains(holder)) {
      PVIOMMU_TRY(guardian_->hold(holder));
      held_.insert(holder);
    }
  }
  const std::size_t before = out.size();
  const Status status = physical_->frames_of(memory.range(), out);
  if (!status) out.resize(before);
  return status;
}

Status XenHypervisor::frames_of_mmio(Sbdf sbdf, unsigned bar, std::uint64_t offset, std::uint64_t bytes,
                                     std::vector<FrameRun>& out) {
  Mfn first;
  {
    const std::lock_guard guard(devices_lock_);
    OpenDevice* device = find(sbdf);
    if (device == nullptr) return Error{ENODEV, "frames_of_mmio: the device is not open"};
    const BarInfo info = device->bar(bar);
    if (info.size == 0 || info.is_io || !page_aligned(info.address | offset | bytes) || bytes == 0 ||
        offset >= info.size || bytes > info.size - offset)
      return Error{EINVAL, "frames_of_mmio: not whole pages of a memory BAR"};
    first = Mfn((info.address + offset) >> kPageShift);
  }
  const std::shared_lock guard(spaces_lock_);
  for (const auto& [domid, space] : spaces_)
    PVIOMMU_TRY(permit_frames(*calls_, Domid(static_cast<std::uint16_t>(domid)), first, bytes >> kPageShift));
  out.push_back({first, bytes >> kPageShift});
  return {};
}

// ---- the module ------------------------------------------------------------------

namespace {

void* open_xen(const pviommu_open_args* args, int* error) {
  return open_for_module<Hypervisor>(args, error, &XenHypervisor::open);
}

}  // namespace
}  // namespace pviommu::xen

extern "C" __attribute__((visibility("default"))) const pviommu_module pviommu_module_entry = {
    sizeof(pviommu_module),
    PVIOMMU_MODULE_API_VERSION,
    PVIOMMU_MODULE_HYPERVISOR,
    "xen",
    "stock Xen, from a PV dom0: carrier domains, event channels, guests",
    &pviommu::xen::open_xen,
    &pviommu::xen::diagnose,
    &pviommu::xen::reap_for_command,
    &pviommu::xen::keeper_for_command,
    &pviommu::xen::set_keeper_for_command};
