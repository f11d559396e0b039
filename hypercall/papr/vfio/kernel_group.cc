// SPDX-License-Identifier: LGPL-2.1-or-later
//   start()   open the group, a container of its own, its type, its windows
//   map()     VFIO_IOMMU_MAP_DMA; the kernel finds, pins and enters each page
//
// A refusal is explained once on stderr, because programs see an errno only.
#include "hypercall/papr/vfio/kernel_group.h"

#include <linux/vfio.h>

#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "hypercall/pci_device.h"

namespace pviommu::spapr {

namespace {

std::string sizes(std::uint64_t bits) {
  std::string all;
  for (unsigned shift = 0; shift < 64; ++shift) {
    if ((bits >> shift & 1) == 0) continue;
    const bool mega = shift >= 20;
    all += (all.empty() ? "" : " ") + std::to_string(std::uint64_t{1} << (shift - (mega ? 20 : 10))) + (mega ? "M" : "K");
  }
  return all;
}

}  // namespace

Status KernelGroup::refuse(int code, const char* operation, const std::string& why) const {
  std::fprintf(stderr, "pviommu: group %u: %s\n", number_, why.c_str());
  return Error{code, operation};
}

Result<std::unique_ptr<KernelGroup>> KernelGroup::open(VfioCalls& calls, RegisteredMemory& memory, ContainerType type,
                                                       unsigned number, const IovaRange& default_window,
                                                       const WindowChoice& window) {
  std::unique_ptr<KernelGroup> group(new KernelGroup(calls, memory, type, number));
  PVIOMMU_TRY(group->start(default_window, window));
  return group;
}

Status KernelGroup::start(const IovaRange& default_window, const WindowChoice& window) {
  const std::string path = "/dev/vfio/" + std::to_string(number_);
  auto group = calls_.open(path);
  if (!group) {
    if (group.error().code == ENOENT)
      return refuse(ENODEV, "open group", path + " is not there: bind the group's devices to vfio-pci");
    if (group.error().code != EBUSY)
      return refuse(group.error().code, "open group", path + ": " + std::strerror(group.error().code));
    return group.error();
  }
  group_ = std::move(*group);
  vfio_group_status status{};
  status.argsz = sizeof status;
  (void)PVIOMMU_TRY(calls_.ioctl(group_.get(), VFIO_GROUP_GET_STATUS, &status));
  if ((status.flags & VFIO_GROUP_FLAGS_VIABLE) == 0)
    return refuse(EBUSY, "open group", "not viable: a device behind the same host bridge has a driver of the host");

  container_ = PVIOMMU_TRY(calls_.open("/dev/vfio/vfio"));
  int container = container_.get();
  (void)PVIOMMU_TRY(calls_.ioctl(group_.get(), VFIO_GROUP_SET_CONTAINER, &container));
  const std::uintptr_t iommu = type_ == ContainerType::v2 ? VFIO_SPAPR_TCE_v2_IOMMU : VFIO_SPAPR_TCE_IOMMU;
  if (const auto set = calls_.ioctl(container, VFIO_SET_IOMMU, iommu); !set)
    return refuse(EOPNOTSUPP, "set iommu",
                  std::string("the kernel's sPAPR driver does not take it (") + std::strerror(set.error().code) +
                      "): Linux 6.11 or newer with vfio_iommu_spapr_tce is needed, or papr:via=module");

  vfio_iommu_spapr_tce_info info{};
  info.argsz = sizeof info;
  (void)PVIOMMU_TRY(calls_.ioctl(container, VFIO_IOMMU_SPAPR_TCE_GET_INFO, &info));
  const auto window32 = IovaRange::from_size(Iova(info.dma32_window_start), info.dma32_window_size);
  if (!window32 || !window32->contains(default_window)) {
    char text[160];
    std::snprintf(text, sizeof text, "the kernel's default window is 0x%x + 0x%x, the device tree has 0x%" PRIx64 " to 0x%" PRIx64,
                  info.dma32_window_start, info.dma32_window_size, default_window.first().raw(),
                  default_window.last().raw());
    return refuse(EIO, "default window", text);
  }
  if (type_ == ContainerType::v1) {
    // Counts the whole window against RLIMIT_MEMLOCK, once.
    if (const auto enabled = calls_.ioctl(container, VFIO_IOMMU_ENABLE, std::uintptr_t{0}); !enabled)
      return refuse(enabled.error().code, "enable",
                    std::string("the window cannot be used: ") + std::strerror(enabled.error().code) +
                        (enabled.error().code == ENOMEM ? " (the limit of locked memory must hold all of it: ulimit -l)" : ""));
    return {};
  }
  if (window.size != 0)
    PVIOMMU_TRY(create_window(window, (info.flags & VFIO_IOMMU_SPAPR_INFO_DDW) != 0 ? info.ddw.pgsizes : 0));
  PVIOMMU_TRY(memory_.add_container(container));
  registered_ = true;
  return {};
}

Status KernelGroup::create_window(const WindowChoice& window, std::uint64_t page_sizes) {
  if ((page_sizes >> window.page_shift & 1) == 0)
    return refuse(EOPNOTSUPP, "create window",
                  page_sizes == 0 ? "the hypervisor has no dynamic DMA windows for it: leave window= out"
                                  : "its windows have pages of " + sizes(page_sizes) + ", not " +
                                        sizes(std::uint64_t{1} << window.page_shift) + " (page=)");
  vfio_iommu_spapr_tce_create create{};
  create.argsz = sizeof create;
  create.page_shift = window.page_shift;
  create.window_size = window.size;
  create.levels = 1;
  if (const auto made = calls_.ioctl(container_.get(), VFIO_IOMMU_SPAPR_TCE_CREATE, &create); !made)
    return refuse(made.error().code, "create window",
                  "a window of " + sizes(window.size) + " with pages of " + sizes(std::uint64_t{1} << window.page_shift) +
                      " cannot be made: " + std::strerror(made.error().code) + " (window=, page=)");
  if (create.start_addr != WindowChoice::kStart) {
    char text[96];
    std::snprintf(text, sizeof text, "the window is at 0x%" PRIx64 " and not at 0x%" PRIx64,
                  static_cast<std::uint64_t>(create.start_addr), WindowChoice::kStart);
    return refuse(EOPNOTSUPP, "create window", text);
  }
  return {};
}

KernelGroup::~KernelGroup() {
  if (registered_) memory_.remove_container(container_.get());
}

Result<UniqueFd> KernelGroup::open_device(Sbdf sbdf) {
  const std::string name = to_string(sbdf);
  return UniqueFd(PVIOMMU_TRY(calls_.ioctl(group_.get(), VFIO_GROUP_GET_DEVICE_FD, name.c_str())));
}

Status KernelGroup::map(const MapRun& run) {
  vfio_iommu_type1_dma_map map{};
  map.argsz = sizeof map;
  map.flags = (allows(run.access, Access::read) ? std::uint32_t{VFIO_DMA_MAP_FLAG_READ} : 0) |
              (allows(run.access, Access::write) ? std::uint32_t{VFIO_DMA_MAP_FLAG_WRITE} : 0);
  map.vaddr = run.mfn.raw() << kPageShift;
  map.iova = iova_of(run.dfn).raw();
  map.size = run.pages << kPageShift;
  const auto done = calls_.ioctl(container_.get(), VFIO_IOMMU_MAP_DMA, &map);
  // ENXIO is the kernel's word for no window there (tce_iommu_ioctl(), Linux 6.12).
  if (!done) return Error{done.error().code == ENXIO ? EINVAL : done.error().code, "map", done.error().raw};
  return {};
}

Status KernelGroup::unmap(const UnmapRun& run) {
  vfio_iommu_type1_dma_unmap unmap{};
  unmap.argsz = sizeof unmap;
  unmap.iova = iova_of(run.dfn).raw();
  unmap.size = run.pages << kPageShift;
  const auto done = calls_.ioctl(container_.get(), VFIO_IOMMU_UNMAP_DMA, &unmap);
  if (!done) return Error{done.error().code, "unmap", done.error().raw};
  return {};
}

}  // namespace pviommu::spapr
