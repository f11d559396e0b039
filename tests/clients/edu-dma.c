// SPDX-License-Identifier: LGPL-2.1-or-later
// An ordinary VFIO program that looks at isolation from the device's side.
//
// Written against <linux/vfio.h> and the documentation of QEMU's edu device
// (docs/specs/edu.rst) alone: it would run on the kernel's VFIO as it is.
//
//   edu-dma CASE GROUP ADDRESS [GROUP ADDRESS]
//
// The device's DMA engine copies up to 4 KiB between its own buffer and memory;
// each case sends it somewhere and checks what became of the memory and of the
// buffer.  Status 0: as it must be; 1 and one line on stderr: not.  Every case
// prints "refused N": the accesses that must have been stopped.
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { kPage = 4096, kEduBuffer = 0x40000 };
enum { kEduSource = 0x80, kEduDestination = 0x88, kEduCount = 0x90, kEduCommand = 0x98 };
enum { kRun = 1, kTowardsMemory = 2 };
enum { kPciCommand = 4, kBusMaster = 4, kMemorySpace = 2 };

static unsigned refused;  // accesses the device must not have been able to do

static void die(const char* format, ...) __attribute__((format(printf, 1, 2), noreturn));
static void die(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  exit(1);
}

static void must(int result, const char* what) {
  if (result < 0) die("%s: %s", what, strerror(errno));
}

// ---- VFIO ---------------------------------------------------------------------

struct edu {
  int container;
  int group;
  int device;
  uint64_t bar;     // offset of BAR 0 in the device's file
  uint64_t config;  // of the configuration space
};

static void read_at(const struct edu* edu, void* to, size_t bytes, uint64_t offset) {
  if (pread(edu->device, to, bytes, (off_t)offset) != (ssize_t)bytes) die("pread: %s", strerror(errno));
}

static void write_at(const struct edu* edu, const void* from, size_t bytes, uint64_t offset) {
  if (pwrite(edu->device, from, bytes, (off_t)offset) != (ssize_t)bytes) die("pwrite: %s", strerror(errno));
}

static void set_command(const struct edu* edu, uint16_t bits, int on) {
  uint16_t command;
  read_at(edu, &command, sizeof command, edu->config + kPciCommand);
  command = on ? command | bits : command & ~bits;
  write_at(edu, &command, sizeof command, edu->config + kPciCommand);
}

static uint64_t region_offset(int device, uint32_t index) {
  struct vfio_region_info info = {.argsz = sizeof info, .index = index};
  must(ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &info), "VFIO_DEVICE_GET_REGION_INFO");
  return info.offset;
}

static struct edu edu_open(const char* group, const char* address) {
  struct edu edu;
  char path[64];
  edu.container = open("/dev/vfio/vfio", O_RDWR);
  must(edu.container, "/dev/vfio/vfio");
  snprintf(path, sizeof path, "/dev/vfio/%s", group);
  edu.group = open(path, O_RDWR);
  must(edu.group, path);
  struct vfio_group_status status = {.argsz = sizeof status};
  must(ioctl(edu.group, VFIO_GROUP_GET_STATUS, &status), "VFIO_GROUP_GET_STATUS");
  if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE)) die("group %s is not viable", group);
  must(ioctl(edu.group, VFIO_GROUP_SET_CONTAINER, &edu.container), "VFIO_GROUP_SET_CONTAINER");
  must(ioctl(edu.container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU), "VFIO_SET_IOMMU");
  edu.device = ioctl(edu.group, VFIO_GROUP_GET_DEVICE_FD, address);
  must(edu.device, "VFIO_GROUP_GET_DEVICE_FD");
  edu.bar = region_offset(edu.device, VFIO_PCI_BAR0_REGION_INDEX);
  edu.config = region_offset(edu.device, VFIO_PCI_CONFIG_REGION_INDEX);
  set_command(&edu, kBusMaster | kMemorySpace, 1);
  uint32_t identification;
  read_at(&edu, &identification, sizeof identification, edu.bar);
  if ((identification & 0xff) != 0xed) die("%s is not an edu: 0x%08x", address, identification);
  return edu;
}

