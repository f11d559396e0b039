// SPDX-License-Identifier: LGPL-2.1-or-later
// One method, one ioctl.  The descriptor of the module is the owner of all that is claimed,
// pinned and mapped by it: closing it gives everything back, also after a SIGKILL.
#include "hypercall/papr/module/calls.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstring>

namespace pviommu::papr {
namespace {

class KernelModule final : public ModuleCalls {
 public:
  explicit KernelModule(UniqueFd fd) : fd_(std::move(fd)) {}

  Result<WindowGeometry> claim(Sbdf sbdf) override {
    pviommu_papr_claim argument{};
    argument.sbdf = sbdf.raw();
    PVIOMMU_TRY(call(PVIOMMU_PAPR_CLAIM, &argument, "PVIOMMU_PAPR_CLAIM"));
    WindowGeometry window;
    window.liobn = Liobn(argument.window.liobn);
    window.first = Ioba(argument.window.first);
    window.entries = argument.window.bytes >> argument.window.page_shift;
    window.page_shift = static_cast<std::uint8_t>(argument.window.page_shift);
    return window;
  }

  Status release(Sbdf sbdf) override {
    pviommu_papr_release argument{sbdf.raw(), 0};
    return call(PVIOMMU_PAPR_RELEASE, &argument, "PVIOMMU_PAPR_RELEASE");
  }

  Result<std::uint32_t> pin(const HvaRange& range, bool writable, std::span<std::uint64_t> frames) override {
    pviommu_papr_pin argument{};
    argument.address = range.first().raw();
    argument.bytes = range.size();
    argument.frames = reinterpret_cast<std::uintptr_t>(frames.data());
    argument.flags = writable ? PVIOMMU_PAPR_PIN_WRITE : 0;
    PVIOMMU_TRY(call(PVIOMMU_PAPR_PIN, &argument, "PVIOMMU_PAPR_PIN"));
    return argument.pin;
  }

  Status unpin(std::uint32_t pin) override {
    pviommu_papr_unpin argument{pin, 0};
    return call(PVIOMMU_PAPR_UNPIN, &argument, "PVIOMMU_PAPR_UNPIN");
  }

  Status map(Liobn liobn, Ioba ioba, std::span<const std::uint64_t> tces) override {
    pviommu_papr_map argument{};
    argument.liobn = liobn.raw();
    argument.count = static_cast<std::uint32_t>(tces.size());
    argument.ioba = ioba.raw();
    argument.tces = reinterpret_cast<std::uintptr_t>(tces.data());
    Status status = call(PVIOMMU_PAPR_MAP, &argument, "PVIOMMU_PAPR_MAP");
    if (!status && status.error().code == EIO) return Error{EIO, "PVIOMMU_PAPR_MAP", argument.rc};
    return status;
  }

  Status unmap(Liobn liobn, Ioba ioba, std::uint64_t count) override {
    pviommu_papr_unmap argument{};
    argument.liobn = liobn.raw();
    argument.ioba = ioba.raw();
    argument.count = count;
    Status status = call(PVIOMMU_PAPR_UNMAP, &argument, "PVIOMMU_PAPR_UNMAP");
    if (!status && status.error().code == EIO) return Error{EIO, "PVIOMMU_PAPR_UNMAP", argument.rc};
    return status;
  }

  Result<std::uint64_t> get_tce(Liobn liobn, Ioba ioba) override {
    pviommu_papr_get_tce argument{};
    argument.liobn = liobn.raw();
    argument.ioba = ioba.raw();
    const Status status = call(PVIOMMU_PAPR_GET_TCE, &argument, "PVIOMMU_PAPR_GET_TCE");
    if (!status && status.error().code == EIO) return Error{EIO, "PVIOMMU_PAPR_GET_TCE", argument.rc};
    if (!status) return status.error();
    return argument.tce;
  }

  Result<unsigned> vectors(Sbdf sbdf, VectorKind kind, unsigned count) override {
    pviommu_papr_vectors argument{};
    argument.sbdf = sbdf.raw();
    argument.kind = count == 0 ? 0 : kind == VectorKind::msix ? PVIOMMU_PAPR_MSIX : PVIOMMU_PAPR_MSI;
    argument.count = count;
    PVIOMMU_TRY(call(PVIOMMU_PAPR_VECTORS, &argument, "PVIOMMU_PAPR_VECTORS"));
    return argument.count;
  }

  Result<std::size_t> read(std::span<pviommu_papr_arrival> out) override {
    const ssize_t got = ::read(fd_.get(), out.data(), out.size_bytes());
    if (got >= 0) return static_cast<std::size_t>(got) / sizeof(pviommu_papr_arrival);
    if (errno == EAGAIN || errno == EINTR) return std::size_t{0};
    return Error{errno, "read " PVIOMMU_PAPR_DEVICE};
  }

  int fd() const override { return fd_.get(); }

  Status call(unsigned long request, void* argument, const char* name) {
    if (::ioctl(fd_.get(), request, argument) == 0) return {};
    return Error{errno, name};
  }

 private:
  UniqueFd fd_;
};

}  // namespace

Result<std::unique_ptr<ModuleCalls>> open_module(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!fd) {
    const Error error{errno, "open " PVIOMMU_PAPR_DEVICE};
    if (error.code == ENOENT || error.code == ENXIO || error.code == ENODEV)
      return error.with_sentence(
          path +
          " is not there: the kernel module is not loaded; build it in hypercall/papr/kernel with make, "
          "then: insmod pviommu_papr.ko");
    if (error.code == EACCES || error.code == EPERM)
      return error.with_sentence(path + " cannot be opened: it takes root (CAP_SYS_RAWIO)");
    return error.with_sentence(path + " cannot be opened: " + std::strerror(error.code));
  }
  auto module = std::make_unique<KernelModule>(std::move(fd));
  pviommu_papr_info info{};
  const Status status = module->call(PVIOMMU_PAPR_INFO, &info, "PVIOMMU_PAPR_INFO");
  if (!status || info.api != PVIOMMU_PAPR_API)
    return Error{EPROTO, "PVIOMMU_PAPR_INFO"}.with_sentence(
        path + " is not of the kernel module pviommu_papr, or of another version of it than " +
        std::to_string(PVIOMMU_PAPR_API));
  return std::unique_ptr<ModuleCalls>(std::move(module));
}

}  // namespace pviommu::papr
