// SPDX-License-Identifier: LGPL-2.1-or-later
// Every access is a pread or pwrite of the kernel's device descriptor; regions are described
// once, when the device is opened.
#include "hypercall/papr/vfio/kernel_device.h"

#include <endian.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>


namespace pviommu::spapr {

Result<std::unique_ptr<KernelDevice>> KernelDevice::open(VfioCalls& calls, PciDeviceInfo info, UniqueFd fd,
                                                         std::function<void()> at_end) {
  std::unique_ptr<KernelDevice> device(new KernelDevice(calls, std::move(info), std::move(fd)));
  PVIOMMU_TRY(device->start());
  device->at_end_ = std::move(at_end);
  return device;
}

KernelDevice::~KernelDevice() {
  fd_.reset();  // the kernel takes the bus away from the device
  if (at_end_) at_end_();
}

Status KernelDevice::start() {
  vfio_device_info device{};
  device.argsz = sizeof device;
  (void)PVIOMMU_TRY(calls_.ioctl(fd_.get(), VFIO_DEVICE_GET_INFO, &device));
  if ((device.flags & VFIO_DEVICE_FLAGS_PCI) == 0) return Error{ENODEV, "open_device: no PCI device"};
  can_reset_ = (device.flags & VFIO_DEVICE_FLAGS_RESET) != 0;

  vfio_region_info region{};
  region.argsz = sizeof region;
  region.index = VFIO_PCI_CONFIG_REGION_INDEX;
  (void)PVIOMMU_TRY(calls_.ioctl(fd_.get(), VFIO_DEVICE_GET_REGION_INFO, &region));
  config_offset_ = region.offset;
  config_size_ = region.size;
  for (unsigned i = 0; i <= kPciRomIndex; ++i) {
    region = {};
    region.argsz = sizeof region;
    region.index = VFIO_PCI_BAR0_REGION_INDEX + i;
    (void)PVIOMMU_TRY(calls_.ioctl(fd_.get(), VFIO_DEVICE_GET_REGION_INFO, &region));
    Region& bar = regions_[i];
    bar.offset = region.offset;
    bar.info.size = region.size;
    bar.info.mappable = (region.flags & VFIO_REGION_INFO_FLAG_MMAP) != 0;
    if (region.size == 0 || i == kPciRomIndex) continue;
    const std::uint32_t low = PVIOMMU_TRY(config_read(PCI_BASE_ADDRESS_0 + 4 * i, 4));
    bar.info.is_io = (low & PCI_BASE_ADDRESS_SPACE) == PCI_BASE_ADDRESS_SPACE_IO;
    bar.info.address = low & (bar.info.is_io ? PCI_BASE_ADDRESS_IO_MASK : PCI_BASE_ADDRESS_MEM_MASK) & UINT32_MAX;
    if (bar.info.is_io) continue;
    bar.info.prefetchable = (low & PCI_BASE_ADDRESS_MEM_PREFETCH) != 0;
    bar.info.is_64bit = (low & PCI_BASE_ADDRESS_MEM_TYPE_MASK) == PCI_BASE_ADDRESS_MEM_TYPE_64;
    if (bar.info.is_64bit && i + 1 < kPciBars)
      bar.info.address |= std::uint64_t{PVIOMMU_TRY(config_read(PCI_BASE_ADDRESS_0 + 4 * (i + 1), 4))} << 32;
  }
  return {};
}

// Regions are little endian, whatever the processor.

Result<std::uint32_t> KernelDevice::config_read(std::size_t offset, unsigned width) {
  std::uint32_t value = 0;
  PVIOMMU_TRY(calls_.read(fd_.get(), std::as_writable_bytes(std::span(&value, 1)).first(width), config_offset_ + offset));
  return le32toh(value);
}

Status KernelDevice::config_write(std::size_t offset, unsigned width, std::uint32_t value) {
  value = htole32(value);
  return calls_.write(fd_.get(), std::as_bytes(std::span(&value, 1)).first(width), config_offset_ + offset);
}

Result<std::uint64_t> KernelDevice::bar_read(unsigned index, std::uint64_t offset, unsigned width) {
  std::uint64_t value = 0;
  PVIOMMU_TRY(calls_.read(fd_.get(), std::as_writable_bytes(std::span(&value, 1)).first(width), regions_[index].offset + offset));
  return le64toh(value);
}

Status KernelDevice::bar_write(unsigned index, std::uint64_t offset, unsigned width, std::uint64_t value) {
  value = htole64(value);
  return calls_.write(fd_.get(), std::as_bytes(std::span(&value, 1)).first(width), regions_[index].offset + offset);
}

Result<BarMapping> KernelDevice::bar_mapping(unsigned index) {
  if (!bar(index).mappable) return Error{EOPNOTSUPP, "bar_mapping: not mappable"};
  return BarMapping{fd_.get(), regions_[index].offset};
}

Status KernelDevice::reset() {
  if (!can_reset_) return Error{ENOTTY, "reset: the device has none"};
  const auto done = calls_.ioctl(fd_.get(), VFIO_DEVICE_RESET, std::uintptr_t{0});
  if (done) return {};
  return Error{done.error().code, "reset", done.error().raw};
}

bool KernelDevice::intx_asserted() {
  const auto status = config_read(PCI_STATUS, 2);
  return status && (*status & PCI_STATUS_INTERRUPT) != 0;
}

}  // namespace pviommu::spapr
