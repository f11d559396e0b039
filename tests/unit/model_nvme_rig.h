// SPDX-License-Identifier: LGPL-2.1-or-later
// An NVMe controller on a bus of pages, and a driver that sends it commands.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "hypercall/model/nvme/controller.h"
#include "tests/unit/model_test_bus.h"

namespace pviommu::model::nvme::test {

using model::test::Stepper;

/// Pages at [kBase, kBase + bytes), each with its own access rights.
class PagedBus final : public Bus {
 public:
  static constexpr std::uint64_t kBase = 0x100000;
  explicit PagedBus(std::size_t bytes) : words_(bytes / 8), access_(bytes / kPageSize) {
    for (auto& access : access_) access.store(Access::read_write);
  }

  std::byte* at(std::uint64_t iova) { return reinterpret_cast<std::byte*>(words_.data()) + (iova - kBase); }
  std::uint64_t end() const { return kBase + words_.size() * 8; }
  template <class T>
  T get(std::uint64_t iova) {
    return std::atomic_ref<T>(*reinterpret_cast<T*>(at(iova))).load(std::memory_order_acquire);
  }
  void protect(std::uint64_t iova, Access access) { access_[(iova - kBase) / kPageSize].store(access); }

  Status read(Sbdf, Iova iova, std::span<std::byte> out) override {
    ++reads;
    return walk(iova, out.size(), Access::read, [&](std::byte* memory, std::size_t done, std::size_t bytes) {
      copy_in(out.data() + done, memory, bytes);
      return Status();
    });
  }
  Status write(Sbdf, Iova iova, std::span<const std::byte> in) override {
    ++writes;
    const Status status =
        walk(iova, in.size(), Access::write, [&](std::byte* memory, std::size_t done, std::size_t bytes) {
          copy_out(memory, in.data() + done, bytes);
          return Status();
        });
    if (on_write) on_write(iova.raw(), in.size());
    return status;
  }
  Status read_to_file(Sbdf, Iova iova, std::size_t bytes, int fd, std::uint64_t offset) override {
    ++file_calls;
    return walk(iova, bytes, Access::read, [&](std::byte* memory, std::size_t done, std::size_t n) -> Status {
      if (::pwrite(fd, memory, n, static_cast<off_t>(offset + done)) != static_cast<ssize_t>(n))
        return Error{EIO, "pwrite"};
      return {};
    });
  }
  Status write_from_file(Sbdf, Iova iova, std::size_t bytes, int fd, std::uint64_t offset) override {
    ++file_calls;
    return walk(iova, bytes, Access::write, [&](std::byte* memory, std::size_t done, std::size_t n) -> Status {
      if (::pread(fd, memory, n, static_cast<off_t>(offset + done)) != static_cast<ssize_t>(n))
        return Error{EIO, "pread"};
      return {};
    });
  }
  void message(Sbdf, std::uint64_t, std::uint32_t data) override {
    std::lock_guard guard(lock_);
    messages_.push_back(data);
  }
  std::vector<std::uint32_t> take_messages() {
    std::lock_guard guard(lock_);
    return std::exchange(messages_, {});
  }
  void bus_master_off(Sbdf, Iova, Access) override { ++master_off; }
  void intx(Sbdf, bool asserted) override { line.store(asserted); }

  std::function<void(std::uint64_t iova, std::size_t bytes)> on_write;
  std::atomic<unsigned> reads{0}, writes{0}, file_calls{0}, faults{0}, master_off{0};
  std::atomic<bool> line{false};
  /// A doorbell in a mapping orders the program's stores for the controller, but
  /// ThreadSanitizer does not see that two mappings are one word.
  std::atomic<unsigned> doorbells{0};

