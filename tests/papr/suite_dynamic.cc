// SPDX-License-Identifier: LGPL-2.1-or-later
// Windows made and removed by RTAS.
#include "hypercall/papr/core/dynamic_window.h"
#include "tests/papr/checks.h"
#include "tests/papr/suite.h"

namespace papr_suite {
namespace {

constexpr unsigned kShifts[] = {12, 16, 21, 24};
constexpr unsigned kPagesShift = 3;  // windows of eight pages

RtasStatus create(Platform& platform, PciAddress pe, unsigned page_shift, unsigned window_shift,
                  std::uint32_t* out) {
  const std::uint32_t in[] = {pe.config, high_cell(pe.buid), low_cell(pe.buid), page_shift, window_shift};
  return call(platform.rtas(), RtasCall::create_pe_dma_window, in, 5, out, 3);
}

/// One window of every page size, with data through its first and last page.
void each_size(Platform& platform, DynamicWindows& windows, unsigned shift, Checks& check) {
  Device& device = platform.device(0);
  Port& port = platform.raw();
  const Text size = Text().add("pages of 2^").add(std::int64_t{shift});
  auto name = [&](const char* what) { return Text().add(size.c_str()).add(": ").add(what); };

  WindowGeometry geometry;
  if (!check.done(windows.create(shift, shift + kPagesShift, geometry), name("create").c_str())) return;
  geometry.memory_last = platform.memory_last();
  check.that(TceWindow::valid(geometry), name("the window makes sense").c_str());
  check.equal(geometry.first.raw(), std::uint64_t{1} << 59, name("it lies at 1 << 59").c_str());
  check.that(geometry.liobn != device.window().liobn, name("a table of its own").c_str());
  DynamicWindowOffer offer;
  check.that(windows.query(offer) && offer.windows == 0, name("no further window is offered").c_str());

  TceWindow window(platform.port(), geometry);
  const std::uint64_t page_bytes = window.page_bytes();
  std::uint8_t* one = platform.memory(2 * page_bytes, page_bytes);
  std::uint8_t* other = one + page_bytes;
  fill(one + page_bytes - 512, 512, 0x19);
  fill(other, 512, 0x53);
  // The higher page of memory first, so that nothing is contiguous by chance.
  const Tce tces[2] = {make_tce(platform.real(other), Access::read_write),
                       make_tce(platform.real(one), Access::read)};
  Probe probe(platform, device);
  const Ioba first = geometry.first;
  check.done(window.map(first, tces, 2), name("map of two pages").c_str());
  check.that(probe.reads(first, other, 512), name("the device reads the start of the first").c_str(),
             "other data");
  check.that(probe.writes(first + page_bytes - 512, other + page_bytes - 512),
             name("the device writes the end of the first").c_str(), "the data did not arrive");
  check.that(probe.reads(first + 2 * page_bytes - 512, one + page_bytes - 512, 512),
             name("the device reads the end of the second").c_str(), "other data");
  check.that(probe.cannot_write(first + 2 * page_bytes - 512, one + page_bytes - 512),
             name("the device cannot write the second").c_str(), "it wrote");
  check.that(probe.cannot_read(Ioba(0), other, 512), name("nothing of it in the default window").c_str(),
             "it read");
  check.done(window.unmap(first, 2), name("unmap").c_str());
  check.that(probe.cannot_read(first, other, 512), name("then the device reads nothing").c_str(), "it read");

  const Ioba last = first + 7 * page_bytes;
  check.done(window.map(last, tces, 1), name("the last entry: map").c_str());
  check.that(probe.writes(last, other), name("the last entry: the device writes").c_str(),
             "the data did not arrive");
  check.done(window.unmap(last, 1), name("the last entry: unmap").c_str());

  const std::uint64_t liobn = geometry.liobn.raw();
  std::uint64_t tce;
  check.answer(name("H_PUT_TCE below the window").c_str(),
               put_tce(port, liobn, first - page_bytes, tces[0].raw()), kParameter);
  check.answer(name("H_PUT_TCE at 0").c_str(), put_tce(port, liobn, Ioba(0), tces[0].raw()), kParameter);
  check.answer(name("H_PUT_TCE behind the window").c_str(),
               put_tce(port, liobn, first + 8 * page_bytes, tces[0].raw()), kParameter);
  check.answer(name("H_GET_TCE below the window").c_str(), get_tce(port, liobn, first - page_bytes, tce),
               kParameter);
  if (shift > 12)
    check.answer(name("H_PUT_TCE of a 4K page").c_str(), put_tce(port, liobn, first, tces[0].raw() + 0x1000),
                 kParameter, kSuccess);
  (void)put_tce(port, liobn, first, 0);
  std::uint32_t out[3];
  check.answer(name("a second window").c_str(), create(platform, device.address(), 12, 20, out),
               kRtasHardware);

  check.done(windows.remove(geometry.liobn), name("remove").c_str());
  check.answer(name("H_PUT_TCE after the removal").c_str(), put_tce(port, liobn, first, tces[0].raw()),
               kParameter);
  check.answer(name("H_STUFF_TCE after the removal").c_str(), stuff_tce(port, liobn, first, 0, 1),
               kParameter);
  check.that(!windows.remove(geometry.liobn), name("a second removal is refused").c_str());
}

void refused(Platform& platform, DynamicWindows& windows, Checks& check) {
  Device& device = platform.device(0);
  WindowGeometry geometry;
  auto refusal = [&](unsigned page_shift, unsigned window_shift, const char* name) {
    const RtasResult result = windows.create(page_shift, window_shift, geometry);
    check.that(result.refusal == RtasRefusal::argument, name, "it was not");
  };
  refusal(13, 20, "refused here: pages of 8K");
  refusal(64, 64, "refused here: a shift of 64");
  refusal(16, 15, "refused here: a window smaller than a page");
  refusal(12, 63, "refused here: more entries than are offered");
  std::uint32_t out[3];
  check.answer("create, pages of 8K", create(platform, device.address(), 13, 20, out), kRtasParameter);
  check.answer("create, a window smaller than a page", create(platform, device.address(), 16, 15, out),
               kRtasParameter);
  PciAddress nobody = device.address();
  nobody.buid = Buid(0x123456789);
  check.answer("create, no such host bridge", create(platform, nobody, 12, 20, out), kRtasParameter);
  DynamicWindows strangers(platform.rtas(), nobody);
  DynamicWindowOffer offer;
  check.answer("query, no such host bridge", strangers.query(offer).status, kRtasParameter);
  check.answer("reset, no such host bridge", strangers.reset().status, kRtasParameter);
  check.answer("remove, no such LIOBN", windows.remove(Liobn(0x7fffffff)).status, kRtasParameter);
  const std::uint32_t in[] = {device.address().config, high_cell(device.address().buid)};
  check.answer("query with two arguments",
               call(platform.rtas(), RtasCall::query_pe_dma_window, in, 2, out, 3), kRtasParameter);
}

// The default window goes, a dynamic one takes its place, and reset brings it back.
void without_default(Platform& platform, DynamicWindows& windows, Checks& check) {
  const WindowGeometry geometry = platform.device(0).window();
  const std::uint64_t page = platform.real(platform.memory(kPageSize, kPageSize)).raw();
  Port& port = platform.raw();
  (void)put_tce(port, geometry.liobn.raw(), Ioba(0x5000), page | 3);
  check.done(windows.remove(geometry.liobn), "remove of the default window");
  check.answer("H_PUT_TCE to it", put_tce(port, geometry.liobn.raw(), Ioba(0x5000), page | 3), kParameter);
  DynamicWindowOffer offer;
  check.that(windows.query(offer) && offer.windows == 2, "two windows are offered", "another number");
  check.done(windows.reset(), "reset");
  check.that(windows.query(offer) && offer.windows == 1, "one window is offered", "another number");
  std::uint64_t tce = 3;
  check.answer("H_GET_TCE of the default window", get_tce(port, geometry.liobn.raw(), Ioba(0x5000), tce),
               kSuccess);
  check.equal(tce & 3, 0, "it is empty after the reset");
  check.answer("H_PUT_TCE to it again", put_tce(port, geometry.liobn.raw(), Ioba(0x5000), page | 3),
               kSuccess);
  (void)put_tce(port, geometry.liobn.raw(), Ioba(0x5000), 0);
}

class BusyRtas final : public RtasDecorator {
 public:
  using RtasDecorator::RtasDecorator;
  RtasStatus rtas(RtasCall call, const std::uint32_t* in, std::size_t ins, std::uint32_t* out,
                  std::size_t outs) override {
    if (times == 0) return under_.rtas(call, in, ins, out, outs);
    --times;
    return answer;
  }
  void wait(std::uint32_t milliseconds) override { waited += milliseconds; }
  unsigned times = 0;
  RtasStatus answer = kRtasBusy;
  std::uint64_t waited = 0;
};

void busy(Platform& platform, Checks& check) {
  BusyRtas rtas(platform.rtas());
  DynamicWindows windows(rtas, platform.device(0).address());
  DynamicWindowOffer offer;
  rtas.times = 5;
  check.done(windows.query(offer), "busy five times: query");
  rtas.times = 2;
  rtas.answer = kRtasLongBusyFirst + 2;
  check.done(windows.query(offer), "busy for 100 ms twice: query");
  check.equal(rtas.waited, 200, "and it waited so long");
  rtas.times = ~0u;
  const RtasResult result = windows.query(offer);
  check.that(result.refusal == RtasRefusal::busy && result.status == kRtasLongBusyFirst + 2,
             "busy for ever: given up");
}

}  // namespace

void dynamic_windows(Platform& platform) {
  Checks check(platform, "dynamic");
  DynamicWindows windows(platform.rtas(), platform.device(0).address());
  DynamicWindowOffer offer;
  const RtasResult asked = windows.query(offer);
  if (!platform.dynamic_windows()) {
    check.answer("query where there are none", asked.status, kRtasParameter);
    WindowGeometry geometry;
    check.that(!windows.create(12, 20, geometry), "create where there are none is refused");
    return;
  }
  check.done(asked, "query");
  check.that(offer.windows == 1, "one window is offered", "another number");
  for (const unsigned shift : kShifts)
    check.that((offer.page_sizes >> shift & 1) != 0,
               Text().add("pages of 2^").add(std::int64_t{shift}).add(" are offered").c_str());
  for (const unsigned shift : kShifts) each_size(platform, windows, shift, check);
  refused(platform, windows, check);
  without_default(platform, windows, check);
  busy(platform, check);
}

}  // namespace papr_suite