static void edu_close(const struct edu* edu) {
  close(edu->device);
  close(edu->group);
  close(edu->container);
}

static void map(const struct edu* edu, uint64_t iova, void* memory, uint64_t bytes, uint32_t flags) {
  struct vfio_iommu_type1_dma_map request = {
      .argsz = sizeof request, .flags = flags, .vaddr = (uintptr_t)memory, .iova = iova, .size = bytes};
  must(ioctl(edu->container, VFIO_IOMMU_MAP_DMA, &request), "VFIO_IOMMU_MAP_DMA");
}

static void unmap(const struct edu* edu, uint64_t iova, uint64_t bytes) {
  struct vfio_iommu_type1_dma_unmap request = {.argsz = sizeof request, .iova = iova, .size = bytes};
  must(ioctl(edu->container, VFIO_IOMMU_UNMAP_DMA, &request), "VFIO_IOMMU_UNMAP_DMA");
  if (request.size != bytes) die("unmapped 0x%llx bytes, not 0x%llx", request.size, (unsigned long long)bytes);
}

enum { kBoth = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE };

// ---- the device ---------------------------------------------------------------

static void transfer(const struct edu* edu, uint64_t source, uint64_t destination, uint64_t bytes,
                     uint64_t command) {
  write_at(edu, &source, 8, edu->bar + kEduSource);
  write_at(edu, &destination, 8, edu->bar + kEduDestination);
  write_at(edu, &bytes, 8, edu->bar + kEduCount);
  write_at(edu, &command, 8, edu->bar + kEduCommand);
  for (int i = 0; i < 50000; ++i) {
    read_at(edu, &command, 8, edu->bar + kEduCommand);
    if (!(command & kRun)) return;
    nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
  }
  die("the device does not finish its transfer");
}

// Memory -> buffer.
static void device_reads(const struct edu* edu, uint64_t iova, uint64_t bytes) {
  transfer(edu, iova, kEduBuffer, bytes, kRun);
}

// Buffer -> memory.
static void device_writes(const struct edu* edu, uint64_t iova, uint64_t bytes) {
  transfer(edu, kEduBuffer, iova, bytes, kRun | kTowardsMemory);
}

// ---- memory -------------------------------------------------------------------

static void* new_memory(size_t bytes, void* at) {
  const int fixed = at != NULL ? MAP_FIXED_NOREPLACE : 0;
  void* memory = mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | fixed, -1, 0);
  if (memory == MAP_FAILED) die("mmap: %s", strerror(errno));
  return memory;
}

static uint32_t pattern(uint32_t seed, size_t word) {
  uint32_t x = seed * 2654435761u + (uint32_t)word;
  x ^= x >> 15;
  x *= 2246822519u;
  return x ^ x >> 13;
}

static void fill(void* memory, size_t bytes, uint32_t seed) {
  uint32_t* words = memory;
  for (size_t i = 0; i < bytes / 4; ++i) words[i] = pattern(seed, i);
}

static void expect(const void* memory, size_t bytes, uint32_t seed, const char* what) {
  const volatile uint32_t* words = memory;
  for (size_t i = 0; i < bytes / 4; ++i)
    if (words[i] != pattern(seed, i))
      die("%s: byte %zu is 0x%08x, not 0x%08x", what, i * 4, words[i], pattern(seed, i));
}

// A page that the device can always reach, to load and to look at its buffer.
struct window {
  uint64_t iova;
  unsigned char* page;
};

static struct window open_window(const struct edu* edu, uint64_t iova) {
  struct window window = {.iova = iova, .page = new_memory(kPage, NULL)};
  map(edu, iova, window.page, kPage, kBoth);
  return window;
}

static void load_buffer(const struct edu* edu, const struct window* window, uint32_t seed) {
  fill(window->page, kPage, seed);
  device_reads(edu, window->iova, kPage);
  memset(window->page, 0, kPage);
}

