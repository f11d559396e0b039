// SPDX-License-Identifier: LGPL-2.1-or-later
// The NVM command set: data against the backing, PRPs, errors.
#include <fcntl.h>

#include "tests/unit/model_nvme_rig.h"

namespace pviommu::model::nvme::test {
namespace {

class NvmeIo : public testing::Test {
 protected:
  explicit NvmeIo(const Options& options = {}, Backing backing = {}) : rig_(options, std::move(backing)) {
    rig_.enable();
    q_ = rig_.create_pair(1, 64);
  }
  std::uint16_t status(const Command& command) { return status_of(rig_.send(q_, command)); }
  std::uint64_t syncs() { return rig_.controller().counters().syncs; }
  void set_write_cache(bool on) {
    Command command = Rig::make(AdminOpcode::set_features);
    command.cdw10 = 6;
    command.cdw11 = on ? 1 : 0;
    EXPECT_EQ(status_of(rig_.admin(command)), 0);
  }
  void put_list(std::uint64_t at, std::initializer_list<std::uint64_t> entries) {
    for (const std::uint64_t entry : entries) {
      std::memcpy(rig_.bus.at(at), &entry, 8);
      at += 8;
    }
  }
  Rig rig_;
  QueuePair q_;
};

TEST_F(NvmeIo, WritesAndReadsAtAllSizesAndOffsets) {
  unsigned seed = 0;
  for (const std::uint32_t blocks : {1u, 7u, 8u, 9u, 15u, 16u, 17u, 24u, 100u, 1024u, 4095u, 4096u}) {
    for (const std::uint32_t offset : {0u, 4u, 512u, 4092u}) {
      SCOPED_TRACE(testing::Message() << blocks << " blocks at offset " << offset);
      const std::size_t bytes = blocks * 512;
      const std::uint64_t from = Rig::kData + offset;
      const std::uint64_t to = Rig::kData + 0x300000 + (4096 - offset) % 4096;
      rig_.fill(from, bytes, ++seed);
      Command write = Rig::make_io(IoOpcode::write, seed, blocks);
      rig_.point(write, from, bytes);
      ASSERT_EQ(status(write), 0);
      EXPECT_EQ(rig_.backing(seed * 512, bytes), rig_.memory(from, bytes));
      Command read = Rig::make_io(IoOpcode::read, seed, blocks);
      rig_.point(read, to, bytes);
      rig_.fill(to - 8, bytes + 16, 99);
      const auto before = rig_.memory(to - 8, 8);
      const auto after = rig_.memory(to + bytes, 8);
      ASSERT_EQ(status(read), 0);
      EXPECT_EQ(rig_.memory(to, bytes), rig_.memory(from, bytes));
      EXPECT_EQ(rig_.memory(to - 8, 8), before);
      EXPECT_EQ(rig_.memory(to + bytes, 8), after);
    }
  }
}

TEST_F(NvmeIo, NeighboursGoInOneCall) {
  Command command = Rig::make_io(IoOpcode::write, 0, 4096);
  rig_.point(command, Rig::kData, 2 << 20);
  unsigned before = rig_.bus.file_calls;
  ASSERT_EQ(status(command), 0);
  EXPECT_EQ(rig_.bus.file_calls - before, 1u);
  // Two pieces: 1 + 2 pages, one elsewhere.
  put_list(Rig::kListPage, {Rig::kData + 0x1000, Rig::kData + 0x2000, Rig::kData + 0x9000});
  before = rig_.bus.file_calls;
  ASSERT_EQ(status(Rig::make_io(IoOpcode::write, 0, 32, Rig::kData, Rig::kListPage)), 0);
  EXPECT_EQ(rig_.bus.file_calls - before, 2u);
}

TEST_F(NvmeIo, FollowsScatteredAndChainedLists) {
  // Pages backwards; the first list begins 3 entries before the end of its page.
  constexpr std::uint64_t kFirst = Rig::kListPage + 4096 - 24;
  constexpr std::uint64_t kSecond = Rig::kListPage - 0x4000;
  const auto page = [](unsigned i) { return Rig::kData + (40 - i) * 0x2000ull; };
  put_list(kFirst, {page(1), page(2), kSecond});
  put_list(kSecond, {page(3), page(4), page(5), page(6)});
  for (unsigned i = 0; i < 7; ++i) rig_.fill(page(i), 4096, i + 1);
  ASSERT_EQ(status(Rig::make_io(IoOpcode::write, 16, 7 * 8, page(0), kFirst)), 0);
  for (unsigned i = 0; i < 7; ++i)
    EXPECT_EQ(rig_.backing(16 * 512 + i * 4096, 4096), rig_.memory(page(i), 4096)) << i;
  // When the rest fits exactly the last entry is data, not a pointer.
  put_list(kFirst, {page(4), page(5), page(6)});
  ASSERT_EQ(status(Rig::make_io(IoOpcode::read, 16, 4 * 8, page(3), kFirst)), 0);
  EXPECT_EQ(rig_.memory(page(6), 4096), rig_.backing(16 * 512 + 3 * 4096, 4096));
}

TEST_F(NvmeIo, UsesTheProgramsPageSize) {
  rig_.disable();
  rig_.enable(32, Rig::kCc | 4 << 7);  // 64 KiB; the admin queues lie so
  EXPECT_EQ(status_of(rig_.admin(Rig::make_create_cq(1, 8, Rig::kIo))), field(StatusCode::success));
  EXPECT_EQ(status_of(rig_.admin(Rig::make_create_sq(1, 8, Rig::kIo + 0x1000, 1))),
            field(StatusCode::invalid_prp_offset));
  EXPECT_EQ(status_of(rig_.admin(Rig::make_create_sq(1, 8, Rig::kIo + 0x10000, 1))), 0);
  std::memset(rig_.bus.at(Rig::kIo), 0, 128);
  q_ = {1, 8, Rig::kIo + 0x10000, Rig::kIo, 0, 0, true};
  rig_.fill(Rig::kData, 0x20000, 5);
  // 64 KiB from the middle of one page into the next: no list.
  ASSERT_EQ(status(Rig::make_io(IoOpcode::write, 0, 128, Rig::kData + 0x8000, Rig::kData + 0x10000)), 0);
  EXPECT_EQ(rig_.backing(0, 0x10000), rig_.memory(Rig::kData + 0x8000, 0x10000));
}

TEST_F(NvmeIo, RefusesMisplacedPrps) {
  const auto bad = field(StatusCode::invalid_prp_offset);
  EXPECT_EQ(status(Rig::make_io(IoOpcode::read, 0, 1, Rig::kData + 2)), bad);
  EXPECT_EQ(status(Rig::make_io(IoOpcode::read, 0, 16, Rig::kData, Rig::kData + 0x1004)), bad);
  EXPECT_EQ(status(Rig::make_io(IoOpcode::read, 0, 24, Rig::kData, Rig::kListPage + 4)), bad);
  put_list(Rig::kListPage, {Rig::kData + 0x1000, Rig::kData + 0x2200});
  EXPECT_EQ(status(Rig::make_io(IoOpcode::read, 0, 24, Rig::kData, Rig::kListPage)), bad);
  put_list(Rig::kListPage + 4088, {Rig::kListPage + 0x1008});
  EXPECT_EQ(status(Rig::make_io(IoOpcode::read, 0, 24, Rig::kData, Rig::kListPage + 4088)), bad)
      << "only the first list may begin inside a page";
  EXPECT_EQ(rig_.bus.faults, 0u);
}

TEST(NvmePrp, TheLastPageHasNoNeighbour) {
  PrpWalker walker([](Iova, std::span<std::byte>) { return Status(Error{EFAULT, "no list"}); });
  ASSERT_EQ(walker.walk(0xffffffffffffe000, 0xfffffffffffff000, 8192, 12), StatusCode::success);
  EXPECT_EQ(walker.extents().size(), 1u);
  ASSERT_EQ(walker.walk(0xfffffffffffff000, 0, 8192, 12), StatusCode::success);
  EXPECT_EQ(walker.extents().size(), 2u);
}

TEST_F(NvmeIo, FaultsAreTransferErrors) {
  const auto bad = field(StatusCode::data_transfer_error);
  EXPECT_EQ(status(Rig::make_io(IoOpcode::read, 0, 1, 0x1000)), bad);
  EXPECT_EQ(status(Rig::make_io(IoOpcode::write, 0, 1, 0xfffffffffffff000)), bad);
  EXPECT_EQ(status(Rig::make_io(IoOpcode::write, 0, 16, 0xfffffffffffff000, 0)), bad);
  EXPECT_EQ(status(Rig::make_io(IoOpcode::read, 0, 24, Rig::kData, 0x2000)), bad) << "list";
  rig_.bus.protect(Rig::kData, Access::read);
  EXPECT_EQ(status(Rig::make_io(IoOpcode::read, 0, 1, Rig::kData)), bad);
  EXPECT_EQ(status(Rig::make_io(IoOpcode::write, 0, 1, Rig::kData)), 0);
  rig_.bus.protect(Rig::kData, Access::write);
  EXPECT_EQ(status(Rig::make_io(IoOpcode::write, 0, 1, Rig::kData)), bad);
  EXPECT_EQ(status(Rig::make_io(IoOpcode::compare, 0, 1, Rig::kData)), bad);
  EXPECT_EQ(status(Rig::make_io(IoOpcode::read, 0, 1, Rig::kData)), 0);
  EXPECT_EQ(rig_.read32(reg::kCsts), csts::kReady);
}

TEST_F(NvmeIo, KnowsTheEndOfTheNamespace) {
  const auto bad = field(StatusCode::lba_out_of_range);
  constexpr std::uint64_t kEnd = (8 << 20) / 512;
  for (const IoOpcode opcode : {IoOpcode::read, IoOpcode::write, IoOpcode::compare, IoOpcode::write_zeroes}) {
    SCOPED_TRACE(static_cast<unsigned>(opcode));
    rig_.fill(Rig::kData, 4096, 1);
    EXPECT_EQ(status(Rig::make_io(opcode, kEnd, 1, Rig::kData)), bad);
    EXPECT_EQ(status(Rig::make_io(opcode, kEnd - 1, 2, Rig::kData)), bad);
    EXPECT_EQ(status(Rig::make_io(opcode, ~std::uint64_t{0}, 1, Rig::kData)), bad);
    EXPECT_EQ(status(Rig::make_io(opcode, std::uint64_t{1} << 55, 1, Rig::kData)), bad);
    EXPECT_NE(status(Rig::make_io(opcode, kEnd - 1, 1, Rig::kData)), bad);
  }
  EXPECT_EQ(status(Rig::make_io(IoOpcode::read, 0, 4097, Rig::kData)), field(StatusCode::invalid_field)) << "MDTS";
}

TEST_F(NvmeIo, RefusesWhatItDoesNotKnow) {
  for (const unsigned opcode : {0x04u, 0x0cu, 0x0du, 0x11u, 0x80u, 0xffu}) {
    Command command = Rig::make_io(static_cast<IoOpcode>(opcode), 0, 1, Rig::kData);
    EXPECT_EQ(status(command), field(StatusCode::invalid_opcode)) << opcode;
  }
  for (const std::uint32_t nsid : {0u, 2u, kAllNamespaces}) {
    Command command = Rig::make_io(IoOpcode::read, 0, 1, Rig::kData);
    command.nsid = nsid;
    EXPECT_EQ(status(command), field(StatusCode::invalid_namespace));
    command.opcode = static_cast<std::uint8_t>(IoOpcode::flush);
    EXPECT_EQ(status(command), nsid == kAllNamespaces ? 0 : field(StatusCode::invalid_namespace));
  }
  Command command = Rig::make_io(IoOpcode::read, 0, 1, Rig::kData);
  for (const std::uint8_t flags : {0x40, 0x80, 0xc0, 0x01, 0x02}) {
    command.flags = flags;
    EXPECT_EQ(status(command), field(StatusCode::invalid_field));
  }
}

TEST_F(NvmeIo, ErrorsSayWhetherToRetry) {
  EXPECT_TRUE(status(Rig::make_io(IoOpcode::read, 1 << 30, 1, Rig::kData)) & kDoNotRetry);
  EXPECT_FALSE(status(Rig::make_io(IoOpcode::read, 0, 1, 0x1000)) & kDoNotRetry);
}

TEST_F(NvmeIo, OneSyncServesABurst) {
  Command force = Rig::make_io(IoOpcode::write, 0, 1, Rig::kData);
  const Command plain = force;
  force.cdw12 |= 1u << 30;
  auto before = syncs();
  EXPECT_EQ(status(plain), 0);
  EXPECT_EQ(syncs(), before);
  EXPECT_EQ(status(force), 0);
  EXPECT_EQ(syncs(), before + 1);
  EXPECT_EQ(status(Rig::make_io(IoOpcode::flush, 0, 1)), 0);
  EXPECT_EQ(syncs(), before + 2);
  set_write_cache(false);
  before = syncs();
  for (unsigned i = 0; i < 8; ++i) rig_.push(q_, plain);
  rig_.ring(q_);
  rig_.settle();
  EXPECT_EQ(syncs(), before + 1);
  for (unsigned i = 0; i < 8; ++i) EXPECT_TRUE(rig_.reap(q_));
  set_write_cache(true);
  before = syncs();
  EXPECT_EQ(status(plain), 0);
  EXPECT_EQ(syncs(), before);
}

TEST_F(NvmeIo, ZeroesAndDeallocates) {
  rig_.fill(Rig::kData, 16384, 1);
  Command write = Rig::make_io(IoOpcode::write, 0, 32);
  rig_.point(write, Rig::kData, 16384);
  const std::vector<char> zeroes(4096);
  for (const bool deallocate : {false, true}) {
    ASSERT_EQ(status(write), 0);
    Command zero = Rig::make_io(IoOpcode::write_zeroes, 8, 8);
    zero.cdw12 |= deallocate ? 1u << 25 : 0;
    ASSERT_EQ(status(zero), 0);
    EXPECT_EQ(rig_.backing(4096, 4096), zeroes);
    EXPECT_EQ(rig_.backing(0, 4096), rig_.memory(Rig::kData, 4096));
    EXPECT_EQ(rig_.backing(8192, 8192), rig_.memory(Rig::kData + 8192, 8192));
  }
  ASSERT_EQ(status(write), 0);
  const DatasetRange ranges[2] = {{0, 8, 0}, {0, 8, 24}};
  std::memcpy(rig_.bus.at(Rig::kData + 0x10ff0), ranges, sizeof(ranges));  // crosses a page
  Command manage = Rig::make_io(IoOpcode::dataset_management, 0, 1, Rig::kData + 0x10ff0, Rig::kData + 0x11000);
  manage.cdw10 = 1;
  ASSERT_EQ(status(manage), 0) << "a hint only";
  EXPECT_EQ(rig_.backing(0, 16384), rig_.memory(Rig::kData, 16384));
  manage.cdw11 = 4;
  ASSERT_EQ(status(manage), 0);
  EXPECT_EQ(rig_.backing(0, 4096), zeroes);
  EXPECT_EQ(rig_.backing(4096, 8192), rig_.memory(Rig::kData + 4096, 8192));
  EXPECT_EQ(rig_.backing(12288, 4096), zeroes);
  // All ranges are checked before the first is touched.
  ASSERT_EQ(status(write), 0);
  const DatasetRange beyond[2] = {{0, 8, 0}, {0, 2, (8 << 20) / 512 - 1}};
  std::memcpy(rig_.bus.at(Rig::kData + 0x10ff0), beyond, sizeof(beyond));
  EXPECT_EQ(status(manage), field(StatusCode::lba_out_of_range));
  EXPECT_EQ(rig_.backing(0, 4096), rig_.memory(Rig::kData, 4096));
}

TEST_F(NvmeIo, Compares) {
  rig_.fill(Rig::kData, 8192, 1);
  ASSERT_EQ(status(Rig::make_io(IoOpcode::write, 0, 16, Rig::kData, Rig::kData + 4096)), 0);
  const Command compare = Rig::make_io(IoOpcode::compare, 0, 16, Rig::kData, Rig::kData + 4096);
  EXPECT_EQ(status(compare), 0);
  *rig_.bus.at(Rig::kData + 8191) ^= std::byte{1};
  EXPECT_EQ(status(compare), field(StatusCode::compare_failure));
}

class NvmeReadOnly : public NvmeIo {
 protected:
  NvmeReadOnly() : NvmeIo(options()) {}
  static Options options() {
    Options options;
    options.read_only = true;
    return options;
  }
};

TEST_F(NvmeReadOnly, RefusesEveryChange) {
  const auto bad = field(StatusCode::write_protected);
  EXPECT_EQ(status(Rig::make_io(IoOpcode::read, 0, 1, Rig::kData)), 0);
  EXPECT_EQ(status(Rig::make_io(IoOpcode::write, 0, 1, Rig::kData)), bad);
  EXPECT_EQ(status(Rig::make_io(IoOpcode::write_zeroes, 0, 1)), bad);
  EXPECT_EQ(status(Rig::make_io(IoOpcode::dataset_management, 0, 1, Rig::kData)), bad);
  EXPECT_EQ(status(Rig::make_io(IoOpcode::flush, 0, 1)), 0);
  Command identify = Rig::make(AdminOpcode::identify, Rig::kData);
  identify.nsid = 1;
  EXPECT_EQ(status_of(rig_.admin(identify)), 0);
  EXPECT_EQ(rig_.bus.get<std::uint8_t>(Rig::kData + 99), 1) << "NSATTR";
}

class NvmeBigBlocks : public NvmeIo {
 protected:
  NvmeBigBlocks() : NvmeIo(options()) {}
  static Options options() {
    Options options;
    options.lba = 4096;
    return options;
  }
};

TEST_F(NvmeBigBlocks, CountsInItsOwnBlocks) {
  rig_.fill(Rig::kData, 8192, 4);
  ASSERT_EQ(status(Rig::make_io(IoOpcode::write, 3, 2, Rig::kData, Rig::kData + 4096)), 0);
  EXPECT_EQ(rig_.backing(3 * 4096, 8192), rig_.memory(Rig::kData, 8192));
  EXPECT_EQ(status(Rig::make_io(IoOpcode::read, 2048, 1, Rig::kData)), field(StatusCode::lba_out_of_range));
  EXPECT_EQ(status(Rig::make_io(IoOpcode::read, 2047, 1, Rig::kData)), 0);
  EXPECT_EQ(status(Rig::make_io(IoOpcode::read, 0, 513, Rig::kData)), field(StatusCode::invalid_field));
}

TEST(NvmeMedium, FileErrorsAreNotTransferErrors) {
  // A file that shrank under the controller: reads come short.
  char path[] = "/tmp/pviommu-nvme-XXXXXX";
  const int fd = ::mkstemp(path);
  ASSERT_EQ(::ftruncate(fd, 1 << 20), 0);
  auto backing = Backing::open_file(path, false, 512);
  ASSERT_TRUE(backing) << to_string(backing.error());
  Rig rig({}, *std::move(backing));
  ::unlink(path);
  rig.enable();
  QueuePair q = rig.create_pair(1, 8);
  EXPECT_EQ(status_of(rig.send(q, Rig::make_io(IoOpcode::write, 4, 1, Rig::kData))), 0);
  EXPECT_EQ(status_of(rig.send(q, Rig::make_io(IoOpcode::flush, 0, 1))), 0);
  ASSERT_EQ(::ftruncate(fd, 0), 0);
  EXPECT_EQ(status_of(rig.send(q, Rig::make_io(IoOpcode::read, 4, 1, Rig::kData))),
            field(StatusCode::unrecovered_read));
  EXPECT_EQ(status_of(rig.send(q, Rig::make_io(IoOpcode::compare, 4, 1, Rig::kData))),
            field(StatusCode::unrecovered_read));
  EXPECT_EQ(rig.read32(reg::kCsts), csts::kReady);
  ::close(fd);
}

}  // namespace
}  // namespace pviommu::model::nvme::test