 private:
  // The halves of completions are looked at by another thread in some tests.
  static void copy_in(std::byte* to, std::byte* from, std::size_t bytes) {
    if (reinterpret_cast<std::uintptr_t>(from) % 8 != 0 || bytes % 8 != 0) {
      std::memcpy(to, from, bytes);
      return;
    }
    for (std::size_t i = 0; i < bytes; i += 8) {
      const std::uint64_t v =
          std::atomic_ref<std::uint64_t>(*reinterpret_cast<std::uint64_t*>(from + i)).load();
      std::memcpy(to + i, &v, 8);
    }
  }
  static void copy_out(std::byte* to, const std::byte* from, std::size_t bytes) {
    if (reinterpret_cast<std::uintptr_t>(to) % 8 != 0 || bytes % 8 != 0) {
      std::memcpy(to, from, bytes);
      return;
    }
    for (std::size_t i = 0; i < bytes; i += 8) {
      std::uint64_t v;
      std::memcpy(&v, from + i, 8);
      std::atomic_ref<std::uint64_t>(*reinterpret_cast<std::uint64_t*>(to + i)).store(v);
    }
  }
  template <class Piece>
  Status walk(Iova iova, std::size_t bytes, Access wanted, Piece piece) {
    (void)doorbells.load();
    for (std::size_t done = 0; done < bytes;) {
      const std::uint64_t address = iova.raw() + done;
      if (address < kBase || address >= end() ||
          !allows(access_[(address - kBase) / kPageSize].load(), wanted)) {
        ++faults;
        return Error{EFAULT, "not mapped"};
      }
      const std::size_t n = std::min<std::size_t>(bytes - done, kPageSize - address % kPageSize);
      PVIOMMU_TRY(piece(at(address), done, n));
      done += n;
    }
    return {};
  }

  std::vector<std::uint64_t> words_;
  std::vector<std::atomic<Access>> access_;
  std::mutex lock_;
  std::vector<std::uint32_t> messages_;
};

/// The program's end of a queue pair.
struct QueuePair {
  unsigned qid = 0;
  std::uint32_t entries = 0;
  std::uint64_t sq = 0;
  std::uint64_t cq = 0;
  std::uint32_t tail = 0;
  std::uint32_t head = 0;
  bool phase = true;
};

enum class Way { trap, mapped };

class Rig {
 public:
  static constexpr std::uint64_t kAdminSq = PagedBus::kBase;
  static constexpr std::uint64_t kAdminCq = PagedBus::kBase + 0x10000;
  static constexpr std::uint64_t kIo = PagedBus::kBase + 0x20000;     ///< 128 KiB a pair
  static constexpr std::uint64_t kData = PagedBus::kBase + 0x100000;  ///< 7 MiB
  static constexpr std::uint64_t kListPage = PagedBus::kBase + 0xf0000;

  explicit Rig(Options options = {}, Backing backing = {}, Way way = Way::trap) : way_(way) {
    if (!backing) {
      options.size = options.size == 64 << 20 ? 8 << 20 : options.size;
      backing = Backing::memory(options.size, options.read_only, options.lba).value();
    }
    fd_ = backing.fd();
    controller_ = std::make_unique<Controller>(bus, make_sbdf(0, 0, 5, 0), options, std::move(backing));
    controller_->config_write(model::test::kCommand, 2,
                              model::test::kCommandMemory | model::test::kCommandMaster);
    if (way_ == Way::mapped) {
      map_ = static_cast<std::byte*>(::mmap(nullptr, kBarBytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                                            controller_->bar_mapping(0).value().fd, 0));
      controller_->bar_mapped(0, true);
    }
  }
  ~Rig() {
    controller_.reset();
    if (map_ != nullptr) ::munmap(map_, kBarBytes);
  }

  Controller& controller() { return *controller_; }
  int fd() const { return fd_; }
  bool settle() { return threaded ? true : Stepper::settle(*controller_); }

  void write32(std::uint64_t offset, std::uint32_t value) {
    if (map_ == nullptr) {
      controller_->bar_write(0, offset, 4, value);
    } else {
      ++bus.doorbells;
      RegisterFile(map_).store32(offset, value);
    }
  }
  std::uint32_t read32(std::uint64_t offset) {
    return map_ == nullptr ? static_cast<std::uint32_t>(controller_->bar_read(0, offset, 4))
                           : RegisterFile(map_).load32(offset);
  }
  void write64(std::uint64_t offset, std::uint64_t value) {
    write32(offset, static_cast<std::uint32_t>(value));
    write32(offset + 4, static_cast<std::uint32_t>(value >> 32));
  }

