// SPDX-License-Identifier: LGPL-2.1-or-later
// What the PAPR suite needs of the place it runs in: the model of the unit tests,
// or a machine of QEMU's.  No C library, as the suite itself.
#pragma once

#include "hypercall/papr/core/rtas.h"
#include "hypercall/papr/core/tce_window.h"

namespace papr_suite {

using namespace pviommu;
using namespace pviommu::papr;

/// A PCI function with a DMA engine and a buffer of kBufferBytes, as QEMU's edu, that
/// can send one MSI.
class Device {
 public:
  static constexpr std::size_t kBufferBytes = 2048;  // half of what edu has

  virtual PciAddress address() const = 0;
  /// The default window of its host bridge.
  virtual const WindowGeometry& window() const = 0;
  /// The engine reads memory into its buffer, or writes memory from it.  When it returns
  /// the engine has stopped, whether it got at the memory or not.
  virtual void read_memory(Ioba from, std::size_t buffer_offset, std::size_t bytes) = 0;
  virtual void write_memory(Ioba to, std::size_t buffer_offset, std::size_t bytes) = 0;
  /// Raises its interrupt: an MSI if that is enabled.
  virtual void raise() = 0;
  virtual void enable_msi(bool on) = 0;
  /// What the hypervisor wrote into the MSI capability.
  virtual void msi_message(std::uint64_t& address, std::uint32_t& data) = 0;

 protected:
  ~Device() = default;
};

enum class InterruptController : std::uint8_t { xics, xive };

class Platform {
 public:
  virtual Port& port() = 0;  ///< for what is tested
  virtual Port& raw() = 0;   ///< for the test itself: nothing is between it and the hypervisor
  virtual RtasPort& rtas() = 0;
  virtual std::size_t devices() const = 0;  ///< each on a host bridge of its own
  virtual Device& device(std::size_t index) = 0;
  /// A function that has MSI-X and no MSI, and how many vectors; false: none here.
  virtual bool msix_function(PciAddress& function, std::uint32_t& vectors) = 0;
  virtual bool dynamic_windows() const = 0;
  virtual InterruptController interrupts() const = 0;
  /// True: refuses all that PAPR lets a hypervisor refuse.  False: it is QEMU.
  virtual bool strict() const = 0;

  /// Zeroed memory that devices can reach, never given back.
  virtual std::uint8_t* memory(std::size_t bytes, std::size_t alignment) = 0;
  virtual RealAddress real(const void* pointer) const = 0;
  virtual RealAddress memory_last() const = 0;

  /// One check.  `failure` is empty when it was passed.
  virtual void result(const char* name, const char* failure) = 0;
  virtual void skipped(const char* name, const char* why) = 0;
  /// A call that QEMU answers otherwise than a strict hypervisor.
  virtual void difference(const char* name, const char* strict, const char* qemu) = 0;

 protected:
  ~Platform() = default;
};

}  // namespace papr_suite
