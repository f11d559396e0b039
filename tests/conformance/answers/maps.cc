// SPDX-License-Identifier: LGPL-2.1-or-later
// Cases C and L: the container's calls by type, and its limits.
#include <sys/resource.h>
#include <sys/syscall.h>

#include <cstddef>
#include <cstdio>
#include <map>
#include <optional>

#include "tests/conformance/answers/answers.h"

namespace conformance::answers {
namespace {

constexpr std::uint32_t kRead = VFIO_DMA_MAP_FLAG_READ, kWrite = VFIO_DMA_MAP_FLAG_WRITE, kBoth = kRead | kWrite,
                        kVaddr = VFIO_DMA_MAP_FLAG_VADDR;
constexpr std::uint32_t kBitmap = VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP, kAll = VFIO_DMA_UNMAP_FLAG_ALL,
                        kUnmapVaddr = VFIO_DMA_UNMAP_FLAG_VADDR;

class Type1 {
 public:
  explicit Type1(unsigned long type) : prefix_(type == VFIO_TYPE1_IOMMU ? "t1 " : "t2 "), session_(Machine::get().edu, type) {}
  void run() {
    info();
    sizes_and_addresses();
    rights();
    iova_limits();
    overlaps();
    unmaps();
    unmap_all_and_vaddr();
    life_cycle();
    dirty();
    sizes_of_bitmaps();
    session_.device.close();
    session_.group.close();
    answer(prefix_ + "C190 MAP after group fd closed", container_.map(0x10000, hva_, kPage));
  }

 private:
  void map(const std::string& name, std::uint64_t iova, std::uint64_t hva, std::uint64_t size,
           std::uint32_t flags = kBoth, std::uint32_t argsz = 32, bool keep = false) {
    const Outcome outcome = container_.map(iova, hva, size, flags, argsz);
    answer(prefix_ + name, outcome, format("maps=%ld", container_.live()));
    if (!keep) clear();
  }
  void keep(const std::string& name, std::uint64_t iova, std::uint64_t hva, std::uint64_t size,
            std::uint32_t flags = kBoth) {
    map(name, iova, hva, size, flags, 32, true);
  }
  void put(std::uint64_t iova, std::uint64_t pages, std::uint64_t page = 0) {
    if (container_.map(iova, hva_ + page * kPage, pages * kPage) != ok()) std::printf("# %scannot map\n", prefix_.c_str());
  }
  void unmap(const std::string& name, std::uint64_t iova, std::uint64_t size, std::uint32_t flags = 0,
             std::uint32_t argsz = 24) {
    const Mapped done = container_.unmap(iova, size, flags, argsz);
    answer(prefix_ + name, done.outcome, format("size=0x%lx maps=%ld", done.size, container_.live()));
  }
  void clear() { (void)container_.unmap(0, 0, kAll); }

  void info();
  void sizes_and_addresses();
  void rights();
  void iova_limits();
  void overlaps();
  void unmaps();
  void unmap_all_and_vaddr();
  void life_cycle();
  void dirty();
  void sizes_of_bitmaps();

  Outcome dirty_call(std::uint32_t flags, std::uint32_t argsz = sizeof(vfio_iommu_type1_dirty_bitmap)) {
    vfio_iommu_type1_dirty_bitmap request{.argsz = argsz, .flags = flags};
    return container_.ioctl(VFIO_IOMMU_DIRTY_PAGES, address_of(request));
  }
  struct Get {
    std::uint64_t iova = 0x10000, size = 4 * kPage, page = kPage, bytes = 8;
    bool null = false;
    std::uint32_t argsz = 0;
  };
  void get(const std::string& name, const Get& want, std::uint64_t shown = ~std::uint64_t{0}) {
    struct {
      std::uint32_t argsz, flags;
      vfio_iommu_type1_dirty_bitmap_get get;
    } request{};
    std::uint64_t bits[2] = {};
    request.argsz = sizeof request;
    request.flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP;
    request.get = {.iova = want.iova, .size = want.size, .bitmap = {.pgsize = want.page, .size = want.bytes, .data = want.null ? nullptr : reinterpret_cast<__u64*>(bits)}};
    const Outcome outcome = container_.ioctl(VFIO_IOMMU_DIRTY_PAGES, address_of(request));
    answer(prefix_ + name, outcome, want.null ? "-" : format("bitmap=0x%lx", bits[0] & shown));
  }
  void unmap_with_bitmap(const std::string& name, std::uint64_t size, std::uint64_t bytes = 8, std::uint32_t argsz = 48) {
    struct {
      std::uint32_t argsz, flags;
      std::uint64_t iova, size;
      vfio_bitmap bitmap;
    } request{argsz, kBitmap, 0x10000, size, {}};
    std::uint64_t bits = 0;
    request.bitmap = {.pgsize = kPage, .size = bytes, .data = reinterpret_cast<__u64*>(&bits)};
    const Outcome outcome = container_.ioctl(VFIO_IOMMU_UNMAP_DMA, address_of(request));
    answer(prefix_ + name, outcome, format("size=0x%lx bitmap=0x%lx maps=%ld", static_cast<unsigned long>(request.size), bits, container_.live()));
  }

