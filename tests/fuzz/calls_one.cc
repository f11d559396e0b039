// SPDX-License-Identifier: LGPL-2.1-or-later
// One call each: structures that are nearly right, and accesses to regions.
#include <linux/vfio.h>

#include <array>

#include "tests/fuzz/calls.h"

namespace pviommu::fuzz {
namespace {

constexpr std::uint32_t kRequests[] = {
    VFIO_GET_API_VERSION,        VFIO_CHECK_EXTENSION,        VFIO_SET_IOMMU,
    VFIO_GROUP_GET_STATUS,       VFIO_GROUP_SET_CONTAINER,    VFIO_GROUP_UNSET_CONTAINER,
    VFIO_GROUP_GET_DEVICE_FD,    VFIO_DEVICE_GET_INFO,        VFIO_DEVICE_GET_REGION_INFO,
    VFIO_DEVICE_GET_IRQ_INFO,    VFIO_DEVICE_SET_IRQS,        VFIO_DEVICE_RESET,
    VFIO_DEVICE_PCI_HOT_RESET,   VFIO_IOMMU_GET_INFO,         VFIO_IOMMU_MAP_DMA,
    VFIO_IOMMU_UNMAP_DMA,        VFIO_IOMMU_DIRTY_PAGES,      VFIO_IOMMU_ENABLE,
    VFIO_IOMMU_DISABLE,          VFIO_DEVICE_IOEVENTFD,       VFIO_DEVICE_FEATURE,
    VFIO_DEVICE_QUERY_GFX_PLANE, VFIO_IOMMU_SPAPR_TCE_CREATE,
};

}  // namespace

// ---- ioctls -----------------------------------------------------------------

void Calls::any_ioctl(Input& input) {
  const std::uint8_t which = input.byte();
  std::uint32_t request = kRequests[which % std::size(kRequests)];
  if (which >= 240) request = which & 1 ? input.word() : _IO(VFIO_TYPE, VFIO_BASE) + input.byte();
  const int fd = input.one_in(4) ? program_.pick(input.byte()) : [&] {
    const std::uint32_t number = request & 0xff;
    return program_.pick(0, number < 103 || number >= 112 ? "container" : number < 107 ? "group" : "device");
  }();
  if (input.one_in(2)) {
    const std::uint8_t plain = input.byte();  // an argument that is a number, or no address
    (void)ioctl(fd, request, plain < 248 ? plain : input.quad());
    return;
  }
  std::array<std::uint8_t, 96> bytes{};
  input.fill(bytes.data(), input.byte() % bytes.size());
  const std::uint32_t size = argsz(input, bytes.size());
  std::memcpy(bytes.data(), &size, sizeof size);
  (void)ioctl(input, fd, request, bytes);
}

void Calls::map(Input& input) {
  vfio_iommu_type1_dma_map map{};
  map.argsz = argsz(input, sizeof map);
  map.flags = input.of<std::uint32_t>({3, 3, 3, 3, 3, 3, 1, 2, 1, 2, 4, 4, 0, 7, 8, 5});
  map.vaddr = hva(input);
  map.iova = iova(input);
  map.size = size(input);
  const int fd = file(input, "container");
  (void)ioctl(input, fd, VFIO_IOMMU_MAP_DMA, map);
}

void Calls::unmap(Input& input) {
  struct {
    vfio_iommu_type1_dma_unmap unmap;
    vfio_bitmap bitmap;
  } call{};
  const std::uint32_t flags = input.of<std::uint32_t>({0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 4, 6, 5, 3, 8});
  call.unmap.flags = flags;
  call.unmap.argsz = argsz(input, flags & 1 ? sizeof call : sizeof call.unmap);
  if (!(flags & 2) || input.one_in(4)) {
    call.unmap.iova = iova(input);
    call.unmap.size = size(input);
  }
  if (flags & 1) {
    call.bitmap.pgsize = input.of<std::uint64_t>({4096, 4096, 4096, 4096, 4096, 4096, 0, 2 << 20});
    call.bitmap.size =
        input.of<std::uint64_t>({8, 8, 16, 64, 512, 8192, 0, std::uint64_t{1} << 28, ~std::uint64_t{0}});
    call.bitmap.data = reinterpret_cast<__u64*>(place(input, 512));
  }
  const int fd = file(input, "container");
  const long result = ioctl(input, fd, VFIO_IOMMU_UNMAP_DMA, call);
  (void)result;
}

void Calls::dirty(Input& input) {
  struct {
    vfio_iommu_type1_dirty_bitmap dirty;
    vfio_iommu_type1_dirty_bitmap_get get;
  } call{};
  call.dirty.flags = input.of<std::uint32_t>({1, 2, 4, 4, 4, 4, 4, 0, 3, 8});
  call.dirty.argsz = argsz(input, sizeof call);
  call.get.iova = iova(input);
  call.get.size = size(input);
  call.get.bitmap.pgsize = input.of<std::uint64_t>({4096, 4096, 4096, 4096, 4096, 4096, 0, 8192});
  call.get.bitmap.size =
      input.of<std::uint64_t>({8, 8, 16, 64, 512, 8192, 0, std::uint64_t{1} << 28, ~std::uint64_t{0}});
  call.get.bitmap.data = reinterpret_cast<__u64*>(place(input, 512));
  const int fd = file(input, "container");
  (void)ioctl(input, fd, VFIO_IOMMU_DIRTY_PAGES, call);
}

void Calls::set_irqs(Input& input) {
  constexpr std::size_t kMost = 64;
  struct {
    vfio_irq_set set;
    union {
      std::int32_t fds[kMost];
      std::uint8_t bools[4 * kMost];
    };
  } call{};
  const std::uint8_t index = input.byte(), what = input.byte();
  call.set.index = index < 240 ? index % 5u : input.word();
  const std::uint32_t data = 1u << (what % 3);  // NONE, BOOL, EVENTFD
  const std::uint32_t action = std::uint32_t{VFIO_IRQ_SET_ACTION_MASK}
                               << (what / 3 % 8 < 2 ? what / 3 % 8 : 2);
  call.set.flags = what < 248 ? data | action : input.word();
  const std::uint8_t count = input.byte();
  call.set.count = count < 200 ? count % 9u : count < 248 ? count : input.word();
  const std::uint8_t start = input.byte();
  call.set.start = start < 192 ? 0 : start < 248 ? start % 8u : input.word();
  if (data == VFIO_IRQ_SET_DATA_EVENTFD) {
    const std::uint8_t pattern = input.byte();
    for (std::size_t i = 0; i < kMost; ++i) {
      const std::uint8_t choice = pattern < 128 ? static_cast<std::uint8_t>(pattern + i)
                                  : i < 8       ? input.byte()
                                                : 0;
      call.fds[i] = choice < 224   ? Program::kFirstEventfd + choice % Program::kEventfds
                    : choice < 248 ? -1 - choice % 2
                                   : choice % 110;
    }
  } else if (data == VFIO_IRQ_SET_DATA_BOOL) {
    const std::uint8_t pattern = input.byte();
    for (std::size_t i = 0; i < 4 * kMost; ++i) call.bools[i] = pattern >> (i % 8) & 1;
  }
  const std::size_t element = data == VFIO_IRQ_SET_DATA_EVENTFD ? 4 : data == VFIO_IRQ_SET_DATA_BOOL ? 1 : 0;
  call.set.argsz = argsz(input, sizeof call.set + element * std::min<std::size_t>(call.set.count, 1024));
  const int fd = file(input, "device");
  (void)ioctl(input, fd, VFIO_DEVICE_SET_IRQS, call);
}

void Calls::info(Input& input) {
  const std::uint8_t what = input.byte();
  struct {
    std::uint32_t argsz, flags, index, words[61];
  } call{};
  call.index = input.one_in(8) ? input.word() : input.byte() % 10u;
  const auto ask = [&](std::string_view kind, std::uint32_t request, std::size_t bytes) {
    call.argsz = argsz(input, bytes);
    const int fd = file(input, kind);
    (void)ioctl(input, fd, request, call);
  };
  switch (what % 6) {
    case 0:
      return ask("device", VFIO_DEVICE_GET_INFO, 20);
    case 1:
      return ask("device", VFIO_DEVICE_GET_REGION_INFO, 32 + (what >= 128 ? 64 : 0));
    case 2:
      return ask("device", VFIO_DEVICE_GET_IRQ_INFO, 16);
    case 3:
      return ask("container", VFIO_IOMMU_GET_INFO, what >= 128 ? 256 : 20);
    case 4:
      return ask("group", VFIO_GROUP_GET_STATUS, 8);
    default:
      return ask("device", VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, what >= 128 ? 64 : 12);
  }
}

void Calls::feature(Input& input) {
  struct {
    vfio_device_feature feature;
    std::uint32_t words[8];
  } call{};
  const std::uint8_t which = input.byte();
  call.feature.flags = (which < 224 ? which % 8u : input.raw<std::uint16_t>()) |
                       input.of<std::uint32_t>({1u << 16, 1u << 17, 1u << 17, 1u << 18, 3u << 17, 5u << 16,
                                                7u << 16, 0, 1u << 20});
  call.feature.argsz = argsz(input, sizeof call.feature + 8);
  call.words[0] = input.byte() % 10u;
  const int fd = file(input, "device");
  (void)ioctl(input, fd, VFIO_DEVICE_FEATURE, call);
}

/// VFIO_DEVICE_PCI_HOT_RESET, nearly always with the groups there are.
void Calls::hot_reset(Input& input) {
  struct {
    std::uint32_t argsz, flags, count;
    std::int32_t groups[4];
  } call{};
  call.count = input.byte() % 5u;
  for (unsigned i = 0; i < 4; ++i) call.groups[i] = program_.pick(i, "group");
  if (input.one_in(4)) call.groups[input.byte() % 4u] = program_.pick(input.byte());
  if (input.one_in(16)) call.count = input.word();
  call.argsz = argsz(input, 12 + std::size_t{4} * std::min(call.count, 4u));
  const int fd = file(input, "device");
  (void)ioctl(input, fd, VFIO_DEVICE_PCI_HOT_RESET, call);
}

void Calls::ioeventfd(Input& input) {
  vfio_device_ioeventfd call{};
  call.argsz = argsz(input, offsetof(vfio_device_ioeventfd, fd) + 4);
  call.flags = input.of<std::uint32_t>({1, 2, 4, 8, 4, 8, 0, 3, 16});
  const std::uint8_t where = input.byte();
  call.offset = std::uint64_t{where % 9u} << 40 | std::uint64_t{input.raw<std::uint16_t>()};
  if (where >= 240) call.offset = input.quad();
  call.data = input.raw<std::uint16_t>();
  call.fd = input.of<std::int32_t>({3, 4, 5, 6, -1, -1, -2, 7, 77});
  const int fd = file(input, "device");
  (void)ioctl(input, fd, VFIO_DEVICE_IOEVENTFD, call);
}

// ---- regions ----------------------------------------------------------------

void Calls::config(Input& input) {
  const std::uint8_t how = input.byte(), where = input.byte();
  // The standard header and the capabilities most of the time.
  const std::uint64_t at = how < 224 ? where : how < 248 ? where * 16u + 15u : input.quad();
  const std::size_t bytes = how % 8 < 5    ? std::size_t{1} << (how % 4)
                            : how % 8 == 5 ? 64
                            : how % 8 == 6 ? 5
                                           : 256;
  const bool write = how / 8 % 2;
  const std::uint64_t buffer = place(input, bytes);
  if (write) {
    const std::uint64_t value = input.one_in(4) ? ~std::uint64_t{0} : input.word();
    put(buffer, &value, sizeof value);
  }
  const int fd = file(input, "device");
  (void)access(fd, write, buffer, bytes, static_cast<std::int64_t>((std::uint64_t{7} << 40) + at));
}

void Calls::bar(Input& input) {
  const std::uint8_t how = input.byte(), where = input.byte();
  const std::uint64_t index = where % 16 < 8 ? 0 : where % 16 % 7;
  std::uint64_t at = std::uint64_t{input.byte()} * 4;
  if (where >= 192) at += std::uint64_t{input.raw<std::uint16_t>()};
  const std::size_t bytes = how % 8 < 6 ? std::size_t{1} << (how % 4) : how % 8 == 6 ? 64 : 7;
  const bool write = how / 8 % 2;
  const std::uint64_t buffer = place(input, bytes);
  if (write) {
    const std::uint64_t value = input.one_in(4) ? iova(input) : input.word();
    put(buffer, &value, sizeof value);
  }
  const int fd = file(input, "device");
  (void)access(fd, write, buffer, bytes, static_cast<std::int64_t>((index << 40) + at));
}

void Calls::region(Input& input) {
  const bool write = input.one_in(2);
  const std::uint64_t offset =
      std::uint64_t{input.byte()} % 12 << 40 ^ (input.one_in(4) ? input.quad() : input.raw<std::uint16_t>());
  const std::size_t bytes = input.one_in(8) ? input.quad() : input.byte() * 16u;
  const std::uint64_t buffer = place(input, bytes);
  const int fd = file(input, "device");
  // A large BAR, four bytes at a time, is no more than the same again.
  (void)access(fd, write, buffer, bytes > 8192 && bytes < (1u << 20) ? 8192 : bytes,
               static_cast<std::int64_t>(offset));
}

/// Bus mastering on, and a transfer of the device at 06.0 (its registers are in
/// hypercall/model/devices/edu.h; other devices take it as stores).
void Calls::edu_transfer(Input& input) {
  const int fd = file(input, "device");
  const std::uint64_t buffer = program_.structures();
  const auto store = [&](std::uint64_t offset, std::uint64_t value, std::size_t bytes) {
    std::memcpy(reinterpret_cast<void*>(buffer), &value, sizeof value);
    (void)access(fd, true, buffer, bytes, static_cast<std::int64_t>(offset));
  };
  const std::uint8_t how = input.byte();
  if (how < 192) store((std::uint64_t{7} << 40) + 4, 6, 2);
  const bool to_memory = how & 1;
  const std::uint64_t memory = iova(input), own = 0x40000 + (how & 2 ? input.byte() * 16u : 0);
  store(0x80, to_memory ? own : memory, 8);
  store(0x88, to_memory ? memory : own, 8);
  store(0x90, how & 4 ? input.raw<std::uint16_t>() % 4097u : 64, 8);
  store(0x98, 1u | (to_memory ? 2u : 0u) | (how & 8 ? 4u : 0u), 8);
}

void Calls::fail_once(Input& input) {
  const std::uint8_t op = input.byte(), nth = input.byte();
  const int code = input.of({ENOMEM, EIO, EBUSY, EINVAL, ENOSPC});
  const std::uint8_t pages = input.byte();
  if (!may_fail_) return;
  may_fail_ = false;
  const auto which = static_cast<HypercallOp>(op % kHypercallOps);
  model_.calls().inject(which, model_.calls().calls(which) + 1 + nth % 8u, code, pages % 8u);
}

}  // namespace pviommu::fuzz