static void expect_buffer(const struct edu* edu, const struct window* window, uint32_t seed, const char* what) {
  memset(window->page, 0, kPage);
  device_writes(edu, window->iova, kPage);
  expect(window->page, kPage, seed, what);
}

// ---- the cases ----------------------------------------------------------------

enum { kWindowIova = 0x10000, kIova = 0x400000, k2M = 2 << 20 };

// 2 MiB whose pages were touched in a mixed order, some before and some after
// a neighbour of 4 KiB came between them: frames that do not follow each other.
// Every page moves through the device to its mirror page.
static void round_trip(const struct edu* edu) {
  enum { kPages = k2M / kPage };
  unsigned char* memory = new_memory(k2M, NULL);
  unsigned char* between = new_memory(k2M, NULL);
  madvise(memory, k2M, MADV_NOHUGEPAGE);
  madvise(between, k2M, MADV_NOHUGEPAGE);
  for (unsigned i = 0; i < kPages; ++i) {
    const unsigned page = i * 197 % kPages;
    memory[page * kPage] = 1;
    between[page * kPage] = 1;
  }
  map(edu, kIova, memory, k2M, kBoth);
  for (unsigned i = 0; i < kPages / 2; ++i) {
    fill(memory + i * kPage, kPage, 1000 + i);
    memset(memory + (kPages - 1 - i) * kPage, 0, kPage);
  }
  for (unsigned i = 0; i < kPages / 2; ++i) {
    device_reads(edu, kIova + i * kPage, kPage);
    device_writes(edu, kIova + (kPages - 1 - i) * kPage, kPage);
  }
  for (unsigned i = 0; i < kPages / 2; ++i) {
    expect(memory + i * kPage, kPage, 1000 + i, "source of a transfer");
    expect(memory + (kPages - 1 - i) * kPage, kPage, 1000 + i, "destination of a transfer");
  }
  // Across a page border, at odd places.
  fill(memory, 2 * kPage, 7);
  device_reads(edu, kIova + 100, kPage);
  memset(memory + 8 * kPage, 0xee, 3 * kPage);
  device_writes(edu, kIova + 8 * kPage + 2000, kPage);
  if (memcmp(memory + 100, memory + 8 * kPage + 2000, kPage) != 0) die("transfer across a page border");
  for (unsigned i = 0; i < 3 * kPage; ++i)
    if ((i < 2000 || i >= 2000 + kPage) && memory[8 * kPage + i] != 0xee) die("written beside the target");
  unmap(edu, kIova, k2M);
}

static void unmapped(const struct edu* edu) {
  const struct window window = open_window(edu, kWindowIova);
  load_buffer(edu, &window, 1);
  device_writes(edu, kIova, kPage);
  device_reads(edu, kIova, kPage);
  refused += 2;
  expect_buffer(edu, &window, 1, "the device's buffer after a read of nothing");
  // Just above and just below the window: its neighbours are nothing as well.
  device_writes(edu, kWindowIova + kPage, 64);
  device_writes(edu, kWindowIova - 64, 64);
  refused += 2;
}

static void read_only(const struct edu* edu) {
  const struct window window = open_window(edu, kWindowIova);
  unsigned char* memory = new_memory(kPage, NULL);
  fill(memory, kPage, 2);
  map(edu, kIova, memory, kPage, VFIO_DMA_MAP_FLAG_READ);
  load_buffer(edu, &window, 1);
  device_writes(edu, kIova, kPage);
  ++refused;
  expect(memory, kPage, 2, "memory mapped for reading only");
  device_reads(edu, kIova, kPage);
  expect_buffer(edu, &window, 2, "what the device read of memory mapped for reading only");
}

static void write_only(const struct edu* edu) {
  const struct window window = open_window(edu, kWindowIova);
  unsigned char* memory = new_memory(kPage, NULL);
  fill(memory, kPage, 2);
  map(edu, kIova, memory, kPage, VFIO_DMA_MAP_FLAG_WRITE);
  load_buffer(edu, &window, 1);
  device_reads(edu, kIova, kPage);
  ++refused;
  expect_buffer(edu, &window, 1, "the device's buffer after a read of memory mapped for writing only");
  device_writes(edu, kIova, kPage);
  expect(memory, kPage, 1, "memory mapped for writing only");
}