  bool wait_csts(std::uint32_t mask, std::uint32_t value) {
    for (unsigned i = 0; i < 20000; ++i) {
      if ((read32(reg::kCsts) & mask) == value) return true;
      if (threaded) {
        ::usleep(100);
      } else {
        Stepper::step(*controller_);
      }
    }
    return false;
  }

  static constexpr std::uint32_t kCc = cc::kEnable | kSqeShift << 16 | kCqeShift << 20;
  void enable(std::uint32_t entries = 32, std::uint32_t value = kCc) {
    admin_ = {0, entries, kAdminSq, kAdminCq, 0, 0, true};
    std::memset(bus.at(kAdminCq), 0, 0x1000);
    write32(reg::kAqa, (entries - 1) << 16 | (entries - 1));
    write64(reg::kAsq, kAdminSq);
    write64(reg::kAcq, kAdminCq);
    write32(reg::kCc, value);
    ASSERT_TRUE(wait_csts(csts::kReady, csts::kReady));
  }
  void disable() {
    write32(reg::kCc, 0);
    ASSERT_TRUE(wait_csts(csts::kReady, 0));
  }

  /// Puts a command into the ring; ring() tells the controller.
  void push(QueuePair& q, const Command& command) {
    std::memcpy(bus.at(q.sq + q.tail * sizeof(Command)), &command, sizeof(command));
    q.tail = (q.tail + 1) % q.entries;
  }
  void ring(QueuePair& q) { write32(RegisterFile::sq_doorbell(q.qid), q.tail); }
  std::optional<Completion> peek(QueuePair& q) {
    const std::uint64_t at = q.cq + q.head * sizeof(Completion);
    const auto high = bus.get<std::uint64_t>(at + 8);
    if ((high >> 48 & 1) != (q.phase ? 1u : 0u)) return std::nullopt;
    Completion entry;
    const auto low = bus.get<std::uint64_t>(at);
    std::memcpy(&entry, &low, 8);
    std::memcpy(reinterpret_cast<char*>(&entry) + 8, &high, 8);
    return entry;
  }
  /// Takes a completion; the doorbell is written unless told not to.
  std::optional<Completion> reap(QueuePair& q, bool doorbell = true) {
    const auto entry = peek(q);
    if (!entry) return entry;
    if (++q.head == q.entries) {
      q.head = 0;
      q.phase = !q.phase;
    }
    if (doorbell) write32(RegisterFile::cq_doorbell(q.qid), q.head);
    return entry;
  }
  /// One command, to its end.  Status 0xffff: no completion came.
  Completion send(QueuePair& q, Command command) {
    if (command.cid == 0) command.cid = ++cid_;
    push(q, command);
    ring(q);
    std::optional<Completion> entry;
    for (unsigned i = 0; i < 50000 && !entry; ++i) {
      if (!threaded) settle();
      entry = reap(q);
      if (!entry && !threaded) break;
      if (!entry) ::usleep(20);
    }
    if (!entry) {
      Completion none{};
      none.status = 0xffff;
      return none;
    }
    EXPECT_EQ(entry->cid, command.cid);
    EXPECT_EQ(entry->sq_id, q.qid);
    settle();
    return *entry;
  }
  Completion admin(const Command& command) { return send(admin_, command); }
  QueuePair& admin_queue() { return admin_; }

