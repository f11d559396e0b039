// SPDX-License-Identifier: LGPL-2.1-or-later
// Admin commands of the NVMe controller.
#include <string>

#include "tests/unit/model_nvme_rig.h"

namespace pviommu::model::nvme::test {
namespace {

class NvmeAdmin : public testing::Test {
 protected:
  NvmeAdmin() : rig_(options()) { rig_.enable(); }
  static Options options() {
    Options options;
    options.queues = 4;
    options.vectors = 5;
    options.serial = "unit-7";
    return options;
  }
  std::uint16_t status(const Command& command) { return status_of(rig_.admin(command)); }
  Command identify(Cns cns, std::uint32_t nsid, std::uint64_t at = Rig::kData) {
    Command command = Rig::make(AdminOpcode::identify, at);
    command.cdw10 = static_cast<std::uint32_t>(cns);
    command.nsid = nsid;
    return command;
  }
  Completion feature(AdminOpcode opcode, std::uint32_t cdw10, std::uint32_t cdw11 = 0) {
    Command command = Rig::make(opcode);
    command.cdw10 = cdw10;
    command.cdw11 = cdw11;
    return rig_.admin(command);
  }
  template <class T>
  T data(std::uint64_t at = Rig::kData) {
    T value;
    std::memcpy(&value, rig_.bus.at(at), sizeof(T));
    return value;
  }
  Rig rig_;
};

TEST_F(NvmeAdmin, IdentifiesTheController) {
  ASSERT_EQ(status(identify(Cns::controller, 0)), 0);
  const auto id = data<IdentifyController>();
  EXPECT_EQ(id.vid, 0x1b36);
  EXPECT_EQ(id.ssvid, 0x1af4);
  EXPECT_EQ(std::string(id.sn, sizeof(id.sn)), "unit-7              ");
  EXPECT_EQ(id.mdts, 9);
  EXPECT_EQ(id.sqes, 0x66);
  EXPECT_EQ(id.cqes, 0x44);
  EXPECT_EQ(id.nn, 1u);
  EXPECT_EQ(id.ver, 0x10400u);
  EXPECT_EQ(id.vwc & 1, 1);
  EXPECT_EQ(id.oncs & 0x0c, 0x0c);
  EXPECT_EQ(std::string(id.subnqn).substr(0, 4), "nqn.");
}

TEST_F(NvmeAdmin, IdentifiesTheNamespace) {
  ASSERT_EQ(status(identify(Cns::ns, 1)), 0);
  const auto ns = data<IdentifyNamespace>();
  EXPECT_EQ(ns.nsze, (8u << 20) / 512);
  EXPECT_EQ(ns.ncap, ns.nsze);
  EXPECT_EQ(ns.lbaf[ns.flbas & 15].lba_shift, 9);
  EXPECT_EQ(ns.lbaf[0].metadata_size, 0);
  EXPECT_EQ(ns.dlfeat & 7, 1);
  for (const std::uint32_t nsid : {0u, 2u, kAllNamespaces})
    EXPECT_EQ(status(identify(Cns::ns, nsid)), field(StatusCode::invalid_namespace));
}

TEST_F(NvmeAdmin, ListsTheNamespace) {
  ASSERT_EQ(status(identify(Cns::active_list, 0)), 0);
  EXPECT_EQ((data<std::array<std::uint32_t, 3>>()), (std::array<std::uint32_t, 3>{1, 0, 0}));
  ASSERT_EQ(status(identify(Cns::active_list, 1)), 0);
  EXPECT_EQ(data<std::uint32_t>(), 0u);
  EXPECT_EQ(status(identify(Cns::active_list, kAllNamespaces)), field(StatusCode::invalid_namespace));
  ASSERT_EQ(status(identify(Cns::descriptors, 1)), 0);
  const auto descriptor = data<std::array<std::uint8_t, 24>>();
  EXPECT_EQ(descriptor[0], 3) << "UUID";
  EXPECT_EQ(descriptor[1], 16);
  EXPECT_EQ(descriptor[20], 0) << "end of the list";
  EXPECT_EQ(status(identify(Cns::descriptors, 2)), field(StatusCode::invalid_namespace));
  for (const unsigned cns : {4u, 5u, 6u, 0x10u, 0xffu})
    EXPECT_EQ(status(identify(static_cast<Cns>(cns), 1)), field(StatusCode::invalid_field));
}

TEST_F(NvmeAdmin, AnswersCrossPages) {
  Command command = identify(Cns::controller, 0, Rig::kData + 0x800);
  command.prp2 = Rig::kData + 0x9000;
  rig_.fill(Rig::kData, 0x1000, 1);
  const auto before = rig_.memory(Rig::kData, 0x800);
  ASSERT_EQ(status(command), 0);
  EXPECT_EQ(rig_.memory(Rig::kData, 0x800), before) << "nothing before PRP1";
  EXPECT_EQ(data<std::uint16_t>(Rig::kData + 0x800), 0x1b36);
  EXPECT_EQ(std::string(reinterpret_cast<char*>(rig_.bus.at(Rig::kData + 0x800)) + 768, 4), "nqn.");
  EXPECT_EQ(data<std::uint64_t>(Rig::kData + 0x9000), 0u);
}

TEST_F(NvmeAdmin, AnswerToNowhereIsATransferError) {
  EXPECT_EQ(status(identify(Cns::controller, 0, 0)), field(StatusCode::data_transfer_error));
  rig_.bus.protect(Rig::kData, Access::read);
  EXPECT_EQ(status(identify(Cns::controller, 0)), field(StatusCode::data_transfer_error));
  EXPECT_EQ(rig_.read32(reg::kCsts), csts::kReady) << "not fatal";
  EXPECT_EQ(status(identify(Cns::controller, 0, Rig::kData + 0x2001)), field(StatusCode::invalid_prp_offset));
}

TEST_F(NvmeAdmin, RefusesQueuesThatCannotBe) {
  constexpr std::uint64_t kAt = Rig::kIo;
  const auto bad_id = field(StatusCode::invalid_queue_id);
  EXPECT_EQ(status(Rig::make_create_cq(0, 8, kAt)), bad_id);
  EXPECT_EQ(status(Rig::make_create_cq(5, 8, kAt)), bad_id);
  EXPECT_EQ(status(Rig::make_create_cq(0xffff, 8, kAt)), bad_id);
  EXPECT_EQ(status(Rig::make_create_cq(1, 1, kAt)), field(StatusCode::invalid_queue_size));
  EXPECT_EQ(status(Rig::make_create_cq(1, 1025, kAt)), field(StatusCode::invalid_queue_size));
  EXPECT_EQ(status(Rig::make_create_cq(1, 8, kAt, 5)), field(StatusCode::invalid_interrupt_vector));
  EXPECT_EQ(status(Rig::make_create_cq(1, 8, kAt, 1)), field(StatusCode::invalid_interrupt_vector))
      << "the pin has one vector";
  EXPECT_EQ(status(Rig::make_create_cq(1, 8, kAt, 0, 2)), field(StatusCode::invalid_field)) << "not contiguous";
  EXPECT_EQ(status(Rig::make_create_cq(1, 8, kAt + 16)), field(StatusCode::invalid_prp_offset));
  EXPECT_EQ(status(Rig::make_create_sq(1, 8, kAt, 0)), field(StatusCode::cq_invalid));
  EXPECT_EQ(status(Rig::make_create_sq(1, 8, kAt, 1)), field(StatusCode::cq_invalid));
  EXPECT_EQ(status(Rig::make_create_sq(1, 8, kAt, 5)), bad_id);
  ASSERT_EQ(status(Rig::make_create_cq(1, 1024, kAt)), 0);
  EXPECT_EQ(status(Rig::make_create_cq(1, 8, kAt)), bad_id) << "exists";
  EXPECT_EQ(status(Rig::make_create_sq(0, 8, kAt, 1)), bad_id);
  EXPECT_EQ(status(Rig::make_create_sq(5, 8, kAt, 1)), bad_id);
  EXPECT_EQ(status(Rig::make_create_sq(1, 1, kAt, 1)), field(StatusCode::invalid_queue_size));
  EXPECT_EQ(status(Rig::make_create_sq(1, 1025, kAt, 1)), field(StatusCode::invalid_queue_size));
  EXPECT_EQ(status(Rig::make_create_sq(1, 8, kAt, 1, 0)), field(StatusCode::invalid_field));
  EXPECT_EQ(status(Rig::make_create_sq(1, 8, kAt + 64, 1)), field(StatusCode::invalid_prp_offset));
  ASSERT_EQ(status(Rig::make_create_sq(1, 8, kAt, 1)), 0);
  EXPECT_EQ(status(Rig::make_create_sq(1, 8, kAt, 1)), bad_id);
}

TEST_F(NvmeAdmin, EntrySizesMustBeSet) {
  rig_.disable();
  rig_.enable(32, cc::kEnable);
  EXPECT_EQ(status(Rig::make_create_cq(1, 8, Rig::kIo)), field(StatusCode::invalid_queue_size));
  rig_.disable();
  rig_.enable(32, cc::kEnable | kCqeShift << 20);
  EXPECT_EQ(status(Rig::make_create_cq(1, 8, Rig::kIo)), 0);
  EXPECT_EQ(status(Rig::make_create_sq(1, 8, Rig::kIo, 1)), field(StatusCode::invalid_queue_size));
}

TEST_F(NvmeAdmin, DeletesQueuesInOrder) {
  const auto remove = [&](AdminOpcode opcode, unsigned qid) {
    Command command = Rig::make(opcode);
    command.cdw10 = qid;
    return status(command);
  };
  QueuePair q = rig_.create_pair(2, 8);
  ASSERT_EQ(status(Rig::make_create_sq(3, 8, Rig::kIo + 0x80000, 2)), 0) << "two on one completion queue";
  EXPECT_EQ(remove(AdminOpcode::delete_cq, 2), field(StatusCode::invalid_queue_deletion));
  EXPECT_EQ(remove(AdminOpcode::delete_sq, 0), field(StatusCode::invalid_queue_id));
  EXPECT_EQ(remove(AdminOpcode::delete_cq, 0), field(StatusCode::invalid_queue_id));
  EXPECT_EQ(remove(AdminOpcode::delete_sq, 1), field(StatusCode::invalid_queue_id));
  EXPECT_EQ(remove(AdminOpcode::delete_cq, 4), field(StatusCode::invalid_queue_id));
  EXPECT_EQ(remove(AdminOpcode::delete_sq, 2), 0);
  EXPECT_EQ(remove(AdminOpcode::delete_cq, 2), field(StatusCode::invalid_queue_deletion));
  EXPECT_EQ(remove(AdminOpcode::delete_sq, 3), 0);
  EXPECT_EQ(remove(AdminOpcode::delete_cq, 2), 0);
  rig_.push(q, Rig::make_io(IoOpcode::read, 0, 1, Rig::kData));
  rig_.ring(q);
  rig_.settle();
  EXPECT_FALSE(rig_.peek(q)) << "the queue is no more";
  // The doorbells of the new queues start at 0, whatever stood there.
  q = rig_.create_pair(2, 8);
  EXPECT_EQ(status_of(rig_.send(q, Rig::make_io(IoOpcode::read, 0, 1, Rig::kData))), 0);
}

TEST_F(NvmeAdmin, RefusesWhatItDoesNotKnow) {
  for (const unsigned opcode : {0x03u, 0x0du, 0x10u, 0x18u, 0x80u, 0x84u, 0xc0u})
    EXPECT_EQ(status(Rig::make(static_cast<std::uint8_t>(opcode))), field(StatusCode::invalid_opcode)) << opcode;
  Command command = identify(Cns::controller, 0);
  command.flags = 0x40;
  EXPECT_EQ(status(command), field(StatusCode::invalid_field)) << "SGL";
  command.flags = 0x01;
  EXPECT_EQ(status(command), field(StatusCode::invalid_field)) << "fused";
}

TEST_F(NvmeAdmin, FeaturesAreKeptAndForgotten) {
  constexpr auto kGet = AdminOpcode::get_features;
  constexpr auto kSet = AdminOpcode::set_features;
  EXPECT_EQ(feature(kSet, 7, 0x00ff00ff).result, 0x00030003u) << "queues, 0's based";
  EXPECT_EQ(feature(kGet, 7).result, 0x00030003u);
  EXPECT_EQ(status_of(feature(kSet, 7, 0xffff0000)), field(StatusCode::invalid_field));
  EXPECT_EQ(feature(kGet, 6).result, 1u) << "write cache";
  EXPECT_EQ(status_of(feature(kSet, 6, 0)), 0);
  EXPECT_EQ(feature(kGet, 6).result, 0u);
  EXPECT_EQ(feature(kGet, 6 | 1 << 8).result, 1u) << "default";
  EXPECT_EQ(feature(kGet, 6 | 3 << 8).result, 4u) << "changeable";
  EXPECT_EQ(status_of(feature(kGet, 6 | 4 << 8)), field(StatusCode::invalid_field));
  EXPECT_EQ(status_of(feature(kSet, 6 | 1u << 31, 1)), field(StatusCode::feature_not_saveable));
  for (const std::uint32_t id : {1u, 5u, 8u, 10u, 11u}) {
    EXPECT_EQ(status_of(feature(kSet, id, 0x0305)), 0) << id;
    EXPECT_EQ(feature(kGet, id).result, 0x0305u) << id;
  }
  EXPECT_EQ(status_of(feature(kSet, 2, 1)), field(StatusCode::invalid_field)) << "one power state";
  EXPECT_EQ(status_of(feature(kSet, 2, 0)), 0);
  EXPECT_EQ(status_of(feature(kSet, 9, 4 | 1 << 16)), 0);
  EXPECT_EQ(feature(kGet, 9, 4).result, 4u | 1 << 16);
  EXPECT_EQ(feature(kGet, 9, 3).result, 3u);
  EXPECT_EQ(status_of(feature(kGet, 9, 5)), field(StatusCode::invalid_field));
  EXPECT_EQ(status_of(feature(kSet, 9, 5)), field(StatusCode::invalid_field));
  EXPECT_EQ(status_of(feature(kSet, 4, 200)), 0);
  EXPECT_EQ(status_of(feature(kSet, 4, 0x100000 | 100)), 0);
  EXPECT_EQ(feature(kGet, 4).result, 200u);
  EXPECT_EQ(feature(kGet, 4, 0x100000).result, 100u);
  EXPECT_EQ(status_of(feature(kGet, 4, 0x010000)), field(StatusCode::invalid_field)) << "no sensor 1";
  for (const std::uint32_t id : {0u, 3u, 12u, 13u, 14u, 15u, 0x80u, 0xc0u, 0xffu}) {
    EXPECT_EQ(status_of(feature(kGet, id)), field(StatusCode::invalid_field)) << id;
    EXPECT_EQ(status_of(feature(kSet, id)), field(StatusCode::invalid_field)) << id;
  }
  rig_.create_pair(1, 8);
  EXPECT_EQ(status_of(feature(kSet, 7, 0)), field(StatusCode::command_sequence_error));
  rig_.disable();
  rig_.enable();
  EXPECT_EQ(feature(kGet, 6).result, 1u);
  EXPECT_EQ(feature(kGet, 11).result, 0u);
  EXPECT_EQ(feature(kGet, 9, 4).result, 4u);
}

TEST_F(NvmeAdmin, LogsErrorsLatestFirst) {
  rig_.admin(Rig::make(static_cast<std::uint8_t>(0x7f)));
  QueuePair q = rig_.create_pair(1, 8);
  rig_.send(q, Rig::make_io(IoOpcode::read, 0x123456789abcdef0, 1, Rig::kData));
  Command log = Rig::make(AdminOpcode::get_log_page, Rig::kData);
  log.cdw10 = 1 | (16 * 3 - 1) << 16;
  rig_.fill(Rig::kData, 4096, 3);
  const auto before = rig_.memory(Rig::kData + 192, 64);
  ASSERT_EQ(status(log), 0);
  const auto entries = data<std::array<ErrorLogEntry, 3>>();
  EXPECT_EQ(entries[0].count, 2u);
  EXPECT_EQ(entries[0].sq_id, 1);
  EXPECT_EQ(entries[0].lba, 0x123456789abcdef0u);
  EXPECT_EQ(entries[0].status, field(StatusCode::lba_out_of_range) << 1);
  EXPECT_EQ(entries[1].count, 1u);
  EXPECT_EQ(entries[1].status, field(StatusCode::invalid_opcode) << 1);
  EXPECT_EQ(entries[2].count, 0u);
  EXPECT_EQ(rig_.memory(Rig::kData + 192, 64), before) << "not more than asked for";
}

TEST_F(NvmeAdmin, LogsHealthAndFirmware) {
  QueuePair q = rig_.create_pair(1, 8);
  rig_.send(q, Rig::make_io(IoOpcode::write, 0, 8, Rig::kData));
  rig_.send(q, Rig::make_io(IoOpcode::read, 0, 1, Rig::kData));
  rig_.send(q, Rig::make_io(IoOpcode::read, 0, 1, Rig::kData));
  Command log = Rig::make(AdminOpcode::get_log_page, Rig::kData);
  log.nsid = kAllNamespaces;
  log.cdw10 = 2 | 127u << 16;
  ASSERT_EQ(status(log), 0);
  const auto smart = data<SmartLog>();
  EXPECT_EQ(smart.read_commands.low, 2u);
  EXPECT_EQ(smart.write_commands.low, 1u);
  EXPECT_EQ(smart.data_units_written.low, 1u);
  EXPECT_EQ(smart.spare, 100);
  EXPECT_EQ(smart.critical_warning, 0);
  log.nsid = 1;
  EXPECT_EQ(status(log), field(StatusCode::invalid_field));
  log.cdw10 = 3 | 127u << 16;
  ASSERT_EQ(status(log), 0);
  EXPECT_EQ(data<FirmwareLog>().afi, 1);
  log.cdw12 = 8;  // offset
  log.cdw10 = 3 | 1u << 16;
  ASSERT_EQ(status(log), 0);
  EXPECT_EQ(std::string(reinterpret_cast<char*>(rig_.bus.at(Rig::kData)), 8), "1.0     ");
  for (const std::uint32_t offset : {2u, 512u, 0xfffffffcu}) {
    log.cdw12 = offset;
    EXPECT_EQ(status(log), field(StatusCode::invalid_field)) << offset;
  }
  log.cdw12 = 0;
  log.cdw13 = 1;
  EXPECT_EQ(status(log), field(StatusCode::invalid_field));
  for (const std::uint32_t page : {0u, 4u, 5u, 6u, 0x70u, 0x81u, 0xffu}) {
    log.cdw10 = page;
    EXPECT_EQ(status(log), field(StatusCode::invalid_log_page)) << page;
  }
}

TEST_F(NvmeAdmin, HoldsEventRequestsUpToTheLimit) {
  QueuePair& admin = rig_.admin_queue();
  Command aer = Rig::make(AdminOpcode::async_event_request);
  for (std::uint16_t i = 0; i < 4; ++i) {
    aer.cid = static_cast<std::uint16_t>(0x500 + i);
    rig_.push(admin, aer);
  }
  rig_.ring(admin);
  rig_.settle();
  EXPECT_FALSE(rig_.peek(admin));
  aer.cid = 0x504;
  EXPECT_EQ(status(aer), field(StatusCode::aer_limit_exceeded));
  // A held one can be aborted; its completion comes before the Abort's.
  Command abort = Rig::make(AdminOpcode::abort);
  abort.cdw10 = 0x502u << 16;
  abort.cid = 0x600;
  rig_.push(admin, abort);
  rig_.ring(admin);
  rig_.settle();
  auto entry = rig_.reap(admin);
  ASSERT_TRUE(entry);
  EXPECT_EQ(entry->cid, 0x502);
  EXPECT_EQ(status_of(*entry), field(StatusCode::abort_requested));
  entry = rig_.reap(admin);
  ASSERT_TRUE(entry);
  EXPECT_EQ(entry->cid, 0x600);
  EXPECT_EQ(entry->result, 0u);
  const Completion again = rig_.admin(abort);
  EXPECT_EQ(again.result, 1u) << "nothing there to abort";
  EXPECT_EQ(status_of(again), 0);
}

// 5.2, 5.21.1.4 and 5.21.1.11: an event each time the temperature comes to be beyond a threshold,
// for who asked for it; the next one when the health log has been read.
TEST_F(NvmeAdmin, TemperatureBeyondAThresholdIsAnEvent) {
  QueuePair& admin = rig_.admin_queue();
  const auto set = [&](Feature feature, std::uint32_t value) {
    Command command = Rig::make(AdminOpcode::set_features);
    command.cdw10 = static_cast<std::uint32_t>(feature);
    command.cdw11 = value;
    return status(command);
  };
  for (std::uint16_t cid : {0x700, 0x701, 0x702}) {
    Command aer = Rig::make(AdminOpcode::async_event_request);
    aer.cid = cid;
    rig_.push(admin, aer);
  }
  rig_.ring(admin);
  rig_.settle();
  EXPECT_EQ(set(Feature::temperature_threshold, 1), 0);
  rig_.settle();
  EXPECT_FALSE(rig_.peek(admin)) << "nobody has asked for it";
  EXPECT_EQ(set(Feature::async_event_config, kWarningTemperature), 0);
  rig_.settle();
  auto event = rig_.reap(admin);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->cid, 0x700);
  EXPECT_EQ(event->result, 0x20101u) << "type 1, information 1, health log";
  EXPECT_EQ(set(Feature::temperature_threshold, 2), 0);
  rig_.settle();
  EXPECT_FALSE(rig_.peek(admin)) << "masked until the log is read";
  Command log = Rig::make(AdminOpcode::get_log_page, Rig::kData);
  log.cdw10 = 2 | 127 << 16;
  EXPECT_EQ(status(log), 0);
  event = rig_.reap(admin);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->cid, 0x701);
  EXPECT_EQ(status(log), 0);
  EXPECT_EQ(set(Feature::temperature_threshold, 400), 0);
  rig_.settle();
  EXPECT_FALSE(rig_.peek(admin)) << "it is cool enough";
  EXPECT_EQ(set(Feature::temperature_threshold, 1u << 20 | 350), 0) << "under 350 K, the composite temperature";
  rig_.settle();
  event = rig_.reap(admin);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->cid, 0x702);
}

TEST_F(NvmeAdmin, FullAdminQueueKeepsItsPromisesWhileAborting) {
  rig_.disable();
  rig_.enable(2);  // one entry of room
  QueuePair& admin = rig_.admin_queue();
  Command aer = Rig::make(AdminOpcode::async_event_request);
  aer.cid = 9;
  rig_.push(admin, aer);
  rig_.ring(admin);
  rig_.settle();
  Command abort = Rig::make(AdminOpcode::abort);
  abort.cdw10 = 9 << 16;
  EXPECT_EQ(rig_.admin(abort).result, 1u) << "no room for both completions";
  EXPECT_EQ(rig_.read32(reg::kCsts), csts::kReady);
}

}  // namespace
}  // namespace pviommu::model::nvme::test
