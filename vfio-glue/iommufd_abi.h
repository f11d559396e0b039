// SPDX-License-Identifier: LGPL-2.1-or-later
// The interface of /dev/iommu and of /dev/vfio/devices/vfioN, as Linux 7.x has it: numbers and
// structures under names of our own, as <linux/iommufd.h> and the newer half of <linux/vfio.h>
// are not there, or are older, where this is built.
//
// Every structure of /dev/iommu begins with its own size.  A shorter one than the smallest that
// there ever was is EINVAL; a longer one than is known here is E2BIG unless the rest is zero.
#pragma once

#include <linux/vfio.h>
#include <sys/ioctl.h>

#include <cstddef>
#include <cstdint>

namespace pviommu::iommufd {

inline constexpr unsigned kType = ';';
inline constexpr unsigned kFirstCommand = 0x80;

struct Destroy {
  std::uint32_t size, id;
};
struct IoasAlloc {
  std::uint32_t size, flags, out_ioas_id;
};
struct IovaSpan {
  std::uint64_t start, last;
};
struct AllowIovas {
  std::uint32_t size, ioas_id, num_iovas, reserved;
  std::uint64_t allowed_iovas;
};
struct IovaRanges {
  std::uint32_t size, ioas_id, num_iovas, reserved;
  std::uint64_t allowed_iovas, out_iova_alignment;
};
inline constexpr std::uint32_t kMapFixedIova = 1, kMapWriteable = 2, kMapReadable = 4;
struct IoasMap {
  std::uint32_t size, flags, ioas_id, reserved;
  std::uint64_t user_va, length, iova;
};
struct IoasMapFile {
  std::uint32_t size, flags, ioas_id;
  std::int32_t fd;
  std::uint64_t start, length, iova;
};
struct IoasCopy {
  std::uint32_t size, flags, dst_ioas_id, src_ioas_id;
  std::uint64_t length, dst_iova, src_iova;
};
struct IoasUnmap {
  std::uint32_t size, ioas_id;
  std::uint64_t iova, length;
};
inline constexpr std::uint32_t kOptionRlimitMode = 0, kOptionHugePages = 1;
inline constexpr std::uint16_t kOptionSet = 0, kOptionGet = 1;
struct Option {
  std::uint32_t size, option_id;
  std::uint16_t op, reserved;
  std::uint32_t object_id;
  std::uint64_t val64;
};
inline constexpr std::uint16_t kVfioIoasGet = 0, kVfioIoasSet = 1, kVfioIoasClear = 2;
struct VfioIoas {
  std::uint32_t size, ioas_id;
  std::uint16_t op, reserved;
};
inline constexpr std::uint32_t kHwptNestParent = 1, kHwptDirtyTracking = 2;
struct HwptAlloc {
  std::uint32_t size, flags, dev_id, pt_id, out_hwpt_id, reserved, data_type, data_len;
  std::uint64_t data_uptr;
  std::uint32_t fault_id, reserved2;
};
struct HwInfo {
  std::uint32_t size, flags, dev_id, data_len;
  std::uint64_t data_uptr;
  std::uint32_t data_type;  ///< of the answer; with kHwInfoInputType of the question too
  std::uint8_t out_max_pasid_log2, reserved[3];
  std::uint64_t out_capabilities;
};
inline constexpr std::uint32_t kHwInfoInputType = 1;
inline constexpr std::uint32_t kDirtyTrackingEnable = 1;
struct SetDirtyTracking {
  std::uint32_t size, flags, hwpt_id, reserved;
};
inline constexpr std::uint32_t kDirtyBitmapNoClear = 1;
struct GetDirtyBitmap {
  std::uint32_t size, hwpt_id, flags, reserved;
  std::uint64_t iova, length, page_size, data;
};
struct HwptInvalidate {
  std::uint32_t size, hwpt_id;
  std::uint64_t data_uptr;
  std::uint32_t data_type, entry_len, entry_num, reserved;
};
struct FaultQueueAlloc {
  std::uint32_t size, flags, out_fault_id, out_fault_fd;
};
struct ViommuAlloc {
  std::uint32_t size, flags, type, dev_id, hwpt_id, out_viommu_id, data_len, reserved;
  std::uint64_t data_uptr;
};
struct VdeviceAlloc {
  std::uint32_t size, viommu_id, dev_id, out_vdevice_id;
  std::uint64_t virt_id;
};
struct ChangeProcess {
  std::uint32_t size, reserved;
};
struct VeventqAlloc {
  std::uint32_t size, flags, viommu_id, type, veventq_depth, out_veventq_id, out_veventq_fd, reserved;
};
struct HwQueueAlloc {
  std::uint32_t size, flags, viommu_id, type, index, out_hw_queue_id;
  std::uint64_t nesting_parent_iova, length;
};

constexpr std::uint32_t command(unsigned number) { return _IO(kType, kFirstCommand + number); }
inline constexpr std::uint32_t kDestroy = command(0), kIoasAlloc = command(1), kIoasAllowIovas = command(2),
                               kIoasCopy = command(3), kIoasIovaRanges = command(4), kIoasMap = command(5),
                               kIoasUnmap = command(6), kOption = command(7), kVfioIoas = command(8),
                               kHwptAlloc = command(9), kGetHwInfo = command(10), kSetDirtyTracking = command(11),
                               kGetDirtyBitmap = command(12), kHwptInvalidate = command(13),
                               kFaultQueueAlloc = command(14), kIoasMapFile = command(15), kViommuAlloc = command(16),
                               kVdeviceAlloc = command(17), kIoasChangeProcess = command(18),
                               kVeventqAlloc = command(19), kHwQueueAlloc = command(20);

// ---- of a device ----------------------------------------------------------------

inline constexpr std::uint32_t kDeviceBind = _IO(VFIO_TYPE, VFIO_BASE + 18);
inline constexpr std::uint32_t kDeviceAttach = _IO(VFIO_TYPE, VFIO_BASE + 19);
inline constexpr std::uint32_t kDeviceDetach = _IO(VFIO_TYPE, VFIO_BASE + 20);

inline constexpr std::uint32_t kBindToken = 1;
struct DeviceBind {
  std::uint32_t argsz, flags;
  std::int32_t iommufd;
  std::uint32_t out_devid;
  std::uint64_t token_uuid_ptr;
};
inline constexpr std::uint32_t kAttachPasid = 1;
struct DeviceAttach {
  std::uint32_t argsz, flags, pt_id, pasid;
};
struct DeviceDetach {
  std::uint32_t argsz, flags, pasid;
};

/// vfio_pci_hot_reset_info of a device that is bound to an iommufd: its flags, and the ids of
/// what is not bound itself.
inline constexpr std::uint32_t kHotResetDevId = 1, kHotResetDevIdOwned = 2;
inline constexpr std::int32_t kDevIdOwned = 0, kDevIdNotOwned = -1;

}  // namespace pviommu::iommufd
