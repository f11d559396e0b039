// SPDX-License-Identifier: LGPL-2.1-or-later
// Whether a device's DMA window is empty, as the hypervisor has it.
//
//   papr_window ADDRESS      "empty", "occupied at 0x...", or why it cannot be said
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "hypercall/papr/kernel/pviommu_papr.h"

int main(int argc, char** argv) {
  unsigned domain, bus, device, function;
  if (argc != 2 || std::sscanf(argv[1], "%x:%x:%x.%x", &domain, &bus, &device, &function) != 4) {
    std::fprintf(stderr, "usage: %s ADDRESS\n", argv[0]);
    return 2;
  }
  const int fd = ::open(PVIOMMU_PAPR_DEVICE, O_RDWR | O_CLOEXEC);
  if (fd < 0) {
    std::printf("%s: %s\n", PVIOMMU_PAPR_DEVICE, std::strerror(errno));
    return 1;
  }
  pviommu_papr_claim claim{};
  claim.sbdf = domain << 16 | bus << 8 | device << 3 | function;
  claim.flags = PVIOMMU_PAPR_CLAIM_CHECK_EMPTY;
  if (::ioctl(fd, PVIOMMU_PAPR_CLAIM, &claim) == 0) {
    std::printf("empty\n");
    return 0;
  }
  if (errno == EEXIST)
    std::printf("occupied at 0x%llx\n", static_cast<unsigned long long>(claim.occupied));
  else
    std::printf("claim of %s: %s\n", argv[1], std::strerror(errno));
  return 1;
}
