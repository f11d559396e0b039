// SPDX-License-Identifier: LGPL-2.1-or-later
// The real kernel, by syscall().
#include "hypercall/papr/vfio/vfio_calls.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace pviommu::spapr {
namespace {

template <class... Arguments>
long call(long number, Arguments... arguments) {
  long result;
  do {
    result = ::syscall(number, arguments...);
  } while (result < 0 && errno == EINTR);
  return result;
}

class KernelVfioCalls final : public VfioCalls {
 public:
  Result<UniqueFd> open(const std::string& path) override {
    const long fd = call(SYS_openat, AT_FDCWD, path.c_str(), O_RDWR | O_CLOEXEC);
    if (fd < 0) return Error{errno, "vfio: open", errno};
    return UniqueFd(static_cast<int>(fd));
  }
  Result<int> ioctl(int fd, unsigned long request, std::uintptr_t argument) override {
    const long result = call(SYS_ioctl, fd, request, argument);
    if (result < 0) return Error{errno, "vfio: ioctl", errno};
    return static_cast<int>(result);
  }
  Status read(int fd, std::span<std::byte> bytes, std::uint64_t offset) override {
    return transferred(call(SYS_pread64, fd, bytes.data(), bytes.size(), offset), bytes.size());
  }
  Status write(int fd, std::span<const std::byte> bytes, std::uint64_t offset) override {
    return transferred(call(SYS_pwrite64, fd, bytes.data(), bytes.size(), offset), bytes.size());
  }

 private:
  static Status transferred(long done, std::size_t wanted) {
    if (done < 0) return Error{errno, "vfio: region access", errno};
    if (static_cast<std::size_t>(done) != wanted) return Error{EIO, "vfio: region access is short", done};
    return {};
  }
};

}  // namespace

std::unique_ptr<VfioCalls> make_kernel_vfio_calls() { return std::make_unique<KernelVfioCalls>(); }

}  // namespace pviommu::spapr
