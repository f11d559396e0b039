// SPDX-License-Identifier: LGPL-2.1-or-later
// A partition's hypervisor in this process, for tests: TCE tables, dynamic windows,
// MSI by RTAS, XICS and XIVE as far as the suite goes.
//
// Strict: where PAPR lets a hypervisor refuse, it does, and a refused call changed
// nothing.  Calls are counted and can be told to fail.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "hypercall/papr/core/rtas.h"
#include "hypercall/papr/core/tce_window.h"

namespace papr_model {

using namespace pviommu;
using namespace pviommu::papr;

struct Table {
  Buid buid;
  std::uint64_t first = 0;
  std::uint64_t entries = 0;  ///< 0: there is no such window now
  unsigned page_shift = 12;
  std::map<std::uint64_t, std::uint64_t> tces;  ///< by index, empty ones left out
};

struct Function {
  PciAddress address;
  bool msix = false;          ///< else MSI
  std::uint32_t vectors = 1;  ///< that it has
  std::uint32_t granted = 0;
  std::uint32_t first_source = 0;
  std::uint64_t message_address = 0;
  std::uint32_t message_data = 0;
};

struct Bridge {
  Buid buid;
  Liobn default_window;
  Liobn dynamic_window;
  bool dynamic = true;
};

/// What both interrupt controllers know of a source.
struct Source {
  std::uint32_t server = 0;
  std::uint8_t priority = 0xff;
  std::uint8_t saved_priority = 0xff;
  bool held = false;         ///< XICS: an edge that came while masked
  unsigned pq = 1;           ///< XIVE: P << 1 | Q
  bool routed = false;       ///< XIVE
  std::uint32_t number = 0;  ///< XIVE
};

struct Queue {
  std::uint64_t at = 0;
  unsigned shift = 0;  ///< 0: none
  std::uint32_t offset = 0;
  std::uint32_t generation = 1;
};

class Model {
 public:
  struct Options {
    unsigned bridges = 2;
    bool dynamic_windows = true;
    bool xive = false;  ///< the machine has XIVE, else XICS
    std::uint64_t memory_bytes = std::uint64_t{160} << 20;
    bool lists = true;  ///< there is H_PUT_TCE_INDIRECT
    bool stuff = true;
  };
  explicit Model(const Options& options);

  Port& port() { return port_; }
  RtasPort& rtas() { return rtas_; }
  const Options& options() const { return options_; }
  const std::vector<Bridge>& bridges() const { return bridges_; }
  /// The one with MSI of each bridge, and one with MSI-X behind the first.
  Function& function(unsigned bridge) { return functions_[bridge]; }
  Function& msix_function() { return functions_.back(); }
  WindowGeometry default_window(unsigned bridge) const;

  /// Memory of the partition: real addresses are offsets.
  std::uint8_t* take(std::size_t bytes, std::size_t alignment);
  RealAddress real(const void* pointer) const;
  std::uint64_t memory_bytes() const { return options_.memory_bytes; }

  /// A function behind the bridge reads or writes; false where it was stopped, and
  /// nothing behind that place is touched.
  bool dma(Buid bridge, std::uint64_t ioba, std::uint8_t* buffer, std::size_t bytes, bool write);
  /// A message with this data arrives.
  void message(std::uint32_t data);
  /// Entries with a right in all windows.
  std::size_t mapped() const;
  /// The first such entry of another value than `expected` allows; for tests.
  const Table* table(Liobn liobn) const;

  /// The `nth` hcall from now on (1: the next), and `times` - 1 after it, answer `rc`,
  /// before or (`done`) after the work.
  void fail_hcall(unsigned nth, Rc rc, unsigned times = 1, bool done = false);
  void fail_rtas(unsigned nth, RtasStatus status, unsigned times = 1);
  unsigned hcalls() const { return hcalls_; }
  unsigned hcalls(Hcall op) const;
  unsigned rtas_calls() const { return rtas_calls_; }
  void forget_counts();
  std::uint64_t waited() const { return waited_; }

