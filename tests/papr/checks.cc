// SPDX-License-Identifier: LGPL-2.1-or-later
// Each check reports its name, what was wanted and what came, without a C library.
#include "tests/papr/checks.h"

namespace papr_suite {

Text& Text::add(std::int64_t number) {
  char digits[24];
  char* first = digits + sizeof digits - 1;
  *first = '\0';
  std::uint64_t left =
      number < 0 ? 0 - static_cast<std::uint64_t>(number) : static_cast<std::uint64_t>(number);
  do *--first = static_cast<char>('0' + left % 10);
  while ((left /= 10) != 0);
  if (number < 0) *--first = '-';
  return add(first);
}

Text& Text::hex(std::uint64_t number) {
  char digits[19];
  char* first = digits + sizeof digits - 1;
  *first = '\0';
  do *--first = "0123456789abcdef"[number % 16];
  while ((number /= 16) != 0);
  *--first = 'x';
  *--first = '0';
  return add(first);
}

Text text_of(Rc rc) { return Text().add(name_of(rc)).add(" (").add(rc).add(")"); }

bool Checks::that(bool holds, const char* name, const char* otherwise) {
  platform_.result(full(name).c_str(), holds ? "" : otherwise);
  return holds;
}

bool Checks::equal(std::uint64_t found, std::uint64_t wanted, const char* name) {
  return that(found == wanted, name, Text().hex(found).add(", not ").hex(wanted).c_str());
}

bool Checks::answer(const char* name, Rc found, Rc strict, Rc qemu) {
  const Rc wanted = platform_.strict() ? strict : qemu;
  const Text other = Text().add(text_of(found).c_str()).add(", not ").add(text_of(wanted).c_str());
  that(found == wanted, name, other.c_str());
  if (strict != qemu) platform_.difference(full(name).c_str(), name_of(strict), name_of(qemu));
  return found == wanted;
}

bool Checks::count(const char* name, unsigned found, unsigned strict, unsigned qemu) {
  platform_.difference(full(name).c_str(), Text().add(std::int64_t{strict}).c_str(),
                       Text().add(std::int64_t{qemu}).c_str());
  return equal(found, platform_.strict() ? strict : qemu, name);
}

bool Checks::bits(const char* name, std::uint64_t found, std::uint8_t wanted) {
  const std::uint64_t other = std::uint64_t{wanted} << 56;
  platform_.difference(full(name).c_str(), Text().hex(wanted).c_str(),
                       Text().hex(other).add(" on a little-endian host").c_str());
  if (!platform_.strict() && found == other) found = wanted;
  return equal(found, wanted, name);
}

bool Checks::done(const WindowResult& result, const char* name) {
  return that(static_cast<bool>(result), name,
              Text().add(name_of(result.refusal)).add(", ").add(text_of(result.rc).c_str()).c_str());
}

bool Checks::refused(const WindowResult& result, Refusal wanted, const char* name) {
  return that(result.refusal == wanted, name,
              Text().add(name_of(result.refusal)).add(", not ").add(name_of(wanted)).c_str());
}

bool Checks::done(const RtasResult& result, const char* name) {
  return that(static_cast<bool>(result), name, Text().add("RTAS status ").add(result.status).c_str());
}

void Checks::skip(const char* name, const char* why) { platform_.skipped(full(name).c_str(), why); }

bool CountingPort::fails() {
  ++calls;
  return fail_from != 0 && calls >= fail_from && calls < fail_from + fail_times;
}

Rc CountingPort::hcall(Hcall op, const std::uint64_t* in, std::uint64_t* out) {
  if (op == Hcall::stuff_tce) ++stuffs;
  if (op == Hcall::put_tce) ++puts;
  const bool bad = fails();
  if (op == Hcall::stuff_tce && no_stuff) return kFunction;
  if (!bad) return under_.hcall(op, in, out);
  if (after_work) (void)under_.hcall(op, in, out);
  return failure;
}

Rc CountingPort::put_tce_list(Liobn liobn, Ioba ioba, const std::uint64_t* tces, std::size_t count) {
  ++lists;
  const bool bad = fails();
  if (no_lists) return kFunction;
  if (!bad) return under_.put_tce_list(liobn, ioba, tces, count);
  // Half done, as a list may be.
  if (after_work && count > 1) (void)under_.put_tce_list(liobn, ioba, tces, count / 2);
  return failure;
}

void fill(std::uint8_t* memory, std::size_t bytes, std::uint8_t seed) {
  for (std::size_t i = 0; i < bytes; ++i) memory[i] = static_cast<std::uint8_t>(seed + i * 7 + i / 256);
}

bool filled(const std::uint8_t* memory, std::size_t bytes, std::uint8_t seed) {
  const volatile std::uint8_t* seen = memory;
  for (std::size_t i = 0; i < bytes; ++i)
    if (seen[i] != static_cast<std::uint8_t>(seed + i * 7 + i / 256)) return false;
  return true;
}

bool all_zero(const std::uint8_t* memory, std::size_t bytes) {
  const volatile std::uint8_t* seen = memory;
  for (std::size_t i = 0; i < bytes; ++i)
    if (seen[i] != 0) return false;
  return true;
}

Probe::Probe(Platform& platform, Device& device)
    : platform_(platform), device_(device), page_(platform.memory(kPageSize, kPageSize)) {
  const WindowGeometry& window = device.window();
  page_ioba_ = window.first + ((window.entries - 1) << window.page_shift);
}

// The buffer is reached through a page of the probe's own, mapped by raw calls so
// that what is tested has no part in it.
void Probe::fill_buffer() {
  fill(page_, Device::kBufferBytes, ++seed_);
  (void)put_tce(platform_.raw(), device_.window().liobn.raw(), page_ioba_,
                platform_.real(page_).raw() | kTceRead);
  device_.read_memory(page_ioba_, 0, Device::kBufferBytes);
  (void)put_tce(platform_.raw(), device_.window().liobn.raw(), page_ioba_, 0);
}

const std::uint8_t* Probe::buffer() {
  (void)put_tce(platform_.raw(), device_.window().liobn.raw(), page_ioba_,
                platform_.real(page_).raw() | kTceWrite);
  device_.write_memory(page_ioba_, 0, Device::kBufferBytes);
  (void)put_tce(platform_.raw(), device_.window().liobn.raw(), page_ioba_, 0);
  return page_;
}

bool Probe::reads(Ioba from, const std::uint8_t* memory, std::size_t bytes) {
  fill_buffer();
  device_.read_memory(from, 0, bytes);
  const volatile std::uint8_t* seen = buffer();
  for (std::size_t i = 0; i < bytes; ++i)
    if (seen[i] != memory[i]) return false;
  return true;
}

bool Probe::writes(Ioba to, const std::uint8_t* memory, std::size_t bytes) {
  fill_buffer();
  device_.write_memory(to, 0, bytes);
  return filled(memory, bytes, seed_);
}

bool Probe::cannot_read(Ioba from, const std::uint8_t* memory, std::size_t bytes) {
  fill_buffer();
  device_.read_memory(from, 0, bytes);
  // What a stopped read leaves in a buffer is the device's affair; not the memory.
  const volatile std::uint8_t* seen = buffer();
  std::size_t same = 0;
  for (std::size_t i = 0; i < bytes; ++i) same += seen[i] == memory[i];
  return same < bytes / 8;
}

bool Probe::cannot_write(Ioba to, const std::uint8_t* memory, std::size_t bytes) {
  fill_buffer();
  const volatile std::uint8_t* seen = memory;
  std::uint64_t before = 0, after = 0;
  for (std::size_t i = 0; i < bytes; ++i) before = before * 31 + seen[i];
  device_.write_memory(to, 0, bytes);
  for (std::size_t i = 0; i < bytes; ++i) after = after * 31 + seen[i];
  return before == after && !filled(memory, bytes, seed_);
}

namespace {

Rc raw(Port& port, Hcall op, std::uint64_t liobn, Ioba ioba, std::uint64_t third, std::uint64_t fourth) {
  return call(port, op, liobn, ioba.raw(), third, fourth);
}

}  // namespace

Rc put_tce(Port& port, std::uint64_t liobn, Ioba ioba, std::uint64_t tce) {
  return raw(port, Hcall::put_tce, liobn, ioba, tce, 0);
}

Rc get_tce(Port& port, std::uint64_t liobn, Ioba ioba, std::uint64_t& tce) {
  const std::uint64_t in[kHcallRegisters] = {liobn, ioba.raw()};
  std::uint64_t out[kHcallRegisters] = {};
  const Rc rc = call(port, Hcall::get_tce, in, out);
  tce = rc == kSuccess ? out[0] : 0;
  return rc;
}

Rc stuff_tce(Port& port, std::uint64_t liobn, Ioba ioba, std::uint64_t tce, std::uint64_t count) {
  return raw(port, Hcall::stuff_tce, liobn, ioba, tce, count);
}

Rc put_tce_indirect(Port& port, std::uint64_t liobn, Ioba ioba, RealAddress list, std::uint64_t count) {
  return raw(port, Hcall::put_tce_indirect, liobn, ioba, list.raw(), count);
}

}  // namespace papr_suite
