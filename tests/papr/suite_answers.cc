// SPDX-License-Identifier: LGPL-2.1-or-later
// What each TCE call answers, by raw calls.  Where QEMU answers otherwise than a strict
// hypervisor does (KVM, and PAPR's text), both answers stand here.
#include "tests/papr/checks.h"
#include "tests/papr/suite.h"

namespace papr_suite {
namespace {

constexpr Ioba kPlace{0x100000};

void single_calls(Platform& platform, const WindowGeometry& window, Checks& check) {
  Port& port = platform.raw();
  const std::uint64_t liobn = window.liobn.raw();
  const std::uint64_t page = platform.real(platform.memory(kPageSize, kPageSize)).raw();
  const Ioba end = window.first + (window.entries << window.page_shift);
  std::uint64_t tce = 0;

  check.answer("H_PUT_TCE", put_tce(port, liobn, kPlace, page | 3), kSuccess);
  check.answer("H_GET_TCE", get_tce(port, liobn, kPlace, tce), kSuccess);
  check.equal(tce, page | 3, "H_GET_TCE gives what H_PUT_TCE took");
  check.answer("H_PUT_TCE empties", put_tce(port, liobn, kPlace, 0), kSuccess);
  check.answer("H_GET_TCE of an empty entry", get_tce(port, liobn, kPlace, tce), kSuccess);
  check.equal(tce & 3, 0, "an empty entry has no right");

  check.answer("H_PUT_TCE, no such LIOBN", put_tce(port, 0x7fffffff, kPlace, page | 3), kParameter);
  check.answer("H_PUT_TCE, LIOBN of more than 32 bits",
               put_tce(port, liobn | std::uint64_t{1} << 40, kPlace, page | 3), kParameter);
  check.answer("H_GET_TCE, no such LIOBN", get_tce(port, 0x7fffffff, kPlace, tce), kParameter);
  check.answer("H_PUT_TCE, last entry", put_tce(port, liobn, end - kPageSize, page | 3), kSuccess);
  check.answer("H_PUT_TCE, last entry emptied", put_tce(port, liobn, end - kPageSize, 0), kSuccess);
  check.answer("H_PUT_TCE behind the window", put_tce(port, liobn, end, page | 3), kParameter);
  check.answer("H_PUT_TCE far behind the window", put_tce(port, liobn, Ioba(~std::uint64_t{0xfff}), page | 3),
               kParameter);
  check.answer("H_GET_TCE behind the window", get_tce(port, liobn, end, tce), kParameter);

  check.answer("H_PUT_TCE, IOBA not at a page", put_tce(port, liobn, kPlace + 8, page | 3), kParameter,
               kSuccess);
  check.answer("H_GET_TCE, IOBA not at a page", get_tce(port, liobn, kPlace + 8, tce), kParameter, kSuccess);
  check.answer("H_PUT_TCE, real address not at a page", put_tce(port, liobn, kPlace, page | 0x800 | 3),
               kParameter, kSuccess);
  const std::uint64_t behind = (platform.memory_last().raw() + 1) + (std::uint64_t{1} << 32);
  check.answer("H_PUT_TCE, real address behind memory", put_tce(port, liobn, kPlace, behind | 3), kParameter,
               kSuccess);
  (void)put_tce(port, liobn, kPlace, 0);

  check.answer("an hcall that there is not", call(port, static_cast<Hcall>(0x0c8), 1, 2, 3), kFunction);
}

void lists(Platform& platform, const WindowGeometry& window, Checks& check) {
  Port& port = platform.raw();
  const std::uint64_t liobn = window.liobn.raw();
  const Ioba end = window.first + (window.entries << window.page_shift);
  std::uint8_t* list = platform.memory(kPageSize, kPageSize);
  const RealAddress at = platform.real(list);
  const std::uint64_t page = platform.real(platform.memory(kPageSize, kPageSize)).raw();
  for (std::size_t i = 0; i < kTcesPerCall; ++i)
    for (std::size_t byte = 0; byte < 8; ++byte)
      list[8 * i + byte] = static_cast<std::uint8_t>((page | 3) >> (56 - 8 * byte));
  std::uint64_t tce = 0;

  check.answer("H_PUT_TCE_INDIRECT of 512", put_tce_indirect(port, liobn, kPlace, at, 512), kSuccess);
  (void)get_tce(port, liobn, kPlace + 511 * kPageSize, tce);
  check.equal(tce, page | 3, "H_PUT_TCE_INDIRECT: the list is big endian");
  check.answer("H_STUFF_TCE of 512", stuff_tce(port, liobn, kPlace, 0, 512), kSuccess);
  (void)get_tce(port, liobn, kPlace + 511 * kPageSize, tce);
  check.equal(tce & 3, 0, "H_STUFF_TCE emptied the last entry");

  check.answer("H_PUT_TCE_INDIRECT of 0", put_tce_indirect(port, liobn, kPlace, at, 0), kParameter);
  check.answer("H_PUT_TCE_INDIRECT of 513", put_tce_indirect(port, liobn, kPlace, at, 513), kParameter);
  check.answer("H_PUT_TCE_INDIRECT, list not at a page", put_tce_indirect(port, liobn, kPlace, at + 8, 1),
               kParameter);
  check.answer("H_PUT_TCE_INDIRECT, no such LIOBN", put_tce_indirect(port, 0x7fffffff, kPlace, at, 1),
               kParameter);
  check.answer("H_PUT_TCE_INDIRECT behind the window", put_tce_indirect(port, liobn, end, at, 1), kParameter);
  check.answer("H_PUT_TCE_INDIRECT, IOBA not at a page", put_tce_indirect(port, liobn, kPlace + 8, at, 1),
               kParameter, kSuccess);
  const RealAddress nowhere((platform.memory_last().raw() + 1) + (std::uint64_t{1} << 32));
  check.answer("H_PUT_TCE_INDIRECT, list behind memory", put_tce_indirect(port, liobn, kPlace, nowhere, 1),
               kParameter, kSuccess);
  (void)put_tce(port, liobn, kPlace, 0);

  check.answer("H_PUT_TCE_INDIRECT across the end", put_tce_indirect(port, liobn, end - 2 * kPageSize, at, 4),
               kParameter);
  (void)get_tce(port, liobn, end - 2 * kPageSize, tce);
  check.count("H_PUT_TCE_INDIRECT across the end: entries it left at the front", (tce & 3) != 0, 0, 1);
  (void)put_tce(port, liobn, end - 2 * kPageSize, page | 3);
  (void)put_tce(port, liobn, end - kPageSize, page | 3);
  check.answer("H_STUFF_TCE across the end", stuff_tce(port, liobn, end - 2 * kPageSize, 0, 4), kParameter);
  (void)get_tce(port, liobn, end - 2 * kPageSize, tce);
  check.count("H_STUFF_TCE across the end: entries it emptied at the front", (tce & 3) == 0, 0, 1);
  (void)stuff_tce(port, liobn, end - 2 * kPageSize, 0, 2);

  check.answer("H_STUFF_TCE of 0", stuff_tce(port, liobn, kPlace, 0, 0), kParameter);
  check.answer("H_STUFF_TCE of 513", stuff_tce(port, liobn, kPlace, 0, 513), kParameter, kSuccess);
  check.answer("H_STUFF_TCE of more than the window has",
               stuff_tce(port, liobn, window.first, 0, window.entries + 1), kParameter);
  check.answer("H_STUFF_TCE, no such LIOBN", stuff_tce(port, 0x7fffffff, kPlace, 0, 1), kParameter);
  check.answer("H_STUFF_TCE behind the window", stuff_tce(port, liobn, end, 0, 1), kParameter);
  check.answer("H_STUFF_TCE, IOBA not at a page", stuff_tce(port, liobn, kPlace + 8, 0, 1), kParameter,
               kSuccess);
  check.answer("H_STUFF_TCE with rights", stuff_tce(port, liobn, kPlace, page | 3, 2), kParameter, kSuccess);
  (void)stuff_tce(port, liobn, kPlace, 0, 2);
}

}  // namespace

void answers(Platform& platform) {
  Checks check(platform, "answers");
  const WindowGeometry& window = platform.device(0).window();
  check.that(TceWindow::valid(window), "the default window makes sense");
  check.equal(window.first.raw(), 0, "the default window starts at 0");
  check.equal(window.entries << window.page_shift, std::uint64_t{1} << 30, "the default window has 1 GiB");
  single_calls(platform, window, check);
  lists(platform, window, check);
}

void refusals(Platform& platform) {
  Checks check(platform, "refusals");
  CountingPort port(platform.port());
  WindowGeometry geometry = platform.device(0).window();
  geometry.memory_last = platform.memory_last();
  TceWindow window(port, geometry);
  const RealAddress page = platform.real(platform.memory(kPageSize, kPageSize));
  const Tce good[4] = {make_tce(page, Access::read), make_tce(page, Access::read),
                       make_tce(page, Access::read), make_tce(page, Access::read)};
  const Ioba end = window.last() + 1;
  auto refused = [&](Ioba ioba, Tce tce, Refusal wanted, const char* name) {
    check.refused(window.map(ioba, &tce, 1), wanted, name);
  };

  check.refused(window.map(kPlace, good, 0), Refusal::length, "map of nothing");
  check.refused(window.unmap(kPlace, 0), Refusal::length, "unmap of nothing");
  check.refused(window.map(end, good, 1), Refusal::range, "map behind the window");
  check.refused(window.map(end - 2 * kPageSize, good, 4), Refusal::range, "map across the end");
  check.refused(window.map(kPlace, good, ~std::uint64_t{0}), Refusal::range, "map of a count that wraps");
  check.refused(window.unmap(end - 2 * kPageSize, 4), Refusal::range, "unmap across the end");
  check.refused(window.unmap(end, 1), Refusal::range, "unmap behind the window");
  check.refused(window.map(kPlace + 8, good, 1), Refusal::alignment, "map at no page");
  check.refused(window.unmap(kPlace + 0x800, 1), Refusal::alignment, "unmap at no page");
  refused(kPlace, make_tce(page + 0x800, Access::read), Refusal::access, "map of an address within a page");
  refused(kPlace, make_tce(page, Access::none), Refusal::access, "map without a right");
  refused(kPlace, make_tce(platform.memory_last() + 1, Access::read), Refusal::memory,
          "map of an address behind memory");
  refused(kPlace, make_tce(RealAddress(~std::uint64_t{0xfff}), Access::read), Refusal::memory,
          "map of the top address");
  {
    Tce list[2] = {good[0], make_tce(page, Access::none)};
    check.refused(window.map(kPlace, list, 2), Refusal::access, "map of a list with one bad entry");
  }
  Tce found;
  check.refused(window.get(end, found), Refusal::range, "get behind the window");

  WindowGeometry high = geometry;
  high.first = Ioba(std::uint64_t{1} << 59);
  TceWindow above(port, high);
  check.refused(above.map(high.first - kPageSize, good, 1), Refusal::range, "map below the window");
  check.refused(above.unmap(high.first - kPageSize, 2), Refusal::range, "unmap across the start");

  WindowGeometry large = geometry;
  large.page_shift = 16;
  large.entries = 16;
  TceWindow coarse(port, large);
  const Tce small = make_tce(RealAddress(0x11000), Access::read);
  check.refused(coarse.map(Ioba(0), &small, 1), Refusal::alignment, "map of a 4K page by an entry of 64K");
  check.refused(coarse.map(Ioba(0x1000), good, 1), Refusal::alignment, "map at 4K in a window of 64K");
  check.equal(port.calls, 0, "none of these made an hcall");

  WindowGeometry bad = geometry;
  bad.entries = 0;
  check.that(!TceWindow::valid(bad), "a window of nothing is not valid");
  bad = geometry;
  bad.first = Ioba(8);
  check.that(!TceWindow::valid(bad), "a window at no page is not valid");
  bad = geometry;
  bad.first = Ioba(~std::uint64_t{0xfff});
  bad.entries = 2;
  check.that(!TceWindow::valid(bad), "a window that wraps is not valid");
  bad.entries = 1;
  check.that(TceWindow::valid(bad), "a window to the top is valid");
  bad = geometry;
  bad.page_shift = 11;
  check.that(!TceWindow::valid(bad), "pages of 2K are not valid");
}

}  // namespace papr_suite
