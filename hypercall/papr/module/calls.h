// SPDX-License-Identifier: LGPL-2.1-or-later
// The calls of /dev/pviommu-papr (kernel/pviommu_papr.h), typed.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "hypercall/notification.h"
#include "hypercall/papr/core/hcall.h"
#include "hypercall/papr/kernel/pviommu_papr.h"
#include "hypercall/papr/core/tce_window.h"
#include "hypercall/range.h"
#include "hypercall/result.h"
#include "hypercall/unique_fd.h"

namespace pviommu::papr {

/// One open file, or what stands in for it in a test.  Thread-safe.  Errors are those
/// of the header; Error::raw is the hypervisor's answer where it was asked.
class ModuleCalls {
 public:
  ModuleCalls() = default;
  ModuleCalls(const ModuleCalls&) = delete;
  ModuleCalls& operator=(const ModuleCalls&) = delete;
  virtual ~ModuleCalls() = default;

  virtual Result<WindowGeometry> claim(Sbdf sbdf) = 0;
  virtual Status release(Sbdf sbdf) = 0;
  /// Real addresses of the range's 4 KiB pages into `frames`; the result is for unpin().
  virtual Result<std::uint32_t> pin(const HvaRange& range, bool writable,
                                    std::span<std::uint64_t> frames) = 0;
  virtual Status unpin(std::uint32_t pin) = 0;
  virtual Status map(Liobn liobn, Ioba ioba, std::span<const std::uint64_t> tces) = 0;
  virtual Status unmap(Liobn liobn, Ioba ioba, std::uint64_t count) = 0;
  virtual Result<std::uint64_t> get_tce(Liobn liobn, Ioba ioba) = 0;
  /// The number granted; 0 of them gives back what there is.
  virtual Result<unsigned> vectors(Sbdf sbdf, VectorKind kind, unsigned count) = 0;
  /// Arrivals that wait, 0 when none does.
  virtual Result<std::size_t> read(std::span<pviommu_papr_arrival> out) = 0;
  /// Readable when read() has something.
  virtual int fd() const = 0;
};

/// ENOENT: the module is not loaded.  EACCES, EPERM: not root.  EPROTO: another
/// version of it.  The sentence says what to do.
Result<std::unique_ptr<ModuleCalls>> open_module(const std::string& path);

}  // namespace pviommu::papr
