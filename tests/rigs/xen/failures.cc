// SPDX-License-Identifier: LGPL-2.1-or-later
// Every Xen hypercall of a program's whole life fails once, for every one of
// them, on real Xen.
//
//   xen_failures EDU [NVME]        addresses; prints one protocol line a device, and one
//                                  for the first in guest mode
//
// A life: container, map, device, map, interrupts of each kind on, to other targets
// and off, unmap,
// close with a mapping left.  The step that fails must answer EIO (what is injected) and leave
// things as they were, so that it works when it is tried again; after the end
// there is no carrier, nothing pinned, no ledger, and another life works.
#include <linux/vfio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "hypercall/pci_device.h"
#include "hypercall/statistics.h"
#include "hypercall/xen/carrier.h"
#include "hypercall/xen/ledger.h"
#include "tiny_guest.h"
#include "vfio-glue/engine/engine.h"
#include "vfio-glue/vfio_notification.h"
#include "vfio_local_client.h"

using namespace pviommu;

namespace {

constexpr std::size_t kManyPages = 66;  // more than one batch

std::vector<std::string> problems;
std::string context;

void problem(const std::string& text) {
  problems.push_back(context + ": " + text);
  std::fprintf(stderr, "%s\n", problems.back().c_str());
}

std::uint64_t failed_calls() {
  std::uint64_t sum = 0;
  for (const auto& failures : statistics().hypercall_failures) sum += failures.load();
  return sum;
}

class Life {
 public:
  /// `guest`: with `guest_mode` whose memory is mapped, else one more target of vectors.
  Life(const std::string& hypervisor, Sbdf sbdf, std::size_t pages, const tiny::Guest* guest, bool guest_mode)
      : sbdf_(sbdf), bytes_(pages * kPageSize), guest_(guest), guest_mode_(guest_mode) {
    memory_ = static_cast<std::uint8_t*>(
        ::mmap(nullptr, 2 * bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    // Every other page, in this order: frames that are no neighbours.
    for (std::size_t i = 0; i < 2 * pages; i += 2) memory_[i * kPageSize] = 1;
    for (std::size_t i = 1; i < 2 * pages; i += 2) memory_[i * kPageSize] = 1;
    event_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    vfio::EngineConfig config;
    config.hypervisor = hypervisor;
    config.quiet = true;
    auto created = vfio::Engine::create(config);
    if (!created)
      problem(to_string(created.error()));
    else
      engine_ = std::move(*created);
  }
  ~Life() {
    client_.close_all();
    engine_.reset();
    ::munmap(memory_, 2 * bytes_);
    ::close(event_);
  }

  void run() {
    if (!engine_) return;
    container_ = *client_.install(*engine_->open_container());
    auto group = engine_->open_group(group_number());
    if (!group) return problem("group: " + to_string(group.error()));
    group_ = *client_.install(std::move(*group));
    step("SET_CONTAINER", [&] { return client_.ioctl(group_, VFIO_GROUP_SET_CONTAINER, &container_); });
    step("SET_IOMMU", [&] {
      return client_.ioctl(container_, VFIO_SET_IOMMU, reinterpret_cast<void*>(VFIO_TYPE1v2_IOMMU));
    });
    step("MAP 1", [&] { return map(tiny::kFree, kPageSize); });
    step("GET_DEVICE_FD", [&] {
      const std::string name = to_string(sbdf_);
      const long fd = client_.ioctl(group_, VFIO_GROUP_GET_DEVICE_FD, const_cast<char*>(name.c_str()));
      if (fd >= 0) device_ = static_cast<int>(fd);
      return fd < 0 ? fd : 0;
    });
    const std::uint64_t second = guest_mode_ ? tiny::kFree + kPageSize : 0x400000;
    step("MAP", [&] { return map(second, bytes_); });
    for (const std::uint32_t index : {VFIO_PCI_MSIX_IRQ_INDEX, VFIO_PCI_MSI_IRQ_INDEX}) {
      if (vectors(index) == 0) continue;
      ask_kinds(index);
      if (!guest_mode_) step("SET_IRQS on", [&] { return set_irqs(index, true); });
      if (!guest_mode_)
        step("event channel",
             [&] { return notify(index, PVIOMMU_NOTIFY_EVENT_CHANNEL, PVIOMMU_DOMID_SELF, 0); });
      if (guest_ != nullptr) {
        step("guest vector",
             [&] { return notify(index, PVIOMMU_NOTIFY_GUEST_VECTOR, guest_->domid(), 0x50); });
        step("another guest vector",
             [&] { return notify(index, PVIOMMU_NOTIFY_GUEST_VECTOR, guest_->domid(), 0x51); });
      }
      if (guest_mode_) {
        for (const std::uint32_t pirq : {20u, 21u})
          step("event channel of the guest's pirq",
               [&] { return notify(index, PVIOMMU_NOTIFY_GUEST_VECTOR, guest_->domid(), 0, pirq); });
        step("a guest vector again",
             [&] { return notify(index, PVIOMMU_NOTIFY_GUEST_VECTOR, guest_->domid(), 0x50); });
      }
      if (!guest_mode_)
        step("event channel again",
             [&] { return notify(index, PVIOMMU_NOTIFY_EVENT_CHANNEL, PVIOMMU_DOMID_SELF, 0); });
      if (!guest_mode_)
        step("eventfd",
             [&] { return notify(index, PVIOMMU_NOTIFY_EVENTFD, 0, static_cast<std::uint32_t>(event_)); });
      step("SET_IRQS off", [&] { return set_irqs(index, false); });
    }
    step("UNMAP", [&] { return unmap(second, bytes_); });
    client_.close(device_);
    client_.close(group_);
    client_.close(container_);
  }

 private:
  unsigned group_number() {
    for (const auto& info : *engine_->hypervisor().devices())
      if (info.sbdf == sbdf_) return info.group;
    return ~0u;
  }

  void step(const char* name, const std::function<long()>& work) {
    const Statistics& s = statistics();
    const std::uint64_t mappings = s.live_mappings(), pages = s.live_pages(), pinned = s.pinned_pages.load();
    const long result = work();
    if (result == 0) return;
    const std::string what = name;
    if (result != -EIO) problem(what + " answered " + std::strerror(static_cast<int>(-result)) + ", not EIO");
    if (s.live_mappings() != mappings || s.live_pages() != pages) problem(what + " left mappings");
    if (s.pinned_pages.load() != pinned) problem(what + " left pins");
    if (const long again = work(); again != 0)
      problem(what + " a second time: " + std::strerror(static_cast<int>(-again)));
  }

  long map(std::uint64_t iova, std::uint64_t size) {
    return client_.map(container_, iova, guest_mode_ ? guest_->memory() + iova : memory_, size);
  }
  void ask_kinds(std::uint32_t index) {
    struct {
      pviommu_irq_info info;
      pviommu_irq_info_cap_notifications notifications;
    } asked{};
    asked.info.info = {
        .argsz = sizeof asked, .flags = PVIOMMU_IRQ_INFO_FLAG_CAPS, .index = index, .count = 0};
    if (client_.ioctl(device_, VFIO_DEVICE_GET_IRQ_INFO, &asked) != 0) problem("GET_IRQ_INFO");
  }
  long notify(std::uint32_t index, std::uint32_t kind, std::uint32_t domid, std::uint32_t value,
              std::uint32_t gflags = 0) {
    struct {  // vfio_irq_set and its data
      std::uint32_t argsz, flags, index, start, count;
      pviommu_notification wanted;
    } call{sizeof call, PVIOMMU_IRQ_SET_DATA_NOTIFICATION | VFIO_IRQ_SET_ACTION_TRIGGER, index, 0, 1, {}};
    call.wanted.kind = kind;
    call.wanted.domid = domid;
    call.wanted.port = value;
    call.wanted.gflags = gflags;
    return client_.ioctl(device_, VFIO_DEVICE_SET_IRQS, &call);
  }
  long unmap(std::uint64_t iova, std::uint64_t size) { return client_.unmap(container_, iova, size); }
  long set_irqs(std::uint32_t index, bool on) { return client_.set_irqs(device_, index, on, event_); }
  unsigned vectors(std::uint32_t index) {
    vfio_irq_info info{.argsz = sizeof info, .flags = 0, .index = index, .count = 0};
    return client_.ioctl(device_, VFIO_DEVICE_GET_IRQ_INFO, &info) == 0 ? info.count : 0;
  }

  const Sbdf sbdf_;
  const std::size_t bytes_;
  const tiny::Guest* guest_;
  const bool guest_mode_;
  std::uint8_t* memory_ = nullptr;
  int event_ = -1;
  std::unique_ptr<vfio::Engine> engine_;
  vfio::LocalClient client_;
  int container_ = -1, group_ = -1, device_ = -1;
};

void expect_nothing(xen::XenCalls& calls) {
  const Statistics& s = statistics();
  if (s.live_mappings() != 0 || s.live_pages() != 0) problem("mappings are left");
  if (s.pinned_pages.load() != 0) problem("pages are left pinned");
  const auto carriers = xen::list_carriers(calls);
  if (!carriers)
    problem(to_string(carriers.error()));
  else if (!carriers->empty())
    problem(std::to_string(carriers->size()) + " carriers are left");
}

/// Every n; how many there were.
unsigned try_device(xen::XenCalls& calls, Sbdf sbdf, std::size_t pages, const tiny::Guest* guest,
                    bool guest_mode) {
  const std::string domain = guest_mode ? "domain=" + std::to_string(guest->domid()) : "";
  unsigned quiet = 0, n = 0, seen = 0;
  // Calls whose failure is nobody's business (a second try works) are not
  // counted as failed; three in a row mean that the life is over.
  while (quiet < 3 && problems.size() < 5) {
    context = to_string(sbdf) + ", hypercall " + std::to_string(++n);
    const std::uint64_t before = failed_calls();
    {
      Life life("xen:" + domain + (guest_mode ? "," : "") + "fail=" + std::to_string(n), sbdf, pages, guest,
                guest_mode);
      life.run();
    }
    quiet = failed_calls() == before ? quiet + 1 : 0;
    if (quiet == 0) ++seen;
    expect_nothing(calls);
    if (n % 50 == 0) std::fprintf(stderr, "# %s: %u hypercalls\n", to_string(sbdf).c_str(), n);
  }
  context = to_string(sbdf) + ", afterwards";
  Life("xen:" + domain, sbdf, pages, guest, guest_mode).run();
  expect_nothing(calls);
  if (seen < (guest_mode ? 8 : 20))
    problem("only " + std::to_string(seen) + " hypercalls failed: the test sees nothing");
  return n - quiet;
}

}  // namespace

int main(int argc, char** argv) {
  auto calls = xen::XenCalls::open();
  if (!calls || argc < 2) {
    std::fprintf(stderr, "usage: xen_failures DEVICE..., in a Xen dom0\n");
    return 2;
  }
  int status = 0;
  int cases = 0;  // in TAP
  const auto show = [&](const std::string& what, unsigned count) {
    if (problems.empty()) {
      std::printf("ok %d - failures: each of %u hypercalls of a life of %s\n", ++cases, count, what.c_str());
    } else {
      status = 1;
      std::printf("not ok %d - failures: a life of %s - %s\n", ++cases, what.c_str(), problems[0].c_str());
    }
    problems.clear();
  };
  const std::uint32_t domid = tiny::Guest::make({});
  {
    const tiny::Guest guest(domid);
    for (int i = 1; i < argc; ++i) {
      const auto sbdf = parse_sbdf(argv[i]);
      if (!sbdf) return 2;
      // Once for batches and all targets; for the others the rest of a life is what counts.
      show(argv[i], try_device(**calls, *sbdf, i == 1 ? kManyPages : 3, i == 1 ? &guest : nullptr, false));
    }
    show(std::string(argv[1]) + " in guest mode", try_device(**calls, *parse_sbdf(argv[1]), 3, &guest, true));
    const bool alive = tiny::Guest::alive(domid);
    ++cases;
    std::printf("%s %d - failures: the guest lives on%s\n1..%d\n", alive ? "ok" : "not ok", cases,
                alive ? "" : " - it has ended", cases);
    if (!alive) status = 1;
  }
  tiny::Guest::destroy(domid);
  return status;
}