static void after_unmap(const struct edu* edu) {
  const struct window window = open_window(edu, kWindowIova);
  unsigned char* memory = new_memory(k2M, NULL);
  load_buffer(edu, &window, 1);
  map(edu, kIova, memory, k2M, kBoth);
  device_writes(edu, kIova + k2M - kPage, kPage);
  expect(memory + k2M - kPage, kPage, 1, "the last page before the unmap");
  unmap(edu, kIova, k2M);
  for (unsigned offset = 0; offset < k2M; offset += k2M / 16) {
    fill(memory + offset, kPage, 5);
    device_writes(edu, kIova + offset, kPage);
    ++refused;
    expect(memory + offset, kPage, 5, "memory after the unmap");
  }
}

// The program forgets its mapping: frees the memory, and gets other memory at
// the same address.  The device may reach the old frames, never the new memory.
static void after_munmap(const struct edu* edu) {
  const struct window window = open_window(edu, kWindowIova);
  unsigned char* memory = new_memory(16 * kPage, NULL);
  memset(memory, 0, 16 * kPage);
  map(edu, kIova, memory, 16 * kPage, kBoth);
  load_buffer(edu, &window, 1);
  must(munmap(memory, 16 * kPage), "munmap");
  unsigned char* again = new_memory(16 * kPage, memory);
  fill(again, 16 * kPage, 3);
  for (unsigned page = 0; page < 16; ++page) device_writes(edu, kIova + page * kPage, kPage);
  expect(again, 16 * kPage, 3, "new memory at the address of old memory");
  // What is mapped is still the old memory: the device reads there what it wrote.
  load_buffer(edu, &window, 9);
  device_reads(edu, kIova + 5 * kPage, kPage);
  expect_buffer(edu, &window, 1, "old memory that is still mapped");
  unmap(edu, kIova, 16 * kPage);
  device_writes(edu, kIova, kPage);
  ++refused;
  expect(again, 16 * kPage, 3, "new memory after the unmap");
}

// The program frees its memory and nothing comes in its place.  Pinned frames stay
// the device's until the unmap; without a pin there is nothing left to reach.
static void after_free(const struct edu* edu) {
  const struct window window = open_window(edu, kWindowIova);
  unsigned char* memory = new_memory(kPage, NULL);
  fill(memory, kPage, 2);
  map(edu, kIova, memory, kPage, kBoth);
  must(munmap(memory, kPage), "munmap");
  load_buffer(edu, &window, 1);
  device_writes(edu, kIova, kPage);
  load_buffer(edu, &window, 9);
  device_reads(edu, kIova, kPage);
  memset(window.page, 0, kPage);
  device_writes(edu, window.iova, kPage);
  uint32_t first;
  memcpy(&first, window.page, sizeof first);
  if (first == pattern(9, 0)) {
    refused += 2;
    expect(window.page, kPage, 9, "the device's buffer after a read of freed memory");
  } else {
    expect(window.page, kPage, 1, "freed memory that is still mapped");
  }
  unmap(edu, kIova, kPage);
}

static void bus_master_off(const struct edu* edu) {
  const struct window window = open_window(edu, kWindowIova);
  load_buffer(edu, &window, 1);
  fill(window.page, kPage, 4);
  set_command(edu, kBusMaster, 0);
  device_writes(edu, kWindowIova, kPage);
  ++refused;
  expect(window.page, kPage, 4, "memory while bus mastering is off");
  set_command(edu, kBusMaster, 1);
  device_writes(edu, kWindowIova, kPage);
  expect(window.page, kPage, 1, "memory when bus mastering is on again");
}

