// SPDX-License-Identifier: LGPL-2.1-or-later
// Every hcall of a map and of an unmap fails once, before and after it did its
// work; and calls that are busy.
#include "tests/papr/checks.h"
#include "tests/papr/suite.h"

namespace papr_suite {
namespace {

constexpr Ioba kPlace{0x800000};
constexpr std::size_t kMost = 1030;  // three calls

/// Entries of [kPlace, +count) that have a right; asked past the decorator.
std::size_t present(Platform& platform, const WindowGeometry& geometry, std::size_t count) {
  std::size_t found = 0;
  for (std::size_t i = 0; i < count; ++i) {
    std::uint64_t tce = 0;
    if (get_tce(platform.raw(), geometry.liobn.raw(), kPlace + i * kPageSize, tce) == kSuccess &&
        (tce & 3) != 0)
      ++found;
  }
  return found;
}

struct Variant {
  const char* name;
  std::size_t count;
  bool lists;
  bool after_work;
};

void each_call(Platform& platform, const WindowGeometry& geometry, const Tce* tces, const Variant& variant,
               Checks& check) {
  unsigned maps = 0, unmaps = 0;
  bool map_good = true, unmap_good = true, told = true;
  for (unsigned n = 1; n < 64; ++n) {
    CountingPort port(platform.port());
    port.no_lists = port.no_stuff = !variant.lists;
    port.after_work = variant.after_work;
    TceWindow window(port, geometry);
    port.fail_from = n;
    const WindowResult mapped = window.map(kPlace, tces, variant.count);
    if (mapped) {
      // It never failed, or it found another way: everything must be there.
      map_good = map_good && mapped.done == variant.count &&
                 present(platform, geometry, variant.count) == variant.count;
      if (port.calls < n) break;
    } else {
      map_good = map_good && mapped.done == 0 && !mapped.uncertain &&
                 present(platform, geometry, variant.count) == 0;
      told = told && mapped.refusal == Refusal::hypervisor && mapped.rc == kHardware;
    }
    (void)stuff_tce(platform.raw(), geometry.liobn.raw(), kPlace, 0, 512);
    (void)stuff_tce(platform.raw(), geometry.liobn.raw(), kPlace + 512 * kPageSize, 0, 512);
    (void)stuff_tce(platform.raw(), geometry.liobn.raw(), kPlace + 1024 * kPageSize, 0, kMost - 1024);
    ++maps;
  }
  for (unsigned n = 1; n < 64; ++n) {
    CountingPort port(platform.port());
    port.no_lists = port.no_stuff = !variant.lists;
    port.after_work = variant.after_work;
    TceWindow window(platform.port(), geometry);
    if (!window.map(kPlace, tces, variant.count)) unmap_good = false;
    TceWindow failing(port, geometry);
    port.fail_from = n;
    const WindowResult unmapped = failing.unmap(kPlace, variant.count);
    // One failure is not enough to keep an entry.
    unmap_good = unmap_good && unmapped && unmapped.done == variant.count &&
                 present(platform, geometry, variant.count) == 0;
    if (port.calls < n) break;
    ++unmaps;
  }
  check.that(map_good, Text().add(variant.name).add(": map is all or nothing").c_str(),
             "entries stayed or are missing");
  check.that(told, Text().add(variant.name).add(": map says why").c_str());
  check.that(unmap_good, Text().add(variant.name).add(": unmap leaves nothing").c_str(), "entries stayed");
  check.that(maps >= (variant.lists ? (variant.count + 511) / 512 : 7) && unmaps >= 1,
             Text().add(variant.name).add(": calls did fail").c_str(), "the failure was never met");
}

void persistent(Platform& platform, const WindowGeometry& geometry, const Tce* tces, Checks& check) {
  CountingPort port(platform.port());
  TceWindow window(port, geometry);
  port.fail_from = 2;
  port.fail_times = 1000000;
  port.after_work = false;
  const WindowResult mapped = window.map(kPlace, tces, 520);
  check.refused(mapped, Refusal::hypervisor, "nothing works from the second call on: map");
  check.that(mapped.uncertain, "and it says that entries may have stayed");
  check.equal(present(platform, geometry, 520), 512, "they have");
  CountingPort later(platform.port());
  TceWindow again(later, geometry);
  later.fail_from = 1;
  later.fail_times = 1000000;
  const WindowResult unmapped = again.unmap(kPlace, 512);
  check.refused(unmapped, Refusal::hypervisor, "nothing works: unmap");
  check.equal(unmapped.done, 0, "and it says that nothing was done");
  later.fail_from = 0;
  check.done(again.unmap(kPlace, 512), "it works again: unmap");
  check.equal(present(platform, geometry, 520), 0, "and nothing is left");
}

// The window is told to be longer than it is, so that the hypervisor's end lies in
// the middle of a list.
void across_the_end(Platform& platform, const WindowGeometry& geometry, const Tce* tces, Checks& check) {
  WindowGeometry longer = geometry;
  longer.entries += 256;
  TceWindow window(platform.port(), longer);
  const Ioba start = geometry.first + ((geometry.entries - 256) << geometry.page_shift);
  const WindowResult mapped = window.map(start, tces, 512);
  check.refused(mapped, Refusal::hypervisor, "a list across the hypervisor's end: map");
  check.answer("a list across the hypervisor's end", mapped.rc, kParameter);
  check.that(!mapped.uncertain, "a list across the hypervisor's end: nothing may have stayed");
  bool clean = true;
  for (std::size_t i = 0; i < 256; ++i) {
    std::uint64_t tce = 0;
    clean = clean && get_tce(platform.raw(), geometry.liobn.raw(), start + i * kPageSize, tce) == kSuccess &&
            (tce & 3) == 0;
  }
  check.that(clean, "a list across the hypervisor's end is rolled back", "entries stayed");
}

void busy(Platform& platform, const WindowGeometry& geometry, const Tce* tces, Checks& check) {
  bool found = false;
  {
    CountingPort port(platform.port());
    TceWindow window(port, geometry);
    port.fail_from = 1;
    port.fail_times = 20;
    port.failure = kBusy;
    check.done(window.map(kPlace, tces, 600), "H_BUSY twenty times: map");
    port.calls = 0;
    check.done(window.unmap(kPlace, 600), "H_BUSY twenty times: unmap");
    check.that(window.occupied(kPlace, 600, found) && !found, "H_BUSY twenty times: nothing is left");
  }
  {
    CountingPort port(platform.port());
    TceWindow window(port, geometry);
    port.fail_from = 1;
    port.fail_times = 3;
    port.failure = kLongBusyFirst + 1;
    check.done(window.map(kPlace, tces, 2), "H_LONG_BUSY_ORDER_10_MSEC three times: map");
    check.equal(port.waited, 30, "and it waited as it was told");
    check.done(window.unmap(kPlace, 2), "and unmap");
  }
  {
    CountingPort port(platform.port());
    TceWindow window(port, geometry, Patience{50, 2500});
    port.fail_from = 1;
    port.fail_times = 1000000;
    port.failure = kBusy;
    const WindowResult mapped = window.map(kPlace, tces, 2);
    check.refused(mapped, Refusal::busy, "H_BUSY for ever: map gives up");
    check.that(port.calls < 1000, "and soon", "it asked too often");
    port.calls = 0;
    port.failure = kLongBusyFirst + 3;
    check.refused(window.unmap(kPlace, 1), Refusal::busy, "H_LONG_BUSY_ORDER_1_SEC for ever: unmap gives up");
    check.that(port.waited <= std::uint64_t{4} * 2500 * 2, "and soon enough", "it waited too long");
    port.fail_from = 0;
    check.done(window.unmap(kPlace, 2), "it answers again: unmap");
    check.that(window.occupied(kPlace, 2, found) && !found, "nothing is left");
  }
}

}  // namespace

void failures(Platform& platform) {
  Checks check(platform, "failures");
  WindowGeometry geometry = platform.device(0).window();
  geometry.memory_last = platform.memory_last();
  std::uint8_t* memory = platform.memory(4 * kPageSize, kPageSize);
  auto* tces = reinterpret_cast<Tce*>(platform.memory(kMost * sizeof(Tce), alignof(Tce)));
  for (std::size_t i = 0; i < kMost; ++i)
    tces[i] = make_tce(platform.real(memory + (i % 4) * kPageSize), Access::read_write);
  constexpr Variant kVariants[] = {
      {"lists", kMost, true, false},     {"lists that fail half done", kMost, true, true},
      {"single calls", 7, false, false}, {"single calls that fail when done", 7, false, true},
      {"one page", 1, true, false},
  };
  for (const Variant& variant : kVariants) each_call(platform, geometry, tces, variant, check);
  persistent(platform, geometry, tces, check);
  across_the_end(platform, geometry, tces, check);
  busy(platform, geometry, tces, check);
}

}  // namespace papr_suite
