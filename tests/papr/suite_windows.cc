// SPDX-License-Identifier: LGPL-2.1-or-later
// Mappings of the default window, and what a device gets at through them.
#include "tests/papr/checks.h"
#include "tests/papr/suite.h"

namespace papr_suite {
namespace {

constexpr Ioba kPlace{0x200000};

void access(Platform& platform, TceWindow& window, Probe& probe, Checks& check) {
  std::uint8_t* page = platform.memory(kPageSize, kPageSize);
  const RealAddress real = platform.real(page);
  fill(page, kPageSize, 0x40);

  check.that(probe.cannot_read(kPlace, page), "unmapped: the device cannot read", "it read");
  check.that(probe.cannot_write(kPlace, page), "unmapped: the device cannot write", "it wrote");

  const Tce both = make_tce(real, Access::read_write);
  check.done(window.map(kPlace, &both, 1), "read-write: map");
  check.that(probe.reads(kPlace, page), "read-write: the device reads", "it did not get the data");
  check.that(probe.writes(kPlace + 512, page + 512), "read-write: the device writes",
             "the data did not arrive");
  check.done(window.unmap(kPlace, 1), "read-write: unmap");
  check.that(probe.cannot_read(kPlace, page), "after the unmap the device cannot read", "it read");
  check.that(probe.cannot_write(kPlace, page), "after the unmap the device cannot write", "it wrote");

  const Tce read_only = make_tce(real, Access::read);
  check.done(window.map(kPlace, &read_only, 1), "read-only: map");
  check.that(probe.reads(kPlace, page), "read-only: the device reads", "it did not get the data");
  check.that(probe.cannot_write(kPlace, page), "read-only: the device cannot write", "it wrote");
  check.done(window.unmap(kPlace, 1), "read-only: unmap");

  const Tce write_only = make_tce(real, Access::write);
  check.done(window.map(kPlace, &write_only, 1), "write-only: map");
  fill(page, kPageSize, 0x55);
  check.that(probe.cannot_read(kPlace, page), "write-only: the device cannot read", "it read");
  check.that(probe.writes(kPlace, page), "write-only: the device writes", "the data did not arrive");
  check.done(window.unmap(kPlace, 1), "write-only: unmap");
}

// bus    | a | b |        one transfer of 2 KiB over the border
// memory | b |   | a |
void split(Platform& platform, TceWindow& window, Probe& probe, Checks& check) {
  std::uint8_t* memory = platform.memory(5 * kPageSize, kPageSize);
  std::uint8_t* a = memory + 3 * kPageSize;
  std::uint8_t* b = memory + kPageSize;
  const Tce tces[2] = {make_tce(platform.real(a), Access::read_write),
                       make_tce(platform.real(b), Access::read_write)};
  check.done(window.map(kPlace, tces, 2), "split: map of two pages apart");
  // The pattern as the device sees it is put together from both ends.
  std::uint8_t* whole = platform.memory(2048, 8);
  fill(whole, 2048, 0x11);
  for (std::size_t i = 0; i < 1024; ++i) {
    a[3072 + i] = whole[i];
    b[i] = whole[1024 + i];
  }
  check.that(probe.reads(kPlace + 3072, whole, 2048), "split: a read over the border",
             "not the data of both pages");
  // The device's write is collected in `whole` again.
  for (std::size_t i = 0; i < 1024; ++i) a[3072 + i] = b[i] = 0;
  struct Joined {
    static bool same(const std::uint8_t* a, const std::uint8_t* b, const std::uint8_t* whole) {
      for (std::size_t i = 0; i < 1024; ++i)
        if (static_cast<const volatile std::uint8_t*>(a)[3072 + i] != whole[i] ||
            static_cast<const volatile std::uint8_t*>(b)[i] != whole[1024 + i])
          return false;
      return true;
    }
  };
  Device& device = platform.device(0);
  std::uint8_t* source = platform.memory(kPageSize, kPageSize);
  fill(source, 2048, 0x77);
  const Tce from = make_tce(platform.real(source), Access::read);
  check.done(window.map(kPlace + 8 * kPageSize, &from, 1), "split: map of the source");
  device.read_memory(kPlace + 8 * kPageSize, 0, 2048);
  device.write_memory(kPlace + 3072, 0, 2048);
  check.that(Joined::same(a, b, source), "split: a write over the border", "not in both pages");
  check.that(all_zero(memory, kPageSize) && all_zero(memory + 2 * kPageSize, kPageSize) &&
                 all_zero(memory + 4 * kPageSize, kPageSize) && all_zero(a, 3072) && all_zero(b + 1024, 3072),
             "split: nothing beside it was touched", "other bytes changed");
  check.done(window.unmap(kPlace, 2), "split: unmap");
  check.done(window.unmap(kPlace + 8 * kPageSize, 1), "split: unmap of the source");
}

void many(Platform& platform, Probe& probe, Checks& check) {
  CountingPort port(platform.port());
  WindowGeometry geometry = platform.device(0).window();
  geometry.memory_last = platform.memory_last();
  TceWindow window(port, geometry);
  constexpr std::size_t kPages = 1100;
  std::uint8_t* memory = platform.memory(kPages * kPageSize, kPageSize);
  auto* tces = reinterpret_cast<Tce*>(platform.memory(kPages * sizeof(Tce), alignof(Tce)));
  // From the last page to the first, so that a run is never taken for a list.
  auto page = [&](std::size_t entry) { return memory + (kPages - 1 - entry) * kPageSize; };
  for (std::size_t i = 0; i < kPages; ++i) {
    tces[i] = make_tce(platform.real(page(i)), Access::read_write);
    fill(page(i), 256, static_cast<std::uint8_t>(i));
  }

  check.done(window.map(kPlace, tces, 512), "512 pages: map");
  check.equal(port.calls, 1, "512 pages: one hcall to map");
  check.done(window.unmap(kPlace, 512), "512 pages: unmap");
  check.equal(port.calls, 2, "512 pages: one hcall to unmap");

  port.calls = 0;
  check.done(window.map(kPlace, tces, kPages), "1100 pages: map");
  check.equal(port.calls, 3, "1100 pages: three hcalls to map");
  bool right = true;
  for (std::size_t i = 0; i < kPages; ++i) {
    std::uint64_t tce = 0;
    right = right && get_tce(platform.raw(), geometry.liobn.raw(), kPlace + i * kPageSize, tce) == kSuccess &&
            tce == tces[i].raw();
  }
  check.that(right, "1100 pages: every entry is read back");
  for (const std::size_t i : {std::size_t{0}, std::size_t{511}, std::size_t{512}, kPages - 1})
    check.that(probe.reads(kPlace + i * kPageSize, page(i), 64), "1100 pages: the device reads one of them",
               "other data");
  check.that(probe.writes(kPlace + 700 * kPageSize, page(700)), "1100 pages: the device writes one of them",
             "the data did not arrive");
  bool found = false;
  check.that(window.occupied(kPlace, kPages, found) && found, "1100 pages: occupied");
  check.done(window.unmap(kPlace + kPageSize, kPages - 2), "1100 pages: unmap of all but the ends");
  check.that(window.occupied(kPlace + kPageSize, kPages - 2, found) && !found, "1100 pages: those are empty");
  check.that(probe.reads(kPlace, page(0), 64), "1100 pages: the first is still there", "other data");
  check.that(probe.reads(kPlace + (kPages - 1) * kPageSize, page(kPages - 1), 64),
             "1100 pages: the last is still there", "other data");
  check.done(window.unmap(kPlace, 1), "1100 pages: unmap of the first");
  check.done(window.unmap(kPlace + (kPages - 1) * kPageSize, 1), "1100 pages: unmap of the last");
  check.that(probe.cannot_read(kPlace + 600 * kPageSize, page(600)), "1100 pages: the device reaches none",
             "it read");

  // Without lists and without stuff, as on a hypervisor that has neither.
  port.no_lists = port.no_stuff = true;
  port.calls = port.puts = 0;
  check.done(window.map(kPlace, tces, 40), "no lists: map");
  check.that(!window.has_lists(), "no lists: it is remembered");
  check.equal(port.puts, 40, "no lists: as many single calls");
  check.that(probe.reads(kPlace + 39 * kPageSize, page(39), 64), "no lists: the device reads", "other data");
  port.calls = port.puts = 0;
  check.done(window.unmap(kPlace, 40), "no stuff: unmap");
  check.that(!window.has_stuff(), "no stuff: it is remembered");
  check.equal(port.puts, 40, "no stuff: as many single calls");
  check.that(window.occupied(kPlace, 40, found) && !found, "no stuff: all are empty");
  port.calls = 0;
  check.done(window.map(kPlace, tces, 3), "no lists: map again");
  check.done(window.unmap(kPlace, 3), "no stuff: unmap again");
  check.equal(port.calls, 6, "what is not there is not asked for again");
}

void places(Platform& platform, TceWindow& window, Probe& probe, Checks& check) {
  std::uint8_t* one = platform.memory(kPageSize, kPageSize);
  std::uint8_t* other = platform.memory(kPageSize, kPageSize);
  fill(one, kPageSize, 0x21);
  fill(other, kPageSize, 0x93);
  const Tce tces[2] = {make_tce(platform.real(one), Access::read_write),
                       make_tce(platform.real(other), Access::read)};
  const Ioba first = window.geometry().first;
  check.done(window.map(first, &tces[0], 1), "the first entry: map");
  check.that(probe.reads(first, one), "the first entry: the device reads", "other data");
  check.done(window.unmap(first, 1), "the first entry: unmap");
  check.done(window.map(first, &tces[1], 1), "another page at the same place: map");
  check.that(probe.reads(first, other), "another page at the same place: the device reads it", "other data");
  check.done(window.unmap(first, 1), "another page at the same place: unmap");

  // The probe has the last page; the one before it is as good an end.
  const Ioba late = window.last() + 1 - 2 * kPageSize;
  check.done(window.map(late, tces, 1), "the end: map");
  check.that(probe.writes(late, one), "the end: the device writes", "the data did not arrive");
  check.done(window.unmap(late, 1), "the end: unmap");

  check.done(window.map(kPlace, &tces[0], 1), "one page at two places: map");
  check.done(window.map(kPlace + 16 * kPageSize, &tces[0], 1), "one page at two places: map again");
  check.done(window.unmap(kPlace, 1), "one page at two places: unmap of one");
  check.that(probe.writes(kPlace + 16 * kPageSize, one), "one page at two places: the other is still there",
             "the data did not arrive");
  check.done(window.unmap(kPlace + 16 * kPageSize, 1), "one page at two places: unmap of the other");
}

}  // namespace

void windows(Platform& platform) {
  Checks check(platform, "windows");
  WindowGeometry geometry = platform.device(0).window();
  geometry.memory_last = platform.memory_last();
  TceWindow window(platform.port(), geometry);
  Probe probe(platform, platform.device(0));
  access(platform, window, probe, check);
  split(platform, window, probe, check);
  many(platform, probe, check);
  places(platform, window, probe, check);
}

void isolation(Platform& platform) {
  Checks check(platform, "isolation");
  if (platform.devices() < 2) return check.skip("all", "one host bridge only");
  Device& here = platform.device(0);
  Device& there = platform.device(1);
  check.that(here.address().buid != there.address().buid, "two host bridges");
  check.that(here.window().liobn != there.window().liobn, "two tables");
  TceWindow window(platform.port(), here.window());
  TceWindow other(platform.port(), there.window());
  Probe probe(platform, here), stranger(platform, there);
  std::uint8_t* mine = platform.memory(kPageSize, kPageSize);
  std::uint8_t* theirs = platform.memory(kPageSize, kPageSize);
  fill(mine, kPageSize, 0x31);
  fill(theirs, kPageSize, 0xa5);
  const Tce my_tce = make_tce(platform.real(mine), Access::read_write);
  const Tce their_tce = make_tce(platform.real(theirs), Access::read_write);

  check.done(window.map(kPlace, &my_tce, 1), "map on the first bridge");
  check.that(probe.reads(kPlace, mine), "its device reads", "other data");
  check.that(stranger.cannot_read(kPlace, mine), "the other bridge's device cannot read", "it read");
  check.that(stranger.cannot_write(kPlace, mine), "the other bridge's device cannot write", "it wrote");
  bool found = true;
  check.that(other.occupied(kPlace, 1, found) && !found, "the other table has no such entry");

  check.done(other.map(kPlace, &their_tce, 1), "map of another page at the same place of the second bridge");
  check.that(stranger.reads(kPlace, theirs), "its device reads that page", "other data");
  check.that(probe.reads(kPlace, mine), "the first device still reads its own", "other data");
  check.done(window.unmap(kPlace, 1), "unmap on the first bridge");
  check.that(probe.cannot_read(kPlace, mine), "the first device reads nothing", "it read");
  check.that(stranger.writes(kPlace, theirs), "the second device is not touched by that",
             "the data did not arrive");
  check.done(other.unmap(kPlace, 1), "unmap on the second bridge");
}

}  // namespace papr_suite