  const std::string prefix_;
  Session session_;
  Container& container_ = session_.container;
  Memory memory_{32 * kPage};
  const std::uint64_t hva_ = memory_.address();
};

std::string chain(const std::uint8_t* bytes, std::uint32_t offset) {
  std::string text;
  for (unsigned hops = 0; offset && hops < 8; ++hops) {
    vfio_info_cap_header header;
    std::memcpy(&header, bytes + offset, sizeof header);
    text += format(" cap[id=%u ver=%u next=%u", header.id, header.version, header.next);
    if (header.id == VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION) {
      vfio_iommu_type1_info_cap_migration capability;
      std::memcpy(&capability, bytes + offset, sizeof capability);
      text += format(" flags=%x pg=%llx max=%llx", capability.flags, capability.pgsize_bitmap, capability.max_dirty_bitmap_size);
    } else if (header.id == VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL) {
      vfio_iommu_type1_info_dma_avail capability;
      std::memcpy(&capability, bytes + offset, sizeof capability);
      text += format(" avail=%u", capability.avail);
    } else if (header.id == VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE) {
      vfio_iommu_type1_info_cap_iova_range capability;
      std::memcpy(&capability, bytes + offset, sizeof capability);
      text += format(" n=%u", capability.nr_iovas);
      for (unsigned i = 0; i < capability.nr_iovas; ++i) {
        vfio_iova_range range;
        std::memcpy(&range, bytes + offset + sizeof capability + i * sizeof range, sizeof range);
        text += format(" %llx-%llx", range.start, range.end);
      }
    }
    text += "]";
    offset = header.next;
  }
  return text;
}

void Type1::info() {
  for (std::uint32_t argsz : {0u, 8u, 15u, 16u, 19u, 20u, 23u, 24u, 31u, 32u, 64u, 83u, 84u, 100u, 104u, 107u, 108u, 112u, 116u, 120u, 128u, 4096u}) {
    std::vector<std::uint8_t> bytes(4096 + 256, 0xcc);
    auto& info = *reinterpret_cast<vfio_iommu_type1_info*>(bytes.data());
    info.argsz = argsz;
    info.flags = 0;
    const Outcome outcome = container_.ioctl(VFIO_IOMMU_GET_INFO, address_of(info));
    std::string text = format("argsz=%u", info.argsz);
    if (!outcome.error) {
      text += format(" flags=0x%x pgsizes=0x%llx", info.flags, info.iova_pgsizes);
      if (argsz < 20)
        text += format(" cap_offset_untouched=%d", info.cap_offset == 0xcccccccc);
      else
        text += format(" cap_offset=%u", info.cap_offset) + chain(bytes.data(), info.cap_offset);
    }
    answer(prefix_ + format("C01 GET_INFO argsz=%u", argsz), outcome, text);
  }
  answer(prefix_ + "C02 GET_INFO NULL", container_.ioctl(VFIO_IOMMU_GET_INFO));
  answer(prefix_ + "C03 unknown ioctl on container with iommu", container_.ioctl(_IO(VFIO_TYPE, VFIO_BASE + 40)));
  answer(prefix_ + "C04 unknown ioctl ;,255", container_.ioctl(_IO(VFIO_TYPE, 255)));
  answer(prefix_ + "C05 foreign ioctl TCGETS", container_.ioctl(0x5401, 8));
  answer(prefix_ + "C06b SPAPR ioctl (IOMMU_ENABLE) on type1", container_.ioctl(_IO(VFIO_TYPE, VFIO_BASE + 15)));
}

void Type1::sizes_and_addresses() {
  constexpr std::uint64_t kLast = ~std::uint64_t{0} - kPage + 1;
  const std::uint64_t iova = 0x10000;
  answer(prefix_ + "C10 MAP NULL", container_.ioctl(VFIO_IOMMU_MAP_DMA));
  map("C11 MAP argsz=0", iova, hva_, kPage, kBoth, 0);
  map("C12 MAP argsz=31", iova, hva_, kPage, kBoth, 31);
  map("C13 MAP argsz=33", iova, hva_, kPage, kBoth, 33);
  map("C14 MAP argsz=4096", iova, hva_, kPage, kBoth, 4096);
  map("C15 MAP flags=0", iova, hva_, kPage, 0);
  map("C16 MAP flags=READ", iova, hva_, kPage, kRead);
  map("C17 MAP flags=WRITE", iova, hva_, kPage, kWrite);
  map("C18 MAP flags=READ+8", iova, hva_, kPage, kRead | 8);
  map("C19 MAP flags=0x80000003", iova, hva_, kPage, 0x80000003);
  map("C20 MAP flags=VADDR no mapping", iova, hva_, kPage, kVaddr);
  map("C21 MAP flags=VADDR+READ", iova, hva_, kPage, kVaddr | kRead);
  map("C22 MAP size=0", iova, hva_, 0);
  map("C23 MAP size=1", iova, hva_, 1);
  map("C24 MAP size=0x1001", iova, hva_, 0x1001);
  map("C25 MAP size=2048", iova, hva_, 2048);
  map("C26 MAP iova+1", iova + 1, hva_, kPage);
  map("C27 MAP iova+0x800", iova + 0x800, hva_, kPage);
  map("C28 MAP vaddr+1", iova, hva_ + 1, kPage);
  map("C29 MAP vaddr+0x800", iova, hva_ + 0x800, kPage);
  map("C30 MAP iova=2^64-4K size=4K (last page)", kLast, hva_, kPage);
  map("C31 MAP iova=2^64-4K size=8K (wrap)", kLast, hva_, 2 * kPage);
  map("C32 MAP vaddr=2^64-4K size=8K (wrap)", iova, kLast, 2 * kPage);
  map("C33 MAP vaddr=2^64-4K size=4K", iova, kLast, kPage);
  map("C34 MAP size=2^64-4K iova=0 vaddr=4K", 0, kPage, kLast);
  map("C34b MAP size=2^63 iova=0", 0, hva_, std::uint64_t{1} << 63);
  map("C35 MAP vaddr in the kernel half", iova, 0xffff888000000000, kPage);
  map("C36 MAP vaddr=0 (unmapped)", iova, 0, kPage);
}

void Type1::rights() {
  const std::uint64_t iova = 0x10000;
  {
    Memory none(kPage, PROT_NONE);
    map("C37 MAP PROT_NONE memory RW", iova, none.address(), kPage);
    map("C38 MAP PROT_NONE memory READ", iova, none.address(), kPage, kRead);
    ::munmap(none.data(), kPage);
    map("C39 MAP munmapped vaddr", iova, none.address(), kPage);
    (void)::mmap(none.data(), kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  }
  Memory holed(4 * kPage);
  (void)holed.punch(2 * kPage, kPage);
  map("C40 MAP 4 pages, third unmapped", iova, holed.address(), 4 * kPage);
  map("C41 iova free after C40: map it", iova, hva_, 4 * kPage);
  Memory read_only(kPage, PROT_READ), write_only(kPage, PROT_WRITE), exec_only(kPage, PROT_EXEC);
  map("C42 MAP PROT_READ memory RW", iova, read_only.address(), kPage);
  map("C43 MAP PROT_READ memory WRITE", iova, read_only.address(), kPage, kWrite);
  map("C44 MAP PROT_READ memory READ", iova, read_only.address(), kPage, kRead);
  map("C45 MAP PROT_WRITE-only memory RW", iova, write_only.address(), kPage);
  map("C46 MAP PROT_EXEC-only memory READ", iova, exec_only.address(), kPage, kRead);
  const Fd file(::memfd_create("answers", MFD_CLOEXEC));
  (void)!::ftruncate(file.get(), kPage);
  Memory shared(kPage, PROT_READ | PROT_WRITE, MAP_SHARED, file.get());
  map("C48 MAP tmpfs MAP_SHARED", iova, shared.address(), kPage);
  Memory copied(kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE, file.get());
  map("C49 MAP tmpfs MAP_PRIVATE", iova, copied.address(), kPage);
  Memory beyond(2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, file.get());
  map("C50 MAP file mapping beyond EOF", iova, beyond.address() + kPage, kPage);
  Memory read_shared(kPage, PROT_READ, MAP_SHARED, file.get());
  map("C51 MAP tmpfs MAP_SHARED PROT_READ, READ", iova, read_shared.address(), kPage, kRead);
  const std::uint64_t text = reinterpret_cast<std::uint64_t>(&address_of<int>) & ~(kPage - 1);
  map("C52 MAP of own text (read-only file pages) READ", iova, text, kPage, kRead);
  const int on_stack = 0;
  map("C53 MAP stack page RW", iova, address_of(on_stack) & ~(kPage - 1), kPage);
  ::mlock(memory_.data(), kPage);
  map("C54 MAP of mlocked memory", iova, hva_, kPage);
  ::munlock(memory_.data(), kPage);
  Memory anonymous(kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
  map("C55 MAP shared anonymous", iova, anonymous.address(), kPage);
}

void Type1::iova_limits() {
  constexpr std::uint64_t kOne = 1;
  map("C60 MAP iova=0xfee00000", 0xfee00000, hva_, kPage);
  map("C61 MAP iova=0xfeeff000", 0xfeeff000, hva_, kPage);
  keep("C62 MAP iova=0xfedff000 (just below MSI window)", 0xfedff000, hva_, kPage);
  map("C63 MAP iova=0xfef00000 (just above)", 0xfef00000, hva_, kPage);
  map("C64 MAP iova=0xfedff000 size=8K (straddles)", 0xfedff000, hva_, 2 * kPage);
  map("C65 MAP iova=2^38", kOne << 38, hva_, kPage);
  map("C66 MAP iova=2^39-4K", (kOne << 39) - kPage, hva_, kPage);
  map("C67 MAP iova=2^39", kOne << 39, hva_, kPage);
  map("C68 MAP iova=2^39-4K size=8K", (kOne << 39) - kPage, hva_, 2 * kPage);
  map("C69 MAP iova=2^48", kOne << 48, hva_, kPage);
  map("C70 MAP iova=0", 0, hva_, kPage);
}

void Type1::overlaps() {
  Memory none(kPage, PROT_NONE);
  put(0x10000, 4);
  keep("C71 duplicate exact", 0x10000, hva_, 4 * kPage);
  keep("C72 duplicate other vaddr", 0x10000, hva_ + 4 * kPage, 4 * kPage);
  keep("C73 overlap head", 0xf000, hva_, 2 * kPage);
  keep("C74 overlap tail", 0x13000, hva_, 2 * kPage);
  keep("C75 overlap inside", 0x11000, hva_, kPage);
  keep("C76 overlap superset", 0xf000, hva_, 6 * kPage);
  keep("C77 adjacent below", 0xf000, hva_, kPage);
  keep("C78 adjacent above", 0x14000, hva_, kPage);
  keep("C79 same vaddr at another iova", 0x20000, hva_, 4 * kPage);
  keep("C80 overlap with EFAULT memory", 0x10000, none.address(), kPage);
  keep("C81 overlap with flags=0", 0x10000, hva_, kPage, 0);
  clear();
}

void Type1::unmaps() {
  constexpr std::uint64_t kLast = ~std::uint64_t{0} - kPage + 1;
  const std::uint64_t iova = 0x10000;
  answer(prefix_ + "C90 UNMAP NULL", container_.ioctl(VFIO_IOMMU_UNMAP_DMA));
  unmap("C91 UNMAP argsz=0", iova, kPage, 0, 0);
  unmap("C92 UNMAP argsz=23", iova, kPage, 0, 23);
  unmap("C94 UNMAP flags=8", iova, kPage, 8);
  unmap("C95 UNMAP empty range", iova, kPage);
  unmap("C96 UNMAP size=0 no mappings", iova, 0);
  unmap("C97 UNMAP unaligned iova", iova + 1, kPage);
  unmap("C98 UNMAP unaligned size", iova, kPage + 1);
  unmap("C99 UNMAP size=1", iova, 1);
  unmap("C100 UNMAP iova=2^64-4K size=4K", kLast, kPage);
  unmap("C101 UNMAP iova=2^64-4K size=8K (wrap)", kLast, 2 * kPage);
  unmap("C102 UNMAP iova=0 size=2^64-4K", 0, kLast);
  unmap("C103 UNMAP iova=4K size=2^64-4K", kPage, kLast);
  put(iova, 4);
  unmap("C104 UNMAP exact", iova, 4 * kPage);
  unmap("C105 UNMAP again", iova, 4 * kPage);
  const struct {
    const char* name;
    std::uint64_t iova, size;
  } parts[] = {{"C106 UNMAP head sub-range (1 of 4 pages)", iova, kPage},
               {"C107 UNMAP tail sub-range", iova + 3 * kPage, kPage},
               {"C108 UNMAP middle sub-range", iova + kPage, kPage},
               {"C109 UNMAP overlap head", iova - kPage, 2 * kPage},
               {"C110 UNMAP overlap tail", iova + 3 * kPage, 2 * kPage},
               {"C111 UNMAP superset", iova - kPage, 6 * kPage}};
  for (const auto& part : parts) {
    put(iova, 4);
    unmap(part.name, part.iova, part.size);
    clear();
  }
  put(iova, 1);
  put(iova + 0x4000, 2, 1);
  put(iova + 0x8000, 4, 3);
  unmap("C112 UNMAP range over 3 mappings with gaps", iova, 0x10000);
  unmap("C113 UNMAP everything 0..2^39", 0, std::uint64_t{1} << 39);
  for (unsigned i = 0; i < 8; ++i) put(iova + i * kPage, 1, i);
  unmap("C114 UNMAP 2 of 8 adjacent 1-page mappings", iova + 2 * kPage, 2 * kPage);
  unmap("C115 UNMAP all 8 (hole inside)", iova, 8 * kPage);
  put(iova, 4);
  put(iova + 4 * kPage, 4, 4);
  unmap("C116 UNMAP middle across two mappings", iova + 2 * kPage, 4 * kPage);
  unmap("C117 UNMAP first whole + half of second", iova, 6 * kPage);
  clear();
  put(iova, 4);
  unmap("C118 UNMAP size=0 on a mapping start", iova, 0);
  unmap("C119 UNMAP unaligned iova inside a mapping", iova + 0x800, kPage);
  clear();
}

void Type1::unmap_all_and_vaddr() {
  const std::uint64_t iova = 0x10000;
  put(iova, 4);
  put(std::uint64_t{1} << 38, 1);
  unmap("C120 UNMAP ALL iova=0 size=0", 0, 0, kAll);
  unmap("C121 UNMAP ALL nothing mapped", 0, 0, kAll);
  put(iova, 4);
  unmap("C122 UNMAP ALL iova=4K size=0", kPage, 0, kAll);
  unmap("C123 UNMAP ALL iova=0 size=4K", 0, kPage, kAll);
  unmap("C124 UNMAP ALL+GET_DIRTY_BITMAP", 0, 0, kAll | kBitmap);
  unmap("C125 UNMAP ALL argsz=8", 0, 0, kAll, 8);
  unmap("C130 UNMAP VADDR exact", iova, 4 * kPage, kUnmapVaddr);
  unmap("C131 UNMAP VADDR again", iova, 4 * kPage, kUnmapVaddr);
  keep("C132 MAP VADDR wrong size", iova, hva_, 2 * kPage, kVaddr);
  keep("C133 MAP VADDR wrong iova", iova + 0x8000, hva_, 4 * kPage, kVaddr);
  keep("C134 MAP VADDR exact", iova, hva_, 4 * kPage, kVaddr);
  keep("C135 MAP VADDR when valid", iova, hva_, 4 * kPage, kVaddr);
  unmap("C136 UNMAP VADDR sub-range", iova, kPage, kUnmapVaddr);
  unmap("C137 UNMAP VADDR+ALL", 0, 0, kUnmapVaddr | kAll);
  unmap("C138 plain UNMAP of a VADDR-invalidated mapping", iova, 4 * kPage);
  unmap("C139 UNMAP VADDR empty range", iova, 4 * kPage, kUnmapVaddr);
  clear();
}

void Type1::life_cycle() {
  const std::uint64_t iova = 0x10000;
  {
    Memory gone(4 * kPage);
    (void)container_.map(iova, gone.address(), 4 * kPage);
    gone.reset();
    unmap("C140 UNMAP after munmap of the memory", iova, 4 * kPage);
  }
  Memory memory(kPage);
  (void)container_.map(iova, memory.address(), kPage);
  answer(prefix_ + "C141 mprotect(PROT_NONE) of mapped memory", outcome_of(::mprotect(memory.data(), kPage, PROT_NONE)));
  keep("C142 MAP it again elsewhere", 0x20000, memory.address(), kPage);
  answer(prefix_ + "C143 madvise DONTNEED of mapped memory", outcome_of(::madvise(memory.data(), kPage, MADV_DONTNEED)));
  clear();
  Said said = child_says([&] {
    Memory own(kPage);
    const Outcome outcome = container_.map(iova, own.address(), kPage);
    return Said{outcome, container_.live()};
  });
  answer(prefix_ + "C144 child: MAP its own memory", said.outcome, format("maps=%ld", said.number));
  std::uint64_t size = 0;
  const auto unmap_in_child = [&](const char* name) {
    said = child_says([&] {
      const Mapped done = container_.unmap(iova, kPage);
      return Said{done.outcome, static_cast<long>(done.size)};
    });
    size = static_cast<std::uint64_t>(said.number);
    answer(prefix_ + name, said.outcome, format("size=0x%lx maps=%ld", size, container_.live()));
  };
  unmap_in_child("C145 child: UNMAP it");
  put(iova, 1);
  unmap_in_child("C148 child: UNMAP the parent's mapping");
  clear();
}

void Type1::dirty() {
  constexpr std::uint32_t kStart = 1, kStop = 2, kGet = 4;
  answer(prefix_ + "C150 DIRTY NULL", container_.ioctl(VFIO_IOMMU_DIRTY_PAGES));
  answer(prefix_ + "C151 DIRTY argsz=4", dirty_call(kStart, 4));
  answer(prefix_ + "C152 DIRTY flags=0", dirty_call(0));
  answer(prefix_ + "C153 DIRTY flags=8", dirty_call(8));
  answer(prefix_ + "C154 DIRTY START+STOP", dirty_call(kStart | kStop));
  answer(prefix_ + "C155 DIRTY START+GET", dirty_call(kStart | kGet));
  put(0x10000, 4);
  get("C156 GET before START", {});
  answer(prefix_ + "C157 STOP before START", dirty_call(kStop));
  unmap_with_bitmap("C158 UNMAP GET_DIRTY_BITMAP without tracking", 4 * kPage);
  unmap_with_bitmap("C159 UNMAP GET_DIRTY_BITMAP argsz=24", 4 * kPage, 8, 24);
  answer(prefix_ + "C160 START", dirty_call(kStart));
  answer(prefix_ + "C161 START again", dirty_call(kStart));
  get("C162 GET exact", {});
  get("C163 GET again (pinned stay dirty)", {});
  get("C164 GET range superset", {.iova = 0xe000, .size = 8 * kPage});
  get("C165 GET bisecting range", {.iova = 0x11000, .size = 2 * kPage});
  get("C166 GET pgsize=8K", {.page = 2 * kPage});
  get("C167 GET pgsize=0", {.page = 0});
  get("C168 GET bitmap.size=0", {.bytes = 0});
  get("C169 GET bitmap.size=1", {.bytes = 1});
  get("C170 GET size=0", {.size = 0});
  get("C171 GET unaligned iova", {.iova = 0x10001});
  get("C172 GET unaligned size", {.size = 4 * kPage + 1});
  get("C173 GET wrap", {.iova = ~std::uint64_t{0} - kPage + 1, .size = 2 * kPage});
  get("C174 GET empty range", {.iova = 0x40000});
  answer(prefix_ + "C175 GET argsz=8", dirty_call(kGet, 8));
  get("C175b GET bitmap NULL", {.null = true});
  unmap_with_bitmap("C176 UNMAP GET_DIRTY_BITMAP with tracking", 4 * kPage);
  (void)container_.map(0x20000, hva_ + 8 * kPage, 2 * kPage, kRead);
  get("C177 GET of a READ-only mapping made while tracking", {.iova = 0x20000, .size = 2 * kPage});
  (void)container_.unmap(0x20000, 2 * kPage);
  (void)container_.map(0x10000, hva_, 2 * kPage);
  (void)container_.map(0x12000, hva_ + 2 * kPage, 2 * kPage);
  unmap_with_bitmap("C178 UNMAP GET_DIRTY_BITMAP of 2 mappings", 4 * kPage);
  (void)container_.map(0x10000, hva_, 2 * kPage);
  unmap_with_bitmap("C178b UNMAP GET_DIRTY_BITMAP bitmap too small", 2 * kPage, 1);
  answer(prefix_ + "C179 STOP", dirty_call(kStop));
  answer(prefix_ + "C180 STOP again", dirty_call(kStop));
  clear();
}

// Cases C2xx are not the reference's.
void Type1::sizes_of_bitmaps() {
  put(0x10000, 4);
  for (std::uint32_t argsz : {0u, 23u, 24u, 25u, 32u, 40u, 47u, 48u, 49u, 4096u}) {
    unmap_with_bitmap(format("C200 UNMAP GET_DIRTY_BITMAP argsz=%u, no tracking", argsz), 4 * kPage, 8, argsz);
  }
  (void)dirty_call(1);
  for (std::uint32_t argsz : {24u, 25u, 47u}) unmap_with_bitmap(format("C201 UNMAP GET_DIRTY_BITMAP argsz=%u", argsz), 4 * kPage, 8, argsz);
  for (std::uint64_t bytes : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{4}, std::uint64_t{7}, std::uint64_t{9}, std::uint64_t{16}, std::uint64_t{1} << 28, (std::uint64_t{1} << 28) + 1, std::uint64_t{1} << 63}) {
    // Only the range's own bits are looked at.
    get(format("C202 GET bitmap.size=0x%lx", bytes), {.bytes = bytes}, 0xf);
  }
  for (std::uint64_t page : {1ul, 512ul, 2048ul, 4097ul, 0x3000ul, 0x200000ul, 0x40201000ul, ~0ul}) get(format("C203 GET pgsize=0x%lx", page), {.page = page}, 0xf);
  get("C204 GET of 2^43 bytes", {.iova = 0, .size = std::uint64_t{1} << 43, .bytes = std::uint64_t{1} << 28});
  get("C205 GET of 2^44 bytes", {.iova = 0, .size = std::uint64_t{1} << 44, .bytes = std::uint64_t{1} << 28});
  unmap_with_bitmap("C206 UNMAP GET_DIRTY_BITMAP size=0", 0);
  unmap_with_bitmap("C207 UNMAP GET_DIRTY_BITMAP unaligned size", kPage + 1);
  unmap_with_bitmap("C208 UNMAP GET_DIRTY_BITMAP of a part", kPage);
  unmap_with_bitmap("C209 UNMAP GET_DIRTY_BITMAP bitmap.size=2^28+1", 4 * kPage, (std::uint64_t{1} << 28) + 1);
  unmap("C210 UNMAP ALL|VADDR|GET_DIRTY_BITMAP", 0, 0, kAll | kUnmapVaddr | kBitmap, 48);
  unmap("C211 UNMAP VADDR|GET_DIRTY_BITMAP", 0x10000, 4 * kPage, kUnmapVaddr | kBitmap, 48);
  (void)dirty_call(2);
  clear();
  // The same memory twice, and over its end.
  put(0x10000, 32);
  map("C212 MAP beyond the end of the memory", 0x80000, hva_ + 31 * kPage, 1024 * kPage);
  unmap("C213 UNMAP ALL by argsz=48", 0, 0, kAll, 48);
  clear();
}

long available(const Container& container) { return 65535 - container.live(); }

std::string locked_now() {
  std::string text = "?";
  if (std::FILE* status = std::fopen("/proc/self/status", "re")) {
    char line[256];
    while (std::fgets(line, sizeof line, status))
      if (std::strncmp(line, "VmLck:", 6) == 0) text.assign(line, std::strcspn(line, "\n"));
    std::fclose(status);
  }
  for (char& letter : text)
    if (letter == '\t') letter = ' ';
  return text;
}

void limited_user() {
  Session session(Machine::get().edu);
  Container& container = session.container;
  Memory memory(64 * kPage);
  const std::uint64_t hva = memory.address();
  void* bar = ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, session.device.fd(), 0);
  const rlimit limit{16 * kPage, 16 * kPage};
  if (::setrlimit(RLIMIT_MEMLOCK, &limit) != 0 || ::setgid(1000) != 0 || ::setuid(1000) != 0) {
    std::printf("# cannot become another user\n");
    return;
  }
  const auto map = [&](const char* name, std::uint64_t iova, std::uint64_t from, std::uint64_t pages) {
    const Outcome outcome = container.map(iova, from, pages * kPage);
    answer(name, outcome, format("maps=%ld", container.live()));
  };
  map("L11 MAP 16 pages (= limit)", 0x10000, hva, 16);
  map("L12 MAP one more", 0x40000, hva + 16 * kPage, 1);
  Mapped done = container.unmap(0x10000, 16 * kPage);
  answer("L13 UNMAP", done.outcome, format("size=0x%lx maps=%ld", done.size, container.live()));
  map("L14 MAP 17 pages", 0x10000, hva, 17);
  (void)container.map(0x10000, hva, 8 * kPage);
  map("L15 MAP same page twice (double count?) 8+8", 0x20000, hva, 8);
  map("L16 MAP 9th again", 0x30000, hva, 1);
  (void)container.unmap(0, 0, kAll);
  (void)::syscall(SYS_mlock, memory.data(), 8 * kPage);  // which sanitizers make nothing
  map("L17 mlock 8 pages then MAP other 8", 0x10000, hva + 8 * kPage, 8);
  map("L18 MAP one more", 0x20000, hva + 16 * kPage, 1);
  if (bar != MAP_FAILED)
    map("L21 MAP of a device BAR (not counted): limit already full", 0x80000, reinterpret_cast<std::uint64_t>(bar), 1);
  done = container.unmap(0, 0, kAll);
  answer("L20 after UNMAP ALL", done.outcome, locked_now());
}

}  // namespace

void type1(unsigned long type) { Type1(type).run(); }

void limits() {
  {
    Session session(Machine::get().edu);
    Container& container = session.container;
    Memory memory(kPage);
    answer("L01 dma_avail at start", ok(available(container)));
    long mapped = 0;
    Outcome outcome;
    while ((outcome = container.map(static_cast<std::uint64_t>(mapped) * kPage, memory.address(), kPage)) == ok()) ++mapped;
    answer("L02 MAP 4K until failure", outcome, format("succeeded=%ld avail=%ld", mapped, available(container)));
    answer("L03 MAP a bad iova then", container.map(kMsiWindow, memory.address(), kPage));
    const Mapped one = container.unmap(0, kPage);
    answer("L05 UNMAP one", one.outcome, format("size=0x%lx avail=%ld", one.size, available(container)));
    outcome = container.map(0, memory.address(), kPage);
    answer("L06 MAP one again", outcome, format("avail=%ld", available(container)));
    const Mapped all = container.unmap(0, 0, kAll);
    answer("L07 UNMAP ALL", all.outcome, format("size=0x%lx avail=%ld", all.size, available(container)));
  }
  section("limited user", limited_user);
}

}  // namespace conformance::answers
