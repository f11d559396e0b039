// SPDX-License-Identifier: LGPL-2.1-or-later
// One way in, one way out.  A map() is cut into calls of at most 512 entries:
//
//   entries   |---- 512 ----|---- 512 ----|-- rest --|
//   call        INDIRECT      INDIRECT      INDIRECT      or H_PUT_TCE for each
//                             ^ fails, perhaps half done
//   back      <-------------------------->  from the first entry to the end of the failed call
//
// The failed call is taken back as a whole, because a hypervisor may stop in the
// middle of a list and does not say where (QEMU does so at the end of a window).
#include "hypercall/papr/core/tce_window.h"

namespace pviommu::papr {
namespace {

constexpr unsigned kPageShiftMost = 34;  // 16 GiB, the largest PAPR knows

std::size_t piece(std::uint64_t left) {
  return left < kTcesPerCall ? static_cast<std::size_t>(left) : kTcesPerCall;
}

WindowResult failed(Rc rc) {
  WindowResult result;
  result.refusal = is_busy(rc) ? Refusal::busy : Refusal::hypervisor;
  result.rc = rc;
  return result;
}

WindowResult refused(Refusal refusal) {
  WindowResult result;
  result.refusal = refusal;
  return result;
}

}  // namespace

const char* name_of(Refusal refusal) {
  switch (refusal) {
    case Refusal::none:
      return "done";
    case Refusal::length:
      return "no entries";
    case Refusal::range:
      return "outside of the window";
    case Refusal::alignment:
      return "not at a page";
    case Refusal::memory:
      return "not memory";
    case Refusal::access:
      return "no right, or unknown bits";
    case Refusal::hypervisor:
      return "refused by the hypervisor";
    case Refusal::busy:
      return "hypervisor busy";
  }
  return "?";
}

TceWindow::TceWindow(Port& port, const WindowGeometry& geometry, const Patience& patience)
    : port_(port), geometry_(geometry), patience_(patience) {}

bool TceWindow::valid(const WindowGeometry& geometry) {
  if (geometry.page_shift < kTcePageShift || geometry.page_shift > kPageShiftMost) return false;
  const std::uint64_t page = std::uint64_t{1} << geometry.page_shift;
  if ((geometry.first.raw() & (page - 1)) != 0 || geometry.entries == 0) return false;
  // Pages from `first` to the top of the bus; an aligned `first` leaves at least one.
  const std::uint64_t room = (~std::uint64_t{0} - geometry.first.raw()) >> geometry.page_shift;
  return geometry.entries - 1 <= room;
}

Ioba TceWindow::last() const { return at(geometry_.first, geometry_.entries) - 1; }

WindowResult TceWindow::check(Ioba ioba, std::uint64_t count) const {
  if (count == 0) return refused(Refusal::length);
  if (ioba < geometry_.first) return refused(Refusal::range);
  const std::uint64_t entry = (ioba - geometry_.first) >> geometry_.page_shift;
  if (entry >= geometry_.entries || count > geometry_.entries - entry) return refused(Refusal::range);
  if ((ioba.raw() & (page_bytes() - 1)) != 0) return refused(Refusal::alignment);
  return {};
}

WindowResult TceWindow::check(Tce tce) const {
  if (access_of(tce) == Access::none) return refused(Refusal::access);
  const std::uint64_t low = tce.raw() & (page_bytes() - 1) & ~(kTceRead | kTceWrite);
  // Of the low bits those above the 4 KiB page are address, the others are none of ours.
  if ((low & (kPageSize - 1)) != 0) return refused(Refusal::access);
  if (low != 0) return refused(Refusal::alignment);
  const std::uint64_t page = tce.raw() & ~(page_bytes() - 1);
  const std::uint64_t memory_last = geometry_.memory_last.raw();
  if (page > memory_last || memory_last - page < page_bytes() - 1) return refused(Refusal::memory);
  return {};
}

Rc TceWindow::put(Ioba ioba, Tce tce) {
  const std::uint64_t in[kHcallRegisters] = {geometry_.liobn.raw(), ioba.raw(), tce.raw()};
  std::uint64_t out[kHcallRegisters];
  return call(port_, Hcall::put_tce, in, out, patience_);
}

Rc TceWindow::put_list(Ioba ioba, const Tce* tces, std::size_t count) {
  std::uint64_t words[kTcesPerCall];
  for (std::size_t i = 0; i < count; ++i) words[i] = tces[i].raw();
  BusyWait busy(port_, patience_);
  Rc rc;
  do rc = port_.put_tce_list(geometry_.liobn, ioba, words, count);
  while (busy.again(rc));
  return rc;
}

Rc TceWindow::stuff(Ioba ioba, std::size_t count) {
  const std::uint64_t in[kHcallRegisters] = {geometry_.liobn.raw(), ioba.raw(), kEmptyTce.raw(), count};
  std::uint64_t out[kHcallRegisters];
  return call(port_, Hcall::stuff_tce, in, out, patience_);
}

Rc TceWindow::clear_one(Ioba ioba) {
  const Rc rc = put(ioba, kEmptyTce);
  return rc == kSuccess ? rc : put(ioba, kEmptyTce);
}

bool TceWindow::surely_empty(Ioba ioba) {
  const std::uint64_t in[kHcallRegisters] = {geometry_.liobn.raw(), ioba.raw()};
  std::uint64_t out[kHcallRegisters] = {};
  const Rc rc = call(port_, Hcall::get_tce, in, out, patience_);
  if (rc == kSuccess) return access_of(Tce(out[0])) == Access::none;
  return rc == kParameter;  // no such entry: the window is smaller than we were told
}

bool TceWindow::roll_back(Ioba ioba, std::uint64_t count) {
  bool clean = true;
  for (std::uint64_t entry = 0; entry < count;) {
    const std::size_t part = piece(count - entry);
    if (has_stuff_ && part > 1 && stuff(at(ioba, entry), part) == kSuccess) {
      entry += part;
      continue;
    }
    for (std::size_t i = 0; i < part; ++i, ++entry)
      if (clear_one(at(ioba, entry)) != kSuccess && !surely_empty(at(ioba, entry))) clean = false;
  }
  return clean;
}

WindowResult TceWindow::map(Ioba ioba, const Tce* tces, std::uint64_t count) {
  if (const WindowResult bad = check(ioba, count); !bad) return bad;
  for (std::uint64_t i = 0; i < count; ++i)
    if (const WindowResult bad = check(tces[i]); !bad) return bad;

  std::uint64_t done = 0;
  while (done < count) {
    std::size_t part = has_lists_ ? piece(count - done) : 1;
    Rc rc = part == 1 ? put(at(ioba, done), tces[done]) : put_list(at(ioba, done), tces + done, part);
    if (rc == kFunction && part > 1) {
      has_lists_ = false;
      continue;
    }
    if (rc != kSuccess) {
      WindowResult result = failed(rc);
      result.uncertain = !roll_back(ioba, done + part);
      return result;
    }
    done += part;
  }
  WindowResult result;
  result.done = done;
  return result;
}

WindowResult TceWindow::unmap(Ioba ioba, std::uint64_t count) {
  if (const WindowResult bad = check(ioba, count); !bad) return bad;
  std::uint64_t done = 0;
  while (done < count) {
    const std::size_t part = piece(count - done);
    if (has_stuff_ && part > 1) {
      const Rc rc = stuff(at(ioba, done), part);
      if (rc == kSuccess) {
        done += part;
        continue;
      }
      if (rc == kFunction) has_stuff_ = false;
    }
    for (std::size_t i = 0; i < part; ++i, ++done) {
      const Rc rc = clear_one(at(ioba, done));
      if (rc == kSuccess) continue;
      WindowResult result = failed(rc);
      result.done = done;
      return result;
    }
  }
  WindowResult result;
  result.done = done;
  return result;
}

WindowResult TceWindow::get(Ioba ioba, Tce& tce) {
  if (const WindowResult bad = check(ioba, 1); !bad) return bad;
  const std::uint64_t in[kHcallRegisters] = {geometry_.liobn.raw(), ioba.raw()};
  std::uint64_t out[kHcallRegisters] = {};
  const Rc rc = call(port_, Hcall::get_tce, in, out, patience_);
  if (rc != kSuccess) return failed(rc);
  tce = Tce(out[0]);
  WindowResult result;
  result.done = 1;
  return result;
}

WindowResult TceWindow::occupied(Ioba ioba, std::uint64_t count, bool& found) {
  if (const WindowResult bad = check(ioba, count); !bad) return bad;
  found = false;
  WindowResult result;
  for (; result.done < count; ++result.done) {
    Tce tce;
    if (const WindowResult bad = get(at(ioba, result.done), tce); !bad) return bad;
    if (access_of(tce) != Access::none) {
      found = true;
      break;
    }
  }
  return result;
}

}  // namespace pviommu::papr
