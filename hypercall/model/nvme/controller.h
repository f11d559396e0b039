// SPDX-License-Identifier: LGPL-2.1-or-later
// An NVM Express 1.4 controller with one namespace.
//
//   registers   controller.cc        enable, disable, shutdown, doorbells, INTx
//   queues      execution.cc         fetch, complete, interrupt, errors, events
//   admin       admin.cc             queue creation, features, abort
//   answers     identify.cc          Identify and log pages
//   I/O         io.cc                read, write and the rest of the NVM command set
//
// Commands are executed by the function's thread, one after the other; the data
// goes straight between the backing file and the program's memory.  A write is
// completed when it is in the page cache, or on stable storage if the program
// asked for it (FUA, or write cache disabled); one fdatasync serves all the
// commands of a burst that wait for it.
//
// Doorbells of a mapped BAR are watched.  Where a mapping's accesses to the other
// registers are not trapped they are watched as well, with the limits that has: CC
// toggled faster than CSTS.RDY is waited for is not seen, INTMC reads 0 in the
// mapping, and of INTMS and INTMC written in quick succession the clearing
// counts as the later one (an interrupt too many, never one too few).
#pragma once

#include <array>
#include <deque>
#include <string>
#include <vector>

#include "hypercall/conf.h"
#include "hypercall/model/nvme/backing.h"
#include "hypercall/model/nvme/prp.h"
#include "hypercall/model/nvme/queue.h"
#include "hypercall/model/nvme/registers.h"
#include "hypercall/model/nvme/spec.h"
#include "hypercall/model/pci/pci_function.h"

namespace pviommu::model::nvme {

struct Options {
  std::string file;                 ///< empty: memory
  std::uint64_t size = 64 << 20;    ///< bytes of memory
  bool read_only = false;
  std::string serial = "pviommu-1";
  unsigned queues = 16;             ///< I/O queue pairs
  unsigned vectors = 65;            ///< MSI-X
  unsigned lba = 512;               ///< bytes of a block

  /// Keys file, size, readonly, serial, queues, vectors, lba.  EINVAL:
  /// something is out of range; the rest shows in conf.finish().
  static Result<Options> from(ConfReader& conf);
};

class Controller final : public PciFunction {
 public:
  Controller(Bus& bus, Sbdf sbdf, const Options& options, Backing backing);
  ~Controller() override;

  /// Since construction.  Any thread.
  struct Counters {
    std::uint64_t commands = 0;           ///< executed, admin and I/O
    std::uint64_t failures = 0;           ///< completed with an error status
    std::uint64_t syncs = 0;              ///< fdatasync
    std::uint64_t invalid_doorbells = 0;  ///< no such queue, or no such entry
    std::uint64_t fatal = 0;              ///< times CSTS.CFS was set
  };
  Counters counters();

 private:
  enum class State : std::uint8_t { disabled, ready, failed };

  /// How a command went.  `held`: no completion now (Asynchronous Event Request).
  struct Outcome {
    StatusCode status = StatusCode::success;
    std::uint32_t result = 0;
    bool held = false;
    bool needs_sync = false;  ///< complete after the data is on stable storage
    Outcome() = default;
    Outcome(StatusCode code) : status(code) {}  // implicit: `return StatusCode::...;`
  };
  struct Event {
    std::uint8_t type;
    std::uint8_t info;
    LogPage page;
  };

  // ---- PciFunction
  std::uint64_t mmio_read(unsigned bar, std::uint64_t offset, unsigned width) override;
  void mmio_write(unsigned bar, std::uint64_t offset, unsigned width, std::uint64_t value) override;
  void device_reset() override;
  bool poll() override;

  // ---- registers
  void add_power_management();
  void write_register(std::uint64_t offset, unsigned width, std::uint64_t value);
  void write_doorbell(std::uint64_t offset, unsigned width, std::uint64_t value);
  bool observe_registers();
  void observe_interrupt_masks();
  void restore_read_only();
  bool observe_doorbells();
  void change_interrupt_mask(std::uint32_t mask);
  void set_csts(std::uint32_t value);
  bool configuration_valid() const;
  void enable();
  void disable();
  void shut_down();
  void forget_everything();
  void clear_doorbells();
  void update_intx();