// The device is given back and opened again: nothing of before is mapped.
static void reopened(struct edu* edu, const char* group, const char* address) {
  struct window window = open_window(edu, kWindowIova);
  unsigned char* memory = new_memory(kPage, NULL);
  map(edu, kIova, memory, kPage, kBoth);
  load_buffer(edu, &window, 1);
  device_writes(edu, kIova, kPage);
  expect(memory, kPage, 1, "memory before");
  edu_close(edu);
  *edu = edu_open(group, address);
  fill(memory, kPage, 6);
  window = open_window(edu, kWindowIova + 0x100000);
  load_buffer(edu, &window, 1);
  device_writes(edu, kIova, kPage);
  device_writes(edu, kWindowIova, kPage);
  refused += 2;
  expect(memory, kPage, 6, "memory mapped in a container that is gone");
}

static void two_containers(const struct edu* one, const struct edu* two) {
  const struct window window_one = open_window(one, kWindowIova);
  const struct window window_two = open_window(two, kWindowIova);
  unsigned char* memory_one = new_memory(kPage, NULL);
  unsigned char* memory_two = new_memory(kPage, NULL);
  unsigned char* only_one = new_memory(kPage, NULL);
  fill(memory_one, kPage, 11);
  fill(memory_two, kPage, 12);
  fill(only_one, kPage, 13);
  map(one, kIova, memory_one, kPage, kBoth);
  map(two, kIova, memory_two, kPage, kBoth);
  map(one, kIova + k2M, only_one, kPage, kBoth);
  load_buffer(one, &window_one, 21);
  load_buffer(two, &window_two, 22);
  device_writes(one, kIova, kPage);
  expect(memory_one, kPage, 21, "one's memory after one wrote");
  expect(memory_two, kPage, 12, "two's memory after one wrote");
  device_writes(two, kIova, kPage);
  expect(memory_one, kPage, 21, "one's memory after two wrote");
  expect(memory_two, kPage, 22, "two's memory after two wrote");
  device_writes(two, kIova + k2M, kPage);
  device_reads(two, kIova + k2M, kPage);
  refused += 2;
  expect(only_one, kPage, 13, "memory mapped for one only");
  expect_buffer(two, &window_two, 22, "two's buffer after a read of what is one's");
  // One leaves: two goes on.
  edu_close(one);
  load_buffer(two, &window_two, 23);
  device_writes(two, kIova, kPage);
  expect(memory_two, kPage, 23, "two's memory after one has gone");
}

// A long row of transfers for somebody who wants to kill us in the middle.
static void endless(const struct edu* edu) {
  unsigned char* memory = new_memory(k2M, NULL);
  puts("running");
  fflush(stdout);
  for (;;) {
    map(edu, kIova, memory, k2M, kBoth);
    for (unsigned page = 0; page < 8; ++page) device_writes(edu, kIova + page * kPage, kPage);
    unmap(edu, kIova, k2M);
  }
}

int main(int argc, char** argv) {
  if (argc != 4 && argc != 6) die("usage: %s CASE GROUP ADDRESS [GROUP ADDRESS]", argv[0]);
  const char* name = argv[1];
  struct edu edu = edu_open(argv[2], argv[3]);
  if (argc == 6) {
    const struct edu other = edu_open(argv[4], argv[5]);
    if (strcmp(name, "two-containers") != 0) die("no case %s for two devices", name);
    two_containers(&edu, &other);
  } else if (strcmp(name, "round-trip") == 0) {
    round_trip(&edu);
  } else if (strcmp(name, "unmapped") == 0) {
    unmapped(&edu);
  } else if (strcmp(name, "read-only") == 0) {
    read_only(&edu);
  } else if (strcmp(name, "write-only") == 0) {
    write_only(&edu);
  } else if (strcmp(name, "after-unmap") == 0) {
    after_unmap(&edu);
  } else if (strcmp(name, "after-munmap") == 0) {
    after_munmap(&edu);
  } else if (strcmp(name, "after-free") == 0) {
    after_free(&edu);
  } else if (strcmp(name, "bus-master-off") == 0) {
    bus_master_off(&edu);
  } else if (strcmp(name, "reopened") == 0) {
    reopened(&edu, argv[2], argv[3]);
  } else if (strcmp(name, "endless") == 0) {
    endless(&edu);
  } else {
    die("no case %s", name);
  }
  printf("refused %u\n", refused);
  return 0;
}
