// SPDX-License-Identifier: LGPL-2.1-or-later
// Sources and queues by hcalls, the two state bits of a source by loads from its management
// page: each load has an effect and returns the old bits.
#include "hypercall/papr/core/xive.h"

namespace pviommu::papr {
namespace {

// Flags count from the top in PAPR: bit 63 is 1.
constexpr std::uint64_t kSetNumber = 2;  // H_INT_SET_SOURCE_CONFIG: the number of the event is given
constexpr std::uint64_t kMaskedPriority = 0xff;
constexpr std::uint64_t kUnconditionalNotify = 1;  // H_INT_SET_QUEUE_CONFIG

// Loads from the management page of a source do something and return the old bits.
constexpr std::uint64_t kLoadEoi = 0x000;
constexpr std::uint64_t kLoadSetIdle = 0xc00;
constexpr std::uint64_t kLoadSetOff = 0xd00;
constexpr std::uint64_t kLoadSetSent = 0xe00;
constexpr std::uint64_t kLoadSetMore = 0xf00;
constexpr std::uint64_t kQ = 1;

std::uint32_t from_big(std::uint32_t word) {
  const auto* byte = reinterpret_cast<const std::uint8_t*>(&word);
  return std::uint32_t{byte[0]} << 24 | std::uint32_t{byte[1]} << 16 | std::uint32_t{byte[2]} << 8 | byte[3];
}

void put_big(std::uint8_t*& at, std::uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) *at++ = static_cast<std::uint8_t>(value >> shift);
}

}  // namespace

Rc Xive::source_info(Lisn source, XiveSourceInfo& info) {
  const std::uint64_t in[kHcallRegisters] = {0, source.raw()};
  std::uint64_t out[kHcallRegisters] = {};
  const Rc rc = call(port_, Hcall::int_get_source_info, in, out);
  if (rc == kSuccess) info = {out[0], RealAddress(out[1]), RealAddress(out[2]), out[3]};
  return rc;
}

Rc Xive::set_source(Lisn source, std::uint32_t server, std::uint8_t priority, std::uint32_t number) {
  return call(port_, Hcall::int_set_source_config, kSetNumber, source.raw(), server, priority, number);
}

Rc Xive::reset_source(Lisn source) {
  return call(port_, Hcall::int_set_source_config, 0, source.raw(), 0, kMaskedPriority, 0);
}

Rc Xive::get_source(Lisn source, std::uint32_t& server, std::uint8_t& priority, std::uint32_t& number) {
  const std::uint64_t in[kHcallRegisters] = {0, source.raw()};
  std::uint64_t out[kHcallRegisters] = {};
  const Rc rc = call(port_, Hcall::int_get_source_config, in, out);
  server = static_cast<std::uint32_t>(out[0]);
  priority = static_cast<std::uint8_t>(out[1]);
  number = static_cast<std::uint32_t>(out[2]);
  return rc;
}

Rc Xive::set_queue(std::uint32_t server, std::uint8_t priority, RealAddress memory, unsigned shift) {
  return call(port_, Hcall::int_set_queue_config, kUnconditionalNotify, server, priority, memory.raw(),
              shift);
}

Rc Xive::reset_queue(std::uint32_t server, std::uint8_t priority) {
  return call(port_, Hcall::int_set_queue_config, 0, server, priority, 0, 0);
}

Rc Xive::sync(Lisn source) { return call(port_, Hcall::int_sync, 0, source.raw()); }

Rc XiveSource::load(std::uint64_t offset, std::uint64_t& value) {
  const std::uint64_t in[kHcallRegisters] = {0, lisn_.raw(), offset, 0};
  std::uint64_t out[kHcallRegisters] = {};
  const Rc rc = call(*port_, Hcall::int_esb, in, out);
  // QEMU on a little-endian host hands the page's bytes on in the other order: the
  // two bits are at the top then, and at the bottom else.
  value = (out[0] | out[0] >> 56) & 3;
  return rc;
}

Rc XiveSource::enable() {
  std::uint64_t before;
  masked_ = false;
  return load(kLoadSetIdle, before);
}

Rc XiveSource::disable() {
  std::uint64_t before;
  return load(kLoadSetOff, before);
}

Rc XiveSource::mask() {
  if (masked_) return kSuccess;
  std::uint64_t before;
  Rc rc = load(kLoadSetSent, before);
  if (rc != kSuccess) return rc;
  masked_ = true;
  // One that was waiting already is not lost.
  return (before & kQ) != 0 ? load(kLoadSetMore, before) : rc;
}

Rc XiveSource::unmask() {
  if (!masked_) return kSuccess;
  std::uint64_t before;
  const Rc rc = load(kLoadEoi, before);
  if (rc == kSuccess) masked_ = false;
  return rc;
}

Rc XiveSource::eoi() {
  std::uint64_t before;
  return masked_ ? kSuccess : load(kLoadEoi, before);
}

bool XiveQueue::next(std::uint32_t& number) {
  const std::uint32_t entry = from_big(memory_[at_]);
  if (entry >> 31 != generation_) return false;
  number = entry & 0x7fffffff;
  at_ = (at_ + 1) & mask_;
  if (at_ == 0) generation_ ^= 1;
  return true;
}

// The argument: pairs of (mask, processor) up to one whose processor has bits that
// its mask has not; the number of option vectors less one; and each vector as its
// length less one and its bytes.  Byte 23 of vector 5 asks for the interrupt
// controller: 0x40 is XIVE.
Rc ask_for_xive(Port& port, std::uint8_t* page, RealAddress real, std::uint32_t pvr, RealAddress tree,
                std::uint64_t tree_bytes) {
  constexpr std::uint32_t kLogicalIsa300 = 0x0f000005, kLogicalIsa310 = 0x0f000006;
  constexpr unsigned kVectors = 5, kLastVectorBytes = 24;
  std::uint8_t* at = page;
  put_big(at, 0xffff0000), put_big(at, pvr & 0xffff0000);
  put_big(at, 0xffffffff), put_big(at, kLogicalIsa300);
  put_big(at, 0xffffffff), put_big(at, kLogicalIsa310);
  put_big(at, 0), put_big(at, 0xffffffff);
  *at++ = kVectors - 1;
  for (unsigned vector = 1; vector < kVectors; ++vector) {
    *at++ = 0;  // one byte
    *at++ = 0;
  }
  *at++ = kLastVectorBytes - 1;
  for (unsigned byte = 1; byte <= kLastVectorBytes; ++byte) *at++ = byte == 23 ? 0x40 : 0;
  return call(port, Hcall::client_architecture_support, real.raw(), tree.raw(), tree_bytes);
}

}  // namespace pviommu::papr