  // ---- queues
  bool run_queues();
  unsigned run_burst(SubmissionQueue& sq);
  Completion completion_of(const SubmissionQueue& sq, const Command& command, const Outcome& outcome);
  /// The entries come without phase tags; there must be room.  False: failed fatally.
  bool post(CompletionQueue& cq, std::span<Completion> entries);
  void log_error(const SubmissionQueue& sq, const Command& command, StatusCode code);
  void signal(CompletionQueue& cq);
  void fail_fatally();
  void add_event(ErrorEvent event);
  void add_event(Event event);
  /// The temperature is beyond a threshold.
  bool warns_of_temperature() const;
  /// Reports that, if the program wants to know.
  void report_temperature();
  bool post_events();
  Outcome execute(const SubmissionQueue& sq, const Command& command);

  // ---- admin
  Outcome execute_admin(const Command& command);
  Outcome create_cq(const Command& command);
  Outcome create_sq(const Command& command);
  Outcome delete_cq(const Command& command);
  Outcome delete_sq(const Command& command);
  Outcome abort(const Command& command);
  Outcome hold_event_request(const Command& command);
  Outcome get_features(const Command& command);
  Outcome set_features(const Command& command);
  std::uint32_t default_feature(Feature feature) const;
  void reset_features();
  bool valid_queue_size(std::uint32_t entries) const;

  // ---- answers
  Outcome identify(const Command& command);
  Outcome get_log_page(const Command& command);
  IdentifyController describe_controller() const;
  IdentifyNamespace describe_namespace() const;
  SmartLog describe_health() const;
  FirmwareLog describe_firmware() const;
  StatusCode answer(const Command& command, std::span<const std::byte> data);

  // ---- I/O
  Outcome execute_io(const Command& command);
  Outcome read(const Command& command);
  Outcome write(const Command& command);
  Outcome compare(const Command& command);
  Outcome write_zeroes(const Command& command);
  Outcome manage_dataset(const Command& command);
  StatusCode check_range(std::uint64_t slba, std::uint64_t blocks) const;
  StatusCode find_data(const Command& command, std::size_t& bytes);
  bool write_cache() const { return feature(Feature::volatile_write_cache) & 1; }
  std::uint32_t feature(Feature which) const { return features_[static_cast<unsigned>(which)]; }

  static constexpr unsigned kBurst = 16;             // commands of a queue before the next one's turn
  static constexpr std::size_t kBytesPerPoll = 4 << 20;
  static constexpr unsigned kEventRequests = 4;
  static constexpr unsigned kErrorLogEntries = 16;
  static constexpr unsigned kEventsKept = 16;

  const Options options_;
  Backing backing_;
  const unsigned lba_shift_;
  RegisterFile registers_;
  PrpWalker prps_;

  State state_ = State::disabled;
  std::uint32_t cc_ = 0;    ///< as last acted upon
  std::uint32_t csts_ = 0;
  std::uint32_t interrupt_mask_ = 0;
  unsigned page_shift_ = 12;

  std::vector<SubmissionQueue> sqs_;  ///< by queue identifier
  std::vector<CompletionQueue> cqs_;
  unsigned queue_limit_ = 1;  ///< no live queue from here on
  unsigned next_sq_ = 0;      ///< whose turn it is
  std::size_t bytes_moved_ = 0;  ///< in this poll
  unsigned burst_entries_ = 0;   ///< completion entries the running burst may still need

  std::array<std::uint32_t, kFeatures> features_{};
  std::uint32_t under_temperature_ = 0;
  std::vector<bool> coalescing_disabled_;  ///< by vector
  std::vector<std::uint16_t> event_requests_;  ///< command identifiers held
  std::deque<Event> events_;
  std::uint32_t masked_event_types_ = 0;  ///< reported, and their log not read yet
  std::array<ErrorLogEntry, kErrorLogEntries> error_log_{};
  std::uint64_t errors_logged_ = 0;

  SmartLog health_{};
  std::uint64_t bytes_read_ = 0;
  std::uint64_t bytes_written_ = 0;
  Counters counters_;
};

}  // namespace pviommu::model::nvme
