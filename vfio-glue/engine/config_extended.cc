// SPDX-License-Identifier: LGPL-2.1-or-later
// Extended capabilities (PCI Express 5.0, 7.6): which are shown, how long they are and
// what of them is writable, as in Linux's vfio_ecap_init().
#include <linux/pci_regs.h>

#include <algorithm>

#include "vfio-glue/engine/config_space.h"

namespace pviommu::vfio {
namespace {

/// Length of an extended capability; 0: hidden.
Result<std::size_t> extended_length(PciDevice& device, unsigned id, std::size_t at) {
  // A register that a broken device has no room for reads as 0.
  const auto look = [&](std::size_t reg, unsigned width) -> Result<std::uint32_t> {
    if (at + reg + width > device.config_size()) return 0u;
    return device.config_read(at + reg, width);
  };
  switch (id) {
    case PCI_EXT_CAP_ID_ERR:
      return std::size_t{PCI_ERR_ROOT_COMMAND};
    case PCI_EXT_CAP_ID_DSN:
      return std::size_t{PCI_EXT_CAP_DSN_SIZEOF};
    case PCI_EXT_CAP_ID_PWR:
      return std::size_t{16};
    case PCI_EXT_CAP_ID_ARI:
    case PCI_EXT_CAP_ID_ATS:
    case PCI_EXT_CAP_ID_LTR:
      return std::size_t{8};
    case PCI_EXT_CAP_ID_SRIOV:
      return std::size_t{PCI_EXT_CAP_SRIOV_SIZEOF};
    case PCI_EXT_CAP_ID_MCAST:
      return std::size_t{PCI_EXT_CAP_MCAST_ENDPOINT_SIZEOF};
    case PCI_EXT_CAP_ID_PRI:
      return std::size_t{PCI_EXT_CAP_PRI_SIZEOF};
    case PCI_EXT_CAP_ID_VNDR:
      return std::size_t {
        PVIOMMU_TRY(look(PCI_VNDR_HEADER, 4))
        >> 20
      };
    case PCI_EXT_CAP_ID_ACS: {
      if (!(PVIOMMU_TRY(look(PCI_ACS_CAP, 1)) & PCI_ACS_EC)) return std::size_t{8};
      const std::size_t bits = PVIOMMU_TRY(look(PCI_ACS_EGRESS_BITS, 1));
      return 8 + (bits ? (bits + 31) / 32 * 32 : 256) / 8;
    }
    case PCI_EXT_CAP_ID_VC:
    case PCI_EXT_CAP_ID_VC9:
    case PCI_EXT_CAP_ID_MFVC: {
      const auto more = PVIOMMU_TRY(look(PCI_VC_PORT_CAP1, 4))
      &PCI_VC_CAP1_EVCC;
      const auto arbitration = PVIOMMU_TRY(look(PCI_VC_PORT_CAP2, 4));
      const std::size_t phases = arbitration & PCI_VC_CAP2_128_PHASE  ? 128
                                 : arbitration & PCI_VC_CAP2_64_PHASE ? 64
                                 : arbitration & PCI_VC_CAP2_32_PHASE ? 32
                                                                      : 0;
      const std::size_t length = PCI_CAP_VC_BASE_SIZEOF + (1 + more) * PCI_CAP_VC_PER_VC_SIZEOF;
      return phases ? (length + 15) / 16 * 16 + phases * 4 / 8 : length;
    }
    case PCI_EXT_CAP_ID_REBAR: {
      const auto control = PVIOMMU_TRY(look(PCI_REBAR_CTRL, 1));
      return std::size_t{4} + (control & PCI_REBAR_CTRL_NBAR_MASK) / 32 * 8;
    }
    case PCI_EXT_CAP_ID_DPA: {
      const auto substates = PVIOMMU_TRY(look(PCI_DPA_CAP, 1))
      &PCI_DPA_CAP_SUBSTATE_MASK;
      return std::size_t{PCI_DPA_BASE_SIZEOF} + substates + 1;
    }
    case PCI_EXT_CAP_ID_TPH: {
      const auto tags = PVIOMMU_TRY(look(PCI_TPH_CAP, 4));
      if ((tags & PCI_TPH_CAP_LOC_MASK) != PCI_TPH_LOC_CAP) return std::size_t{PCI_TPH_BASE_SIZEOF};
      return std::size_t{PCI_TPH_BASE_SIZEOF} + ((tags & PCI_TPH_CAP_ST_MASK) >> PCI_TPH_CAP_ST_SHIFT) * 2 +
             2;
    }
    default:
      return std::size_t{0};
  }
}

constexpr std::size_t kFirst = PCI_CFG_SPACE_SIZE;
constexpr std::size_t kHeader = 4;
// What a program may change of Advanced Error Reporting (7.8.4).
constexpr std::uint32_t kUncorrectable =
    PCI_ERR_UNC_UND | PCI_ERR_UNC_DLP | PCI_ERR_UNC_SURPDN | PCI_ERR_UNC_POISON_TLP | PCI_ERR_UNC_FCP |
    PCI_ERR_UNC_COMP_TIME | PCI_ERR_UNC_COMP_ABORT | PCI_ERR_UNC_UNX_COMP | PCI_ERR_UNC_RX_OVER |
    PCI_ERR_UNC_MALF_TLP | PCI_ERR_UNC_ECRC | PCI_ERR_UNC_UNSUP | PCI_ERR_UNC_ACSV | PCI_ERR_UNC_INTN |
    PCI_ERR_UNC_MCBTLP | PCI_ERR_UNC_ATOMEG | PCI_ERR_UNC_TLPPRE;
constexpr std::uint32_t kCorrectable = PCI_ERR_COR_RCVR | PCI_ERR_COR_BAD_TLP | PCI_ERR_COR_BAD_DLLP |
                                       PCI_ERR_COR_REP_ROLL | PCI_ERR_COR_REP_TIMER | PCI_ERR_COR_ADV_NFAT |
                                       PCI_ERR_COR_INTERNAL | PCI_ERR_COR_LOG_OVER;

}  // namespace

/// The header is virtual, so that the list can leave capabilities out; the rest is the
/// hardware's, to read.  Bytes in no capability stay the hardware's altogether.
Status ConfigSpace::load_extended_capabilities() {
  if (shadow_.size() <= kFirst || !express_ || shadow32(kFirst) == 0) return {};
  std::size_t previous = 0, at = kFirst;
  bool any = false;
  for (std::size_t steps = (shadow_.size() - kFirst) / kHeader; at >= kFirst && steps; --steps) {
    const std::uint32_t header = shadow32(at);
    const std::size_t next = header >> 20 & 0xffc;
    std::size_t length = PVIOMMU_TRY(extended_length(*device_, header & 0xffff, at));
    bool placeholder = false;
    if (length == 0) {
      if (previous) {
        store32(previous, (shadow32(previous) & 0xfffff) | static_cast<std::uint32_t>(next << 20));
        at = next;
        continue;
      }
      length = kHeader;
      placeholder = true;
    }
    length = std::min(length, shadow_.size() - at);
    for (std::size_t i = 0; i < length; ++i) set8(at + i, 0, 0);
    set32(at, ~0u, 0);
    if (placeholder)
      store32(at, header & 0xffc00000);
    else
      allow_extended_writes(header & 0xffff, at, length);
    any = any || !placeholder;
    previous = at;
    at = next;
  }
  if (!any) store32(kFirst, 0);
  return {};
}

void ConfigSpace::allow_extended_writes(unsigned id, std::size_t at, std::size_t length) {
  if (id == PCI_EXT_CAP_ID_VNDR) {
    for (std::size_t i = kHeader; i < length; ++i) set8(at + i, 0, 0xff);
  } else if (id == PCI_EXT_CAP_ID_PWR && length > PCI_PWR_DATA) {
    set8(at + PCI_PWR_DATA, 0, 0xff);
  } else if (id == PCI_EXT_CAP_ID_ERR && length >= PCI_ERR_CAP + 4) {
    for (const std::size_t reg : {PCI_ERR_UNCOR_STATUS, PCI_ERR_UNCOR_MASK, PCI_ERR_UNCOR_SEVER})
      set32(at + reg, 0, kUncorrectable);
    for (const std::size_t reg : {PCI_ERR_COR_STATUS, PCI_ERR_COR_MASK}) set32(at + reg, 0, kCorrectable);
    set32(at + PCI_ERR_CAP, 0, PCI_ERR_CAP_ECRC_GENE | PCI_ERR_CAP_ECRC_CHKE);
  }
}

}  // namespace pviommu::vfio
