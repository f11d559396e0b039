/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* MAP + UNMAP of one page by ioctl, as an unmodified program does it.
 * ioctl_bench [PAIRS [LIVE]]: prints nanoseconds a pair with LIVE other
 * mappings in place. */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int fail(const char *what) {
  fprintf(stderr, "bench_ioctl: %s: %s\n", what, strerror(errno));
  return 1;
}

int main(int argc, char **argv) {
  const long pairs = argc > 1 ? atol(argv[1]) : 200000;
  const long live = argc > 2 ? atol(argv[2]) : 1000;
  const int container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
  int group = -1;
  char path[32];
  double start;
  void *memory;
  long i;
  if (container < 0) return fail("/dev/vfio/vfio");
  for (i = 0; i < 256 && group < 0; ++i) {
    snprintf(path, sizeof path, "/dev/vfio/%ld", i);
    group = open(path, O_RDWR | O_CLOEXEC);
  }
  if (group < 0) return fail("no group");
  if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) != 0) return fail("SET_CONTAINER");
  if (ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) != 0) return fail("SET_IOMMU");
  memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return fail("mmap");
  memset(memory, 1, 4096);

  struct vfio_iommu_type1_dma_map map = {.argsz = sizeof map,
                                         .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
                                         .vaddr = (__u64)(unsigned long)memory,
                                         .size = 4096};
  for (i = 0; i < live; ++i) {
    map.iova = (__u64)i * 8192;
    if (ioctl(container, VFIO_IOMMU_MAP_DMA, &map) != 0) return fail("MAP_DMA");
  }
  start = now();
  for (i = 0; i < pairs; ++i) {
    struct vfio_iommu_type1_dma_unmap unmap = {.argsz = sizeof unmap, .size = 4096};
    map.iova = (__u64)(live != 0 ? i * 7919 % live : 0) * 8192 + 4096;
    unmap.iova = map.iova;
    if (ioctl(container, VFIO_IOMMU_MAP_DMA, &map) != 0) return fail("MAP_DMA");
    if (ioctl(container, VFIO_IOMMU_UNMAP_DMA, &unmap) != 0) return fail("UNMAP_DMA");
  }
  printf("%.0f\n", (now() - start) / (double)pairs);
  return 0;
}