 private:
  class ModelPort final : public Port {
   public:
    explicit ModelPort(Model& model) : model_(model) {}
    Rc hcall(Hcall op, const std::uint64_t* in, std::uint64_t* out) override {
      return model_.hcall(op, in, out);
    }
    Rc put_tce_list(Liobn liobn, Ioba ioba, const std::uint64_t* tces, std::size_t count) override;
    void wait(std::uint32_t milliseconds) override { model_.waited_ += milliseconds; }

   private:
    Model& model_;
  };
  class ModelRtas final : public RtasPort {
   public:
    explicit ModelRtas(Model& model) : model_(model) {}
    RtasStatus rtas(RtasCall call, const std::uint32_t* in, std::size_t ins, std::uint32_t* out,
                    std::size_t outs) override;
    void wait(std::uint32_t milliseconds) override { model_.waited_ += milliseconds; }

   private:
    Model& model_;
  };
  struct Failure {
    unsigned nth = 0;  ///< counts down; 0: none
    unsigned times = 0;
    std::int64_t answer = 0;
    bool done = false;
    /// Whether the call that is made now fails.
    bool now();
  };

  Rc hcall(Hcall op, const std::uint64_t* in, std::uint64_t* out);
  Rc answer(Hcall op, const std::uint64_t* in, std::uint64_t* out);
  // model.cc
  Table* find(std::uint64_t liobn);
  Rc index_of(const Table& table, std::uint64_t ioba, std::uint64_t count, std::uint64_t& index) const;
  Rc check_tce(const Table& table, std::uint64_t tce) const;
  void enter(Table& table, std::uint64_t index, std::uint64_t tce);
  Rc get_tce(const std::uint64_t* in, std::uint64_t* out);
  Rc put_tce(const std::uint64_t* in);
  Rc put_tce_indirect(const std::uint64_t* in);
  Rc stuff_tce(const std::uint64_t* in);
  // model_rtas.cc
  using Cells = std::span<const std::uint32_t>;
  RtasStatus rtas(RtasCall call, Cells in, std::span<std::uint32_t> out);
  Bridge* bridge_of(Cells in);
  Function* function_of(Cells in);
  unsigned active_windows(const Bridge& bridge) const;
  RtasStatus query_window(Cells in, std::span<std::uint32_t> out);
  RtasStatus create_window(Cells in, std::span<std::uint32_t> out);
  RtasStatus remove_window(Cells in);
  RtasStatus reset_windows(Cells in);
  RtasStatus change_msi(Cells in, std::span<std::uint32_t> out);
  RtasStatus query_source(Cells in, std::span<std::uint32_t> out);
  RtasStatus xics_source(RtasCall call, Cells in, std::span<std::uint32_t> out);
  // model_interrupts.cc
  Source* source(std::uint64_t lisn);
  void present(std::uint32_t lisn);
  void xics_trigger(std::uint32_t lisn);
  std::uint32_t pending() const;
  Rc xics(Hcall op, const std::uint64_t* in, std::uint64_t* out);
  void xive_trigger(std::uint32_t lisn);
  void xive_notify(const Source& source);
  Rc xive(Hcall op, const std::uint64_t* in, std::uint64_t* out);
  Rc set_queue(const std::uint64_t* in);
  Rc esb(const std::uint64_t* in, std::uint64_t* out);
  Rc client_architecture_support(const std::uint64_t* in);

  const Options options_;
  std::unique_ptr<std::uint8_t[], void (*)(void*)> memory_;
  std::uint64_t taken_ = 0x10000;  // so that no address handed out is 0
  std::uint8_t* list_page_;
  ModelPort port_;
  ModelRtas rtas_;
  std::vector<Bridge> bridges_;
  std::vector<Function> functions_;
  std::map<std::uint32_t, Table> tables_;
  std::map<std::uint32_t, Source> sources_;
  std::uint32_t next_source_ = 0x1300;
  bool exploitation_ = false;

  std::uint8_t cppr_ = 0;
  std::set<std::uint32_t> presented_;  ///< XICS: waiting for H_XIRR
  std::map<unsigned, Queue> queues_;   ///< XIVE: by priority, of the one server 0

  Failure hcall_failure_, rtas_failure_;
  unsigned hcalls_ = 0, rtas_calls_ = 0;
  std::map<Hcall, unsigned> by_op_;
  std::uint64_t waited_ = 0;
};

}  // namespace papr_model
