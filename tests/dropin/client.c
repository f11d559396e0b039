/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A small VFIO program: opens the function 0000:00:01.0 in group 0, maps 16 pages,
 * is refused the same again, reads the vendor, and unmaps. */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static void need(int good, const char *what) {
  if (good) return;
  perror(what);
  exit(1);
}

int main(void) {
  enum { size = 16 << 12 };
  int container = open("/dev/vfio/vfio", O_RDWR), group = open("/dev/vfio/0", O_RDWR), device;
  void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  struct vfio_iommu_type1_dma_map map = {sizeof map, VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE, (__u64)memory,
                                         1 << 20, size};
  struct vfio_iommu_type1_dma_unmap unmap = {.argsz = sizeof unmap, .iova = 1 << 20, .size = size};
  struct vfio_region_info config = {.argsz = sizeof config, .index = VFIO_PCI_CONFIG_REGION_INDEX};
  unsigned short vendor = 0;

  need(container >= 0 && group >= 0 && memory != MAP_FAILED, "open");
  need(ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) == 0, "set container");
  need(ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) == 0, "set iommu");
  device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, "0000:00:01.0");
  need(device >= 0, "get device");
  need(ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &config) == 0, "region info");
  need(pread(device, &vendor, sizeof vendor, (off_t)config.offset) == sizeof vendor, "read configuration");
  need(ioctl(container, VFIO_IOMMU_MAP_DMA, &map) == 0, "map");
  need(ioctl(container, VFIO_IOMMU_MAP_DMA, &map) != 0 && errno == EEXIST, "map again");
  need(ioctl(container, VFIO_IOMMU_UNMAP_DMA, &unmap) == 0 && unmap.size == size, "unmap");
  need(close(device) == 0 && close(group) == 0 && close(container) == 0, "close");
  printf("client: vendor %04x\n", vendor);
  return 0;
}
