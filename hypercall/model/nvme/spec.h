// SPDX-License-Identifier: LGPL-2.1-or-later
// Commands, completions and data structures of NVM Express, as they lie in
// memory.  Section numbers are those of "NVM Express Base Specification 1.4".
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace pviommu::model::nvme {

static_assert(std::endian::native == std::endian::little, "the structures below are little endian");

inline constexpr std::uint32_t kVersion = 0x00010400;  // 3.1.2
inline constexpr std::uint32_t kAllNamespaces = 0xffffffff;
inline constexpr std::uint32_t kNamespace = 1;  // the only one

// 4.2, figure 105: submission queue entry, NVM command set.
struct Command {
  std::uint8_t opcode;
  std::uint8_t flags;  // 1:0 fused operation, 7:6 PRP or SGL
  std::uint16_t cid;
  std::uint32_t nsid;
  std::uint32_t cdw2;
  std::uint32_t cdw3;
  std::uint64_t mptr;
  std::uint64_t prp1;
  std::uint64_t prp2;
  std::uint32_t cdw10;
  std::uint32_t cdw11;
  std::uint32_t cdw12;
  std::uint32_t cdw13;
  std::uint32_t cdw14;
  std::uint32_t cdw15;
};
static_assert(sizeof(Command) == 64 && offsetof(Command, prp1) == 24 && offsetof(Command, cdw10) == 40);

// 4.6, figure 121: completion queue entry.
struct Completion {
  std::uint32_t result;  // command specific
  std::uint32_t reserved;
  std::uint16_t sq_head;
  std::uint16_t sq_id;
  std::uint16_t cid;
  std::uint16_t status;  // bit 0 is the phase tag
};
static_assert(sizeof(Completion) == 16 && offsetof(Completion, sq_head) == 8);

// 4.6.1: status code type in bits 10:8, status code in 7:0.
enum class StatusCode : std::uint16_t {
  success = 0x000,
  invalid_opcode = 0x001,
  invalid_field = 0x002,
  data_transfer_error = 0x004,
  internal_error = 0x006,
  abort_requested = 0x007,
  invalid_namespace = 0x00b,
  command_sequence_error = 0x00c,
  invalid_prp_offset = 0x013,
  write_protected = 0x020,
  lba_out_of_range = 0x080,
  cq_invalid = 0x100,
  invalid_queue_id = 0x101,
  invalid_queue_size = 0x102,
  aer_limit_exceeded = 0x105,
  invalid_interrupt_vector = 0x108,
  invalid_log_page = 0x109,
  invalid_queue_deletion = 0x10c,
  feature_not_saveable = 0x10d,
  feature_not_changeable = 0x10e,
  write_fault = 0x280,
  unrecovered_read = 0x281,
  compare_failure = 0x285,
};
inline constexpr std::uint16_t kDoNotRetry = 1 << 14;

/// The status field without the phase tag.  Errors that the same command may
/// not meet again (4.6.1, DNR) come without Do Not Retry.
constexpr std::uint16_t status_field(StatusCode code) {
  const auto raw = static_cast<std::uint16_t>(code);
  switch (code) {
    case StatusCode::success:
    case StatusCode::data_transfer_error:
    case StatusCode::internal_error:
    case StatusCode::abort_requested:
    case StatusCode::write_fault:
    case StatusCode::unrecovered_read:
      return raw;
    default:
      return raw | kDoNotRetry;
  }
}

// 5, figure 140.
enum class AdminOpcode : std::uint8_t {
  delete_sq = 0x00,
  create_sq = 0x01,
  get_log_page = 0x02,
  delete_cq = 0x04,
  create_cq = 0x05,
  identify = 0x06,
  abort = 0x08,
  set_features = 0x09,
  get_features = 0x0a,
  async_event_request = 0x0c,
};

// 6, figure 347.
enum class IoOpcode : std::uint8_t {
  flush = 0x00,
  write = 0x01,
  read = 0x02,
  compare = 0x05,
  write_zeroes = 0x08,
  dataset_management = 0x09,
};

// 5.15, figure 244.
enum class Cns : std::uint8_t { ns = 0, controller = 1, active_list = 2, descriptors = 3 };

// 5.14, figure 191.
enum class LogPage : std::uint8_t { error = 1, smart = 2, firmware = 3 };

// 5.21.1, figure 271.
enum class Feature : std::uint8_t {
  arbitration = 0x01,
  power_management = 0x02,
  temperature_threshold = 0x04,
  error_recovery = 0x05,
  volatile_write_cache = 0x06,
  number_of_queues = 0x07,
  interrupt_coalescing = 0x08,
  interrupt_vector_config = 0x09,
  write_atomicity = 0x0a,
  async_event_config = 0x0b,
};
inline constexpr unsigned kFeatures = 0x0c;

// 5.15.2.1, figure 245 and 246.
struct LbaFormat {
  std::uint16_t metadata_size;
  std::uint8_t lba_shift;
  std::uint8_t performance;
};

struct IdentifyNamespace {
  std::uint64_t nsze;
  std::uint64_t ncap;
  std::uint64_t nuse;
  std::uint8_t nsfeat;
  std::uint8_t nlbaf;  // 0's based
  std::uint8_t flbas;
  std::uint8_t mc, dpc, dps, nmic, rescap, fpi;
  std::uint8_t dlfeat;
  std::uint8_t rest1[65];
  std::uint8_t nsattr;  // bit 0: write protected
  std::uint8_t rest2[28];
  LbaFormat lbaf[16];
  std::uint8_t rest3[3904];
};
static_assert(sizeof(IdentifyNamespace) == 4096 && offsetof(IdentifyNamespace, dlfeat) == 33 &&
              offsetof(IdentifyNamespace, nsattr) == 99 && offsetof(IdentifyNamespace, lbaf) == 128);

// 5.15.2.2, figure 247.
struct IdentifyController {
  std::uint16_t vid;
  std::uint16_t ssvid;
  char sn[20];
  char mn[40];
  char fr[8];
  std::uint8_t rab;
  std::uint8_t ieee[3];
  std::uint8_t cmic;
  std::uint8_t mdts;  // power of two of minimum pages
  std::uint16_t cntlid;
  std::uint32_t ver;
  std::uint32_t rtd3r;
  std::uint32_t rtd3e;
  std::uint32_t oaes;
  std::uint32_t ctratt;
  std::uint8_t rest1[11];
  std::uint8_t cntrltype;
  std::uint8_t rest2[144];
  std::uint16_t oacs;
  std::uint8_t acl;   // 0's based
  std::uint8_t aerl;  // 0's based
  std::uint8_t frmw;
  std::uint8_t lpa;
  std::uint8_t elpe;  // 0's based
  std::uint8_t npss;
  std::uint8_t avscc;
  std::uint8_t apsta;
  std::uint16_t wctemp;  // kelvin
  std::uint16_t cctemp;  // kelvin
  std::uint8_t rest3[242];
  std::uint8_t sqes;  // 7:4 largest, 3:0 required, powers of two
  std::uint8_t cqes;
  std::uint16_t maxcmd;
  std::uint32_t nn;
  std::uint16_t oncs;
  std::uint16_t fuses;
  std::uint8_t fna;
  std::uint8_t vwc;
  std::uint16_t awun;
  std::uint16_t awupf;
  std::uint8_t rest4[238];
  char subnqn[256];
  std::uint8_t rest5[3072];
};
static_assert(sizeof(IdentifyController) == 4096 && offsetof(IdentifyController, mdts) == 77 &&
              offsetof(IdentifyController, cntrltype) == 111 && offsetof(IdentifyController, oacs) == 256 &&
              offsetof(IdentifyController, wctemp) == 266 && offsetof(IdentifyController, sqes) == 512 &&
              offsetof(IdentifyController, oncs) == 520 && offsetof(IdentifyController, subnqn) == 768);

// 5.14.1.1, figure 192.
struct ErrorLogEntry {
  std::uint64_t count;  // 0: entry not in use
  std::uint16_t sq_id;
  std::uint16_t cid;
  std::uint16_t status;
  std::uint16_t parameter_location;  // 0xffff: not a particular field
  std::uint64_t lba;
  std::uint32_t nsid;
  std::uint8_t rest[36];
};
static_assert(sizeof(ErrorLogEntry) == 64);

// 5.14.1.2, figure 194.  The 16-byte counters are kept in their lower half.
struct Counter128 {
  std::uint64_t low;
  std::uint64_t high;
};
struct SmartLog {
  std::uint8_t critical_warning;
  std::uint8_t temperature[2];  // kelvin
  std::uint8_t spare;
  std::uint8_t spare_threshold;
  std::uint8_t used;
  std::uint8_t rest1[26];
  Counter128 data_units_read;  // thousands of 512 bytes, rounded up
  Counter128 data_units_written;
  Counter128 read_commands;
  Counter128 write_commands;
  Counter128 busy_minutes;
  Counter128 power_cycles;
  Counter128 power_on_hours;
  Counter128 unsafe_shutdowns;
  Counter128 media_errors;
  Counter128 error_log_entries;
  std::uint8_t rest2[320];
};
static_assert(sizeof(SmartLog) == 512 && offsetof(SmartLog, data_units_read) == 32);

// 5.14.1.3, figure 195.
struct FirmwareLog {
  std::uint8_t afi;
  std::uint8_t rest1[7];
  char slot[7][8];
  std::uint8_t rest2[448];
};
static_assert(sizeof(FirmwareLog) == 512);

// 6.7, figure 363.
struct DatasetRange {
  std::uint32_t attributes;
  std::uint32_t blocks;
  std::uint64_t slba;
};
static_assert(sizeof(DatasetRange) == 16);

// 5.2, figures 145, 147 and 148: asynchronous events of the types "error status" and "SMART / health
// status".  5.21.1.11: which critical warnings are events, bit by bit as in the log.
inline constexpr std::uint8_t kEventTypeError = 0;
enum class ErrorEvent : std::uint8_t { invalid_doorbell_register = 0, invalid_doorbell_value = 1 };
inline constexpr std::uint8_t kEventTypeHealth = 1;
inline constexpr std::uint8_t kHealthEventTemperature = 1;
inline constexpr std::uint16_t kRoomTemperature = 300;  // kelvin, of this controller
inline constexpr std::uint32_t kWarningTemperature = 1 << 1;

}  // namespace pviommu::model::nvme
