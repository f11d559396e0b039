// SPDX-License-Identifier: LGPL-2.1-or-later
//   change()   cuts runs into pieces and fills a multicall
//   send()     one multicall; behind the first piece that failed nothing may stay done
//   finish()   the rest of a piece that Xen has done in part
//   grow_pool()  more page tables for the carrier, then the piece is tried again
//
// What cannot be taken back after an error is reported as lost state: the caller then keeps
// the pages.
#include "hypercall/xen/mapping.h"

#include <algorithm>
#include <cerrno>
#include <new>

#include "hypercall/xen/carrier.h"
#include "hypercall/xen/mapping_piece.h"

namespace pviommu::xen {
namespace {

/// How often undoing a call is tried when that fails.
constexpr int kUndoTries = 3;
/// The most page table memory a carrier is given: enough for 128 GiB of
/// scattered 4 KiB pages, with a table for each of them.
constexpr std::uint64_t kMostPool = std::uint64_t{1} << 30;

void fill(xen_domctl& op, Dfn dfn, Mfn mfn, std::uint64_t pages, bool add) {
  op.u.memory_mapping.first_gfn = dfn.raw();
  op.u.memory_mapping.first_mfn = mfn.raw();
  op.u.memory_mapping.nr_mfns = pages;
  op.u.memory_mapping.add_mapping = add ? DPCI_ADD_MAPPING : DPCI_REMOVE_MAPPING;
}

const char* name_of(bool add) {
  return add ? "XEN_DOMCTL_memory_mapping (add)" : "XEN_DOMCTL_memory_mapping (remove)";
}

Error error_of(long result, bool add) {
  // ENOSYS is the member that a test makes fail (XenCalls::Batch::run()).
  const int code = static_cast<int>(-result);
  return {code == ENOSYS ? EIO : code, name_of(add), result};
}

}  // namespace

Mapping::Mapping(XenCalls& calls, Domid domid, std::unique_ptr<XenCalls::Batch> batch)
    : calls_(calls), domid_(domid), batch_(std::move(batch)) {}

Result<std::unique_ptr<Mapping>> Mapping::make(XenCalls& calls, Domid domid) {
  auto batch = PVIOMMU_TRY(XenCalls::Batch::make(calls));
  std::unique_ptr<Mapping> mapping(new (std::nothrow) Mapping(calls, domid, std::move(batch)));
  if (!mapping) return Error{ENOMEM, "mapping"};
  return mapping;
}

BatchResult Mapping::map(std::span<const MapRun> runs) { return change(runs, true); }
BatchResult Mapping::unmap(std::span<const UnmapRun> runs) { return change(runs, false); }

template <class Run>
BatchResult Mapping::change(std::span<const Run> runs, bool add) {
  BatchResult all;
  piece_count_ = 0;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    for (std::uint64_t at = 0; at < runs[i].pages;) {
      const Dfn dfn = runs[i].dfn + at;
      const Mfn mfn = runs[i].mfn + at;
      const std::uint64_t pages = piece_pages(dfn, mfn, runs[i].pages - at);
      pieces_[piece_count_++] = {dfn, mfn, pages};
      at += pages;
      const bool last = i + 1 == runs.size() && at == runs[i].pages;
      if (piece_count_ < XenCalls::Batch::kCalls && !last) continue;
      const BatchResult sent = send(add);
      all.pages_done += sent.pages_done;
      if (!sent.status) {
        all.status = sent.status;
        return all;
      }
      piece_count_ = 0;
    }
  }
  return all;
}

BatchResult Mapping::send(bool add) {
  BatchResult sent;
  if (piece_count_ == 0) return sent;
  std::uint64_t done[XenCalls::Batch::kCalls];
  Status first_error;
  unsigned failed = piece_count_;

  if (piece_count_ == 1) {
    done[0] = 0;
    first_error = finish(pieces_[0], done[0], add);
    if (!first_error) failed = 0;
  } else {
    batch_->clear();
    for (unsigned i = 0; i < piece_count_; ++i)
      fill(batch_->add(XEN_DOMCTL_memory_mapping, domid_.raw()), pieces_[i].dfn, pieces_[i].mfn, pieces_[i].pages,
           add);
    if (const Status ran = batch_->run(); !ran) {
      // Nobody says which members were done before the multicall itself failed.
      Error error = ran.error();
      error.state_lost = true;
      sent.status = error;
      return sent;
    }
    for (unsigned i = 0; i < piece_count_; ++i) {
      const long result = batch_->result(i);
      done[i] = result < 0 ? 0 : result == 0 ? pieces_[i].pages : static_cast<std::uint64_t>(result);
    }
    for (unsigned i = 0; i < piece_count_ && failed == piece_count_; ++i) {
      const long result = batch_->result(i);
      if (result < 0) {
        // When table memory has run out, more is given and the piece is sent again, alone.
        first_error = add && result == -ENOMEM ? finish(pieces_[i], done[i], add) : Status(error_of(result, add));
      } else if (done[i] < pieces_[i].pages) {
        first_error = finish(pieces_[i], done[i], add);
      }
      if (!first_error) failed = i;
    }
  }
  for (unsigned i = 0; i < failed; ++i) sent.pages_done += pieces_[i].pages;
  if (failed == piece_count_) return sent;

  // Members behind the one that failed were done all the same: take them back,
  // so that what is done is a front piece.
  sent.pages_done += done[failed];
  sent.status = first_error;
  for (unsigned i = failed + 1; i < piece_count_; ++i) {
    if (done[i] == 0) continue;
    const Piece wrong{pieces_[i].dfn, pieces_[i].mfn, done[i]};
    std::uint64_t undone = 0;
    Status undo;
    for (int again = 0; again < kUndoTries; ++again) {
      undo = finish(wrong, undone, !add);
      if (undo) break;
    }
    if (!undo) sent.status = Error{EIO, add ? "map: state lost" : "unmap: state lost", undo.error().raw, true};
  }
  return sent;
}

Status Mapping::finish(const Piece& piece, std::uint64_t& done, bool add) {
  while (done < piece.pages) {
    xen_domctl op{};
    op.cmd = XEN_DOMCTL_memory_mapping;
    op.domain = domid_.raw();
    fill(op, piece.dfn + done, piece.mfn + done, piece.pages - done, add);
    const Result<long> result = calls_.domctl(op, name_of(add));
    if (!result) {
      if (add && result.error().code == ENOMEM && result.error().raw != 0 && grow_pool()) continue;
      return result.error();
    }
    if (*result == 0) {
      done = piece.pages;
    } else {
      done += static_cast<std::uint64_t>(*result);
    }
  }
  return {};
}

Status Mapping::grow_pool() {
  const std::uint64_t now = PVIOMMU_TRY(table_pool(calls_, domid_));
  if (now >= kMostPool) return Error{ENOMEM, "page table memory of the carrier"};
  return set_table_pool(calls_, domid_, now * 2);
}

}  // namespace pviommu::xen
