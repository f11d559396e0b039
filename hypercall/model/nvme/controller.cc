// SPDX-License-Identifier: LGPL-2.1-or-later
// Registers and the controller's states (NVMe 1.4, 3.1, 7.6).  A register may be written
// through a mapping at any time, so each observe_*() compares the memory of the BAR with what
// the controller knows and treats a difference as the write.
//
//   CC.EN 0 -> 1   enable()      CSTS.RDY 1
//   CC.EN 1 -> 0   disable()     all queues gone, CSTS.RDY 0
//   CC.SHN         shut_down()   written data on stable storage, then CSTS.SHST 2
#include "hypercall/model/nvme/controller.h"

#include <memory>
#include <string_view>

#include "hypercall/model/devices/device_factory.h"

namespace pviommu::model {

Result<std::unique_ptr<PciFunction>> make_nvme(Bus& bus, Sbdf sbdf, ConfReader& conf) {
  const nvme::Options options = PVIOMMU_TRY(nvme::Options::from(conf));
  nvme::Backing backing =
      PVIOMMU_TRY(options.file.empty() ? nvme::Backing::memory(options.size, options.read_only, options.lba)
                                       : nvme::Backing::open_file(options.file, options.read_only, options.lba));
  return std::unique_ptr<PciFunction>(std::make_unique<nvme::Controller>(bus, sbdf, options, std::move(backing)));
}

namespace nvme {
namespace {

FunctionIdentity make_identity() {
  FunctionIdentity id;
  id.vendor = 0x1b36;
  id.device = 0x0010;
  id.subsystem_vendor = 0x1af4;
  id.subsystem_device = 0x1100;
  id.class_code = 0x010802;
  id.revision = 2;
  id.express = true;
  id.flr = true;
  id.description = "NVM Express controller";
  return id;
}

Error wrong(const std::string& what) { return Error{EINVAL, "nvme"}.with_sentence(what); }

/// A number from 1 to `most`.
Result<unsigned> count_from(ConfReader& conf, std::string_view key, unsigned fallback, unsigned most) {
  const std::uint64_t value = conf.size(key, fallback);
  if (value >= 1 && value <= most) return static_cast<unsigned>(value);
  return wrong(std::string(key) + "=" + std::to_string(value) + " is not between 1 and " + std::to_string(most));
}

}  // namespace

Result<Options> Options::from(ConfReader& conf) {
  Options options;
  options.file = conf.text("file", "");
  constexpr std::uint64_t kNotGiven = ~std::uint64_t{0};
  const std::uint64_t size = conf.size("size", kNotGiven);
  if (size != kNotGiven) {
    options.size = size;
    if (!options.file.empty()) return wrong("file= and size= exclude each other; a file is as large as it is");
  }
  options.read_only = conf.flag("readonly", options.read_only);
  options.serial = conf.text("serial", options.serial);
  if (options.serial.size() > sizeof(IdentifyController::sn))
    return wrong("serial=" + options.serial + " is longer than 20 characters");
  options.queues = PVIOMMU_TRY(count_from(conf, "queues", options.queues, kMostQueues));
  options.vectors = PVIOMMU_TRY(count_from(conf, "vectors", options.vectors, kMostVectors));
  options.lba = conf.choice("lba", "512", {"512", "4096"}) == "4096" ? 4096 : 512;
  return options;
}

Controller::Controller(Bus& bus, Sbdf sbdf, const Options& options, Backing backing)
    : PciFunction(bus, sbdf, make_identity()),
      options_(options),
      backing_(std::move(backing)),
      lba_shift_(options.lba == 4096 ? 12 : 9),
      prps_([this](Iova iova, std::span<std::byte> out) { return dma_read(iova, out); }),
      sqs_(options.queues + 1),
      cqs_(options.queues + 1),
      coalescing_disabled_(options.vectors) {
  BarOptions bar;
  bar.is_64bit = true;
  bar.mappable = true;
  bar.direct_offset = reg::kDoorbells;
  bar.direct_bytes = kDoorbellBytes;
  add_bar(0, kBarBytes, bar);
  // Where QEMU's controller has them.
  add_msix(options.vectors, 0, kMsixTableOffset, 0, kMsixPbaOffset);
  next_capability_at(0x80);
  add_express();
  next_capability_at(0x60);
  add_power_management();
  set_interrupt_pin(1);
  registers_ = RegisterFile(bar_memory(0));
  health_.power_cycles.low = 1;
  device_reset();
}

Controller::~Controller() { stop(); }

// PCI Bus Power Management Interface 1.2, 3.2: D0 and D3hot, no wake-up; the way back
// to D0 resets nothing (No_Soft_Reset).
void Controller::add_power_management() {
  static constexpr std::array<std::uint8_t, 6> kBody{0x03, 0x00, 0x08};
  static constexpr std::array<std::uint8_t, 6> kWritable{0x00, 0x00, 0x03};
  add_capability(0x01, kBody, kWritable);
}

Controller::Counters Controller::counters() {
  std::lock_guard guard(lock());
  return counters_;
}

// ---- access by the program --------------------------------------------------

std::uint64_t Controller::mmio_read(unsigned, std::uint64_t offset, unsigned width) {
  observe_registers();  // the program may have stored through a mapping just before
  const std::uint64_t word = offset & ~std::uint64_t{3};
  if (word == reg::kIntms || (word == reg::kIntmc && width <= 4)) {
    const std::uint64_t value = interrupt_mask_ >> (8 * (offset & 3));
    return width == 1 ? value & 0xff : width == 2 ? value & 0xffff : value;
  }
  if (word == reg::kIntmc) return interrupt_mask_ | std::uint64_t{cc_} << 32;
  if (offset >= kRegisterBytes) return 0;
  return registers_.load(offset, width);
}

void Controller::mmio_write(unsigned, std::uint64_t offset, unsigned width, std::uint64_t value) {
  if (offset >= kRegisterBytes) return;
  // 3.1: a 64-bit access is as good as its halves in ascending order.
  if (width == 8) {
    write_register(offset, 4, value & 0xffffffff);
    write_register(offset + 4, 4, value >> 32);
  } else {
    write_register(offset, width, value);
  }
  update_intx();
  kick();
}

void Controller::write_register(std::uint64_t offset, unsigned width, std::uint64_t value) {
  if (offset >= reg::kDoorbells) {
    write_doorbell(offset, width, value);
    return;
  }
  switch (offset & ~std::uint64_t{3}) {
    case reg::kIntms:
      change_interrupt_mask(interrupt_mask_ | static_cast<std::uint32_t>(value << (8 * (offset & 3))));
      break;
    case reg::kIntmc:
      change_interrupt_mask(interrupt_mask_ & ~static_cast<std::uint32_t>(value << (8 * (offset & 3))));
      break;
    case reg::kCc:
    case reg::kAqa:
    case reg::kAsq:
    case reg::kAsq + 4:
    case reg::kAcq:
    case reg::kAcq + 4:
      registers_.store(offset, width, value);
      break;
    default:
      break;  // read only or reserved
  }
  observe_registers();
}

void Controller::write_doorbell(std::uint64_t offset, unsigned width, std::uint64_t value) {
  const auto index = static_cast<unsigned>((offset - reg::kDoorbells) / 4);
  const unsigned qid = index / 2;
  const bool known = qid < sqs_.size() && (index % 2 == 0 ? sqs_[qid].live : cqs_[qid].live);
  if (!known || offset % 4 != 0 || width == 1) {
    add_event(ErrorEvent::invalid_doorbell_register);
    return;
  }
  registers_.store32(offset, static_cast<std::uint32_t>(value));
  observe_doorbells();
}

// ---- what the memory of the BAR says ----------------------------------------

bool Controller::observe_registers() {
  restore_read_only();
  observe_interrupt_masks();
  const std::uint32_t value = registers_.load32(reg::kCc);
  if (value == cc_) return false;
  const std::uint32_t before = cc_;
  cc_ = value;
  const bool was_enabled = (before & cc::kEnable) != 0;
  const bool is_enabled = (value & cc::kEnable) != 0;
  if (!was_enabled && is_enabled) enable();
  if (was_enabled && !is_enabled) disable();
  if (cc::shutdown(value) != 0 && cc::shutdown(before) == 0) shut_down();
  if (cc::shutdown(value) == 0 && cc::shutdown(before) != 0) set_csts(csts_ & ~csts::kShutdownMask);
  return true;
}

void Controller::restore_read_only() {
  if (registers_.load64(reg::kCap) != kCapValue) registers_.store(reg::kCap, 8, kCapValue);
  if (registers_.load32(reg::kVs) != kVersion) registers_.store32(reg::kVs, kVersion);
  if (registers_.load32(reg::kCsts) != csts_) registers_.store32(reg::kCsts, csts_);
}

void Controller::observe_interrupt_masks() {
  const std::uint32_t set = registers_.load32(reg::kIntms);
  std::uint32_t mask = interrupt_mask_ | set;
  // A word that holds 0 shows every store, also one of the bits that are set already.
  if (registers_.load32(reg::kIntmc) != 0) mask &= ~registers_.exchange32(reg::kIntmc, 0);
  interrupt_mask_ = mask;
  // Lost against another store: it is looked at next time.
  if (set != mask) registers_.replace32(reg::kIntms, set, mask);
}

void Controller::change_interrupt_mask(std::uint32_t mask) {
  interrupt_mask_ = mask;
  registers_.store32(reg::kIntms, mask);
}

bool Controller::observe_doorbells() {
  bool changed = false;
  for (unsigned qid = 0; qid < queue_limit_; ++qid) {
    if (SubmissionQueue& sq = sqs_[qid]; sq.live) {
      const std::uint32_t value = registers_.load32(RegisterFile::sq_doorbell(qid));
      if (value != sq.doorbell) {
        sq.doorbell = value;
        changed = true;
        if (!sq.set_tail(value & 0xffff)) add_event(ErrorEvent::invalid_doorbell_value);
      }
    }
    if (CompletionQueue& cq = cqs_[qid]; cq.live) {
      const std::uint32_t value = registers_.load32(RegisterFile::cq_doorbell(qid));
      if (value != cq.doorbell) {
        cq.doorbell = value;
        changed = true;
        if (!cq.set_head(value & 0xffff)) add_event(ErrorEvent::invalid_doorbell_value);
      }
    }
  }
  return changed;
}

bool Controller::poll() {
  bool worked = observe_registers();
  if (state_ == State::ready) worked |= observe_doorbells();
  // While bus mastering is off nothing can be fetched; commands wait.
  if (state_ == State::ready && bus_master()) {
    worked |= post_events();
    worked |= run_queues();
  }
  update_intx();
  return worked;
}

// 7.5.1.1: the pin is asserted while an unmasked queue holds entries that the
// program has not consumed.
void Controller::update_intx() {
  bool level = false;
  if (state_ == State::ready && uses_intx()) {
    for (unsigned qid = 0; qid < queue_limit_ && !level; ++qid) {
      const CompletionQueue& cq = cqs_[qid];
      const bool masked = cq.vector < 32 && (interrupt_mask_ >> cq.vector & 1) != 0;
      level = cq.live && cq.interrupts && !masked && cq.used() != 0;
    }
  }
  set_intx(level);
}

// ---- enable, disable, shut down ---------------------------------------------

void Controller::set_csts(std::uint32_t value) {
  csts_ = value;
  registers_.store32(reg::kCsts, value);
}

bool Controller::configuration_valid() const {
  const std::uint32_t aqa = registers_.load32(reg::kAqa);
  const std::uint64_t offset_mask = (std::uint64_t{1} << cc::page_shift(cc_)) - 1;
  return cc::page_shift(cc_) <= kLargestPageShift && cc::command_set(cc_) == 0 && cc::arbitration(cc_) == 0 &&
         (aqa & 0xfff) != 0 && (aqa >> 16 & 0xfff) != 0 && (registers_.load64(reg::kAsq) & offset_mask) == 0 &&
         (registers_.load64(reg::kAcq) & offset_mask) == 0;
}

void Controller::enable() {
  if (!configuration_valid()) {
    fail_fatally();
    return;
  }
  page_shift_ = cc::page_shift(cc_);
  clear_doorbells();
  const std::uint32_t aqa = registers_.load32(reg::kAqa);
  SubmissionQueue& sq = sqs_[0];
  sq.live = true;
  sq.base = Iova(registers_.load64(reg::kAsq));
  sq.size = (aqa & 0xfff) + 1;
  CompletionQueue& cq = cqs_[0];
  cq.live = true;
  cq.base = Iova(registers_.load64(reg::kAcq));
  cq.size = (aqa >> 16 & 0xfff) + 1;
  cq.interrupts = true;
  cq.users = 1;
  state_ = State::ready;
  set_csts(csts::kReady);
}

void Controller::disable() {
  forget_everything();
  set_csts(0);
}

// 7.6.2: what was written is safe when the processing is reported complete.
void Controller::shut_down() {
  ++counters_.syncs;
  if (!backing_.sync()) ++health_.media_errors.low;
  set_csts((csts_ & ~csts::kShutdownMask) | csts::kShutdownComplete);
}

// 7.3.2: what a controller level reset forgets.  AQA, ASQ and ACQ survive it.
void Controller::forget_everything() {
  state_ = State::disabled;
  for (unsigned qid = 0; qid < sqs_.size(); ++qid) {
    sqs_[qid] = {};
    sqs_[qid].id = static_cast<std::uint16_t>(qid);
    cqs_[qid] = {};
    cqs_[qid].id = static_cast<std::uint16_t>(qid);
  }
  queue_limit_ = 1;
  next_sq_ = 0;
  event_requests_.clear();
  events_.clear();
  masked_event_types_ = 0;
  registers_.store32(reg::kIntmc, 0);
  change_interrupt_mask(0);
  reset_features();
}

void Controller::clear_doorbells() {
  for (unsigned qid = 0; qid < sqs_.size(); ++qid) registers_.store(RegisterFile::sq_doorbell(qid), 8, 0);
}

void Controller::device_reset() {
  forget_everything();
  clear_doorbells();
  for (std::uint64_t offset = 0; offset < reg::kEnd; offset += 8) registers_.store(offset, 8, 0);
  cc_ = 0;
  set_csts(0);
  restore_read_only();
}

}  // namespace nvme
}  // namespace pviommu::model