  static Command make(std::uint8_t opcode, std::uint64_t prp1 = 0, std::uint64_t prp2 = 0) {
    Command command{};
    command.opcode = opcode;
    command.prp1 = prp1;
    command.prp2 = prp2;
    return command;
  }
  static Command make(AdminOpcode opcode, std::uint64_t prp1 = 0, std::uint64_t prp2 = 0) {
    return make(static_cast<std::uint8_t>(opcode), prp1, prp2);
  }
  static Command make_io(IoOpcode opcode, std::uint64_t lba, std::uint32_t blocks, std::uint64_t prp1 = 0,
                         std::uint64_t prp2 = 0) {
    Command command = make(static_cast<std::uint8_t>(opcode), prp1, prp2);
    command.nsid = kNamespace;
    command.cdw10 = static_cast<std::uint32_t>(lba);
    command.cdw11 = static_cast<std::uint32_t>(lba >> 32);
    command.cdw12 = blocks - 1;
    return command;
  }
  static Command make_create_cq(unsigned qid, std::uint32_t entries, std::uint64_t base, unsigned vector = 0,
                                std::uint32_t flags = 3) {
    Command command = make(AdminOpcode::create_cq, base);
    command.cdw10 = (entries - 1) << 16 | qid;
    command.cdw11 = vector << 16 | flags;
    return command;
  }
  static Command make_create_sq(unsigned qid, std::uint32_t entries, std::uint64_t base, unsigned cqid,
                                std::uint32_t flags = 1) {
    Command command = make(AdminOpcode::create_sq, base);
    command.cdw10 = (entries - 1) << 16 | qid;
    command.cdw11 = cqid << 16 | flags;
    return command;
  }
  QueuePair create_pair(unsigned qid, std::uint32_t entries, unsigned vector = 0, std::uint32_t flags = 3) {
    QueuePair q{qid, entries, kIo + (qid - 1) * 0x20000ull, kIo + (qid - 1) * 0x20000ull + 0x10000, 0, 0, true};
    std::memset(bus.at(q.cq), 0, entries * sizeof(Completion));
    EXPECT_EQ(admin(make_create_cq(qid, entries, q.cq, vector, flags)).status >> 1, 0);
    EXPECT_EQ(admin(make_create_sq(qid, entries, q.sq, qid)).status >> 1, 0);
    return q;
  }

  /// PRPs for `bytes` at `iova`, contiguous; lists go to kListPage.
  void point(Command& command, std::uint64_t iova, std::size_t bytes) {
    command.prp1 = iova;
    const std::size_t first = std::min<std::size_t>(bytes, 4096 - iova % 4096);
    const std::uint64_t next = iova + first;
    const std::size_t left = bytes - first;
    if (left == 0) return;
    if (left <= 4096) {
      command.prp2 = next;
      return;
    }
    command.prp2 = kListPage;
    for (std::size_t i = 0; i * 4096 < left; ++i) {
      const std::uint64_t entry = next + i * 4096;
      std::memcpy(bus.at(kListPage + i * 8), &entry, 8);
    }
  }

  std::vector<char> backing(std::uint64_t offset, std::size_t bytes) const {
    std::vector<char> data(bytes);
    EXPECT_EQ(::pread(fd_, data.data(), bytes, static_cast<off_t>(offset)), static_cast<ssize_t>(bytes));
    return data;
  }
  std::vector<char> memory(std::uint64_t iova, std::size_t bytes) {
    const char* from = reinterpret_cast<const char*>(bus.at(iova));
    return std::vector<char>(from, from + bytes);
  }
  void fill(std::uint64_t iova, std::size_t bytes, unsigned seed) {
    char* to = reinterpret_cast<char*>(bus.at(iova));
    std::uint32_t x = seed * 2654435761u + 1;
    for (std::size_t i = 0; i < bytes; ++i) {
      x = x * 1664525 + 1013904223;
      to[i] = static_cast<char>(x >> 24);
    }
  }
  void enable_msix(unsigned vectors) {
    const std::size_t msix = model::test::find_capability(*controller_, 0x11);
    for (unsigned i = 0; i < vectors; ++i) {
      controller_->program_message(VectorKind::msix, i, 0xfee00000, 0x40 + i);
      controller_->mask_message(VectorKind::msix, i, false);
    }
    controller_->config_write(msix + 2, 2, 0x8000);
  }

  PagedBus bus{8 << 20};
  bool threaded = false;

 private:
  Way way_;
  int fd_ = -1;
  std::unique_ptr<Controller> controller_;
  std::byte* map_ = nullptr;
  QueuePair admin_;
  std::uint16_t cid_ = 0;
};

/// What a completion says, without the phase tag.
inline std::uint16_t status_of(const Completion& entry) { return entry.status >> 1; }
inline std::uint16_t field(StatusCode code) { return status_field(code); }

}  // namespace pviommu::model::nvme::test
