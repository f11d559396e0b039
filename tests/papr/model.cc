// SPDX-License-Identifier: LGPL-2.1-or-later
// TCE tables and the calls on them, strict as PAPR lets a hypervisor be.
#include "tests/papr/model.h"

#include <cstdlib>
#include <cstring>

namespace papr_model {
namespace {

constexpr std::uint64_t kDefaultWindowBytes = std::uint64_t{1} << 30;
constexpr std::uint64_t kRights = kTceRead | kTceWrite;

std::uint64_t big_endian(const std::uint8_t* at) {
  std::uint64_t value = 0;
  for (int i = 0; i < 8; ++i) value = value << 8 | at[i];
  return value;
}

}  // namespace

Model::Model(const Options& options)
    : options_(options),
      memory_(static_cast<std::uint8_t*>(std::calloc(options.memory_bytes, 1)), &std::free),
      list_page_(nullptr),
      port_(*this),
      rtas_(*this) {
  list_page_ = take(kPageSize, kPageSize);
  for (unsigned i = 0; i < options.bridges; ++i) {
    const Buid buid((std::uint64_t{0x80000002} << 32) + i);
    bridges_.push_back(
        {buid, Liobn(0x80000000 + 0x100 * i), Liobn(0x80000001 + 0x100 * i), options.dynamic_windows});
    tables_[bridges_[i].default_window.raw()] = {buid, 0, kDefaultWindowBytes >> 12, 12, {}};
    tables_[bridges_[i].dynamic_window.raw()] = {buid, 0, 0, 12, {}};
    Function function;
    function.address = {buid, 0};
    functions_.push_back(function);
  }
  Function msix;
  msix.address = {bridges_[0].buid, 2 << 11};
  msix.msix = true;
  msix.vectors = 8;
  functions_.push_back(msix);
}

WindowGeometry Model::default_window(unsigned bridge) const {
  WindowGeometry geometry;
  geometry.liobn = bridges_[bridge].default_window;
  geometry.entries = kDefaultWindowBytes >> 12;
  return geometry;
}

std::uint8_t* Model::take(std::size_t bytes, std::size_t alignment) {
  taken_ = (taken_ + alignment - 1) / alignment * alignment;
  if (taken_ > options_.memory_bytes || options_.memory_bytes - taken_ < bytes) std::abort();
  std::uint8_t* at = memory_.get() + taken_;
  taken_ += bytes;
  return at;
}

RealAddress Model::real(const void* pointer) const {
  return RealAddress(static_cast<std::uint64_t>(static_cast<const std::uint8_t*>(pointer) - memory_.get()));
}

std::size_t Model::mapped() const {
  std::size_t found = 0;
  for (const auto& [liobn, table] : tables_) found += table.tces.size();
  return found;
}

const Table* Model::table(Liobn liobn) const {
  const auto found = tables_.find(liobn.raw());
  return found == tables_.end() ? nullptr : &found->second;
}

bool Model::dma(Buid bridge, std::uint64_t ioba, std::uint8_t* buffer, std::size_t bytes, bool write) {
  while (bytes != 0) {
    const std::uint64_t* tce = nullptr;
    unsigned shift = 12;
    for (const auto& [liobn, table] : tables_) {
      if (table.buid != bridge || table.entries == 0 || ioba < table.first) continue;
      const std::uint64_t index = (ioba - table.first) >> table.page_shift;
      if (index >= table.entries) continue;
      const auto entry = table.tces.find(index);
      if (entry != table.tces.end()) tce = &entry->second;
      shift = table.page_shift;
    }
    if (tce == nullptr || (*tce & (write ? kTceWrite : kTceRead)) == 0) return false;
    const std::uint64_t page_bytes = std::uint64_t{1} << shift;
    const std::uint64_t offset = ioba & (page_bytes - 1);
    const std::size_t part = std::min<std::uint64_t>(bytes, page_bytes - offset);
    std::uint8_t* memory = memory_.get() + ((*tce & ~(page_bytes - 1)) | offset);
    std::memcpy(write ? memory : buffer, write ? buffer : memory, part);
    ioba += part;
    buffer += part;
    bytes -= part;
  }
  return true;
}

void Model::fail_hcall(unsigned nth, Rc rc, unsigned times, bool done) {
  hcall_failure_ = {nth, times, rc, done};
}

void Model::fail_rtas(unsigned nth, RtasStatus status, unsigned times) {
  rtas_failure_ = {nth, times, status, false};
}

bool Model::Failure::now() {
  if (nth == 0) return false;
  if (nth > 1) {
    --nth;
    return false;
  }
  if (--times == 0) nth = 0;
  return true;
}

unsigned Model::hcalls(Hcall op) const {
  const auto found = by_op_.find(op);
  return found == by_op_.end() ? 0 : found->second;
}

void Model::forget_counts() {
  hcalls_ = rtas_calls_ = 0;
  waited_ = 0;
  by_op_.clear();
}

Rc Model::ModelPort::put_tce_list(Liobn liobn, Ioba ioba, const std::uint64_t* tces, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i)
    for (unsigned byte = 0; byte < 8; ++byte)
      model_.list_page_[8 * i + byte] = static_cast<std::uint8_t>(tces[i] >> (56 - 8 * byte));
  const std::uint64_t in[kHcallRegisters] = {liobn.raw(), ioba.raw(), model_.real(model_.list_page_).raw(),
                                             count};
  std::uint64_t out[kHcallRegisters];
  return hcall(Hcall::put_tce_indirect, in, out);
}

