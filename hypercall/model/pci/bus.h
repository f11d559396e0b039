// SPDX-License-Identifier: LGPL-2.1-or-later
// What a modelled device sees of the machine.
//
// Every access of a device goes through here, with the device's own number, and
// is translated by the address space the device is attached to; a device has no
// other way to memory.  Accesses that the translation refuses are logged as
// faults and counted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "hypercall/result.h"
#include "hypercall/strong.h"

namespace pviommu::model {

class Bus {
 public:
  /// Bus-master accesses of `source`, split at page borders: one that faults in a later
  /// page has transferred the earlier ones.  EFAULT: it faulted, which was logged.
  /// In memory the bytes of one call become visible in no particular order;
  /// consecutive calls are ordered.  An aligned access of 4 or 8 bytes is
  /// single-copy atomic.
  virtual Status read(Sbdf source, Iova iova, std::span<std::byte> out) = 0;
  virtual Status write(Sbdf source, Iova iova, std::span<const std::byte> in) = 0;

  /// The same between memory and a file, without a copy in between.
  virtual Status read_to_file(Sbdf source, Iova iova, std::size_t bytes, int fd, std::uint64_t file_offset) = 0;
  virtual Status write_from_file(Sbdf source, Iova iova, std::size_t bytes, int fd,
                                 std::uint64_t file_offset) = 0;

  /// An interrupt message: a 4-byte write of `data` to `address` in the MSI
  /// window.  Dropped and counted (FaultReason::bad_message) when no vector
  /// that the hypervisor programmed for `source` matches.
  virtual void message(Sbdf source, std::uint64_t address, std::uint32_t data) = 0;

  /// A function tells that it held an access back because its bus mastering is
  /// off: logged as a FaultReason::not_attached fault.
  virtual void bus_master_off(Sbdf source, Iova iova, Access access) = 0;

  /// Tells the level of the INTx pin of `source` when it has changed.
  virtual void intx(Sbdf source, bool asserted) = 0;

 protected:
  ~Bus() = default;
};

}  // namespace pviommu::model