Rc Model::hcall(Hcall op, const std::uint64_t* in, std::uint64_t* out) {
  ++hcalls_;
  ++by_op_[op];
  std::uint64_t arguments[kHcallRegisters];
  std::copy(in, in + kHcallRegisters, arguments);
  // Registers that a call does not answer in hold nothing of use.
  std::fill(out, out + kHcallRegisters, 0xdeaddeaddeaddead);
  const bool fails = hcall_failure_.now();
  if (fails && !hcall_failure_.done) return hcall_failure_.answer;
  const Rc rc = answer(op, arguments, out);
  return fails ? Rc{hcall_failure_.answer} : rc;
}

Rc Model::answer(Hcall op, const std::uint64_t* in, std::uint64_t* out) {
  switch (op) {
    case Hcall::get_tce:
      return get_tce(in, out);
    case Hcall::put_tce:
      return put_tce(in);
    case Hcall::put_tce_indirect:
      return options_.lists ? put_tce_indirect(in) : kFunction;
    case Hcall::stuff_tce:
      return options_.stuff ? stuff_tce(in) : kFunction;
    case Hcall::eoi:
    case Hcall::cppr:
    case Hcall::ipoll:
    case Hcall::xirr:
      return options_.xive ? kFunction : xics(op, in, out);
    case Hcall::int_get_source_info:
    case Hcall::int_set_source_config:
    case Hcall::int_get_source_config:
    case Hcall::int_set_queue_config:
    case Hcall::int_get_queue_config:
    case Hcall::int_esb:
    case Hcall::int_sync:
      return exploitation_ ? xive(op, in, out) : kFunction;
    case Hcall::client_architecture_support:
      return client_architecture_support(in);
    default:
      return kFunction;
  }
}

Table* Model::find(std::uint64_t liobn) {
  if (liobn >> 32 != 0) return nullptr;
  const auto found = tables_.find(static_cast<std::uint32_t>(liobn));
  return found == tables_.end() || found->second.entries == 0 ? nullptr : &found->second;
}

Rc Model::index_of(const Table& table, std::uint64_t ioba, std::uint64_t count, std::uint64_t& index) const {
  if ((ioba & ((std::uint64_t{1} << table.page_shift) - 1)) != 0 || ioba < table.first) return kParameter;
  index = (ioba - table.first) >> table.page_shift;
  return index < table.entries && count <= table.entries - index ? kSuccess : kParameter;
}

Rc Model::check_tce(const Table& table, std::uint64_t tce) const {
  const std::uint64_t page_bytes = std::uint64_t{1} << table.page_shift;
  if ((tce & kRights) == 0) return kSuccess;  // whatever else it holds, it maps nothing
  if ((tce & (page_bytes - 1) & ~kRights) != 0) return kParameter;
  const std::uint64_t page = tce & ~(page_bytes - 1);
  return page < options_.memory_bytes && options_.memory_bytes - page >= page_bytes ? kSuccess : kParameter;
}

void Model::enter(Table& table, std::uint64_t index, std::uint64_t tce) {
  if ((tce & kRights) == 0)
    table.tces.erase(index);
  else
    table.tces[index] = tce;
}

Rc Model::get_tce(const std::uint64_t* in, std::uint64_t* out) {
  const Table* table = find(in[0]);
  std::uint64_t index;
  if (table == nullptr || index_of(*table, in[1], 1, index) != kSuccess) return kParameter;
  const auto entry = table->tces.find(index);
  out[0] = entry == table->tces.end() ? 0 : entry->second;
  return kSuccess;
}

Rc Model::put_tce(const std::uint64_t* in) {
  Table* table = find(in[0]);
  std::uint64_t index;
  if (table == nullptr || index_of(*table, in[1], 1, index) != kSuccess) return kParameter;
  if (check_tce(*table, in[2]) != kSuccess) return kParameter;
  enter(*table, index, in[2]);
  return kSuccess;
}

Rc Model::put_tce_indirect(const std::uint64_t* in) {
  Table* table = find(in[0]);
  std::uint64_t index;
  const std::uint64_t list = in[2], count = in[3];
  if (table == nullptr || count == 0 || count > kTcesPerCall || (list & (kPageSize - 1)) != 0 ||
      list >= options_.memory_bytes || options_.memory_bytes - list < kPageSize)
    return kParameter;
  if (index_of(*table, in[1], count, index) != kSuccess) return kParameter;
  for (std::uint64_t i = 0; i < count; ++i)
    if (check_tce(*table, big_endian(memory_.get() + list + 8 * i)) != kSuccess) return kParameter;
  for (std::uint64_t i = 0; i < count; ++i)
    enter(*table, index + i, big_endian(memory_.get() + list + 8 * i));
  return kSuccess;
}

Rc Model::stuff_tce(const std::uint64_t* in) {
  Table* table = find(in[0]);
  std::uint64_t index;
  const std::uint64_t count = in[3];
  // Only for emptying, as KVM has it.
  if (table == nullptr || count == 0 || count > kTcesPerCall || (in[2] & kRights) != 0) return kParameter;
  if (index_of(*table, in[1], count, index) != kSuccess) return kParameter;
  for (std::uint64_t i = 0; i < count; ++i) enter(*table, index + i, in[2]);
  return kSuccess;
}

}  // namespace papr_model
