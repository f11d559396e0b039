// SPDX-License-Identifier: LGPL-2.1-or-later
// papr_module_fuzz SECONDS [SEED]: the kernel module against a model of it, then against
// noise from several threads and processes.  Whether the kernel got over it, its log says.
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <thread>

#include "module_client.h"

namespace pviommu::rig {
namespace {

using Random = std::mt19937_64;
using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kEdu = 1u << 16, kOther = 3u << 16;
constexpr std::uint64_t kBase = 0x400000;  ///< where entries are tried
constexpr unsigned kSlots = 96, kPages = 64;

[[noreturn]] void fail(const char* what, int wanted, int got, std::uint64_t step) {
  std::printf("papr_module_fuzz: step %llu: %s answered %d, not %d\n", static_cast<unsigned long long>(step), what,
              got, wanted);
  std::exit(1);
}

// ---- against a model -------------------------------------------------------------

struct Model {
  struct Pin {
    std::vector<std::uint64_t> frames;
    bool writable;
  };
  std::map<std::uint32_t, Pin> pins;
  std::map<unsigned, std::uint64_t> entries;

  /// By whole pages of the kernel's, which is what is held.
  static std::uint64_t page_of(std::uint64_t frame) { return frame / static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)); }
  bool holds(std::uint64_t tce, std::uint32_t without = 0) const {
    for (const auto& [id, pin] : pins) {
      if (id == without || ((tce & kWrite) != 0 && !pin.writable)) continue;
      for (const std::uint64_t frame : pin.frames)
        if (page_of(frame) == page_of(tce)) return true;
    }
    return false;
  }
};

std::uint64_t check_against_model(Random& random, Clock::time_point end) {
  ModuleFile file;
  if (const int error = file.claim(kEdu); error != 0) fail("claim", 0, error, 0);
  const std::uint32_t liobn = file.window.liobn;
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  Pages pages(kPages * page);
  std::memset(pages.data(), 1, pages.size());
  Model model;
  std::vector<std::uint64_t> seen;  // frames, pinned or not any more
  const auto pick = [&](std::uint64_t below) { return random() % below; };

  std::uint64_t step = 0;
  for (; Clock::now() < end; ++step) {
    switch (pick(5)) {
      case 0: {
        const std::uint64_t first = pick(kPages), count = 1 + pick(kPages - first);
        const bool writable = pick(3) != 0;
        if (model.pins.size() > 12) break;
        std::vector<std::uint64_t> frames;
        std::uint32_t id = 0;
        const int error = file.pin(pages.data() + first * page, count * page, frames, id, writable ? 1 : 0);
        if (error != 0) fail("pin", 0, error, step);
        seen.insert(seen.end(), frames.begin(), frames.end());
        if (seen.size() > 4096) seen.erase(seen.begin(), seen.begin() + 2048);
        model.pins[id] = {std::move(frames), writable};
        break;
      }
      case 1: {
        std::uint32_t id = static_cast<std::uint32_t>(pick(20));
        if (!model.pins.empty() && pick(4) != 0) id = std::next(model.pins.begin(), pick(model.pins.size()))->first;
        int wanted = model.pins.contains(id) ? 0 : ENOENT;
        if (wanted == 0)
          for (const auto& [slot, tce] : model.entries)
            if (!model.holds(tce, id)) wanted = EBUSY;
        const int error = file.unpin(id);
        if (error != wanted) fail("unpin", wanted, error, step);
        if (error == 0) model.pins.erase(id);
        break;
      }
      case 2: {
        const unsigned slot = static_cast<unsigned>(pick(kSlots));
        const unsigned count = static_cast<unsigned>(1 + pick(std::min(kSlots - slot, 12u)));
        std::vector<std::uint64_t> tces;
        int wanted = 0;
        for (unsigned i = 0; i < count; ++i) {
          std::uint64_t tce = (1 + pick(3)) | (seen.empty() ? random() & ~0xfffull & 0xffffffffff : seen[pick(seen.size())]);
          if (pick(200) == 0) tce ^= 1ull << (12 + pick(40));
          if (pick(200) == 0) tce &= ~3ull;
          if (wanted == 0) {  // in the order of the module
            if ((tce & 3) == 0)
              wanted = EINVAL;
            else if (model.entries.contains(slot + i))
              wanted = EEXIST;
            else if (!model.holds(tce & ~kWrite))
              wanted = EPERM;
            else if (!model.holds(tce))
              wanted = EACCES;
          }
          tces.push_back(tce);
        }
        const int error = file.map(liobn, kBase + slot * kTceBytes, tces);
        if (error != wanted) fail("map", wanted, error, step);
        for (unsigned i = 0; error == 0 && i < count; ++i) model.entries[slot + i] = tces[i];
        break;
      }
      case 3: {
        const unsigned slot = static_cast<unsigned>(pick(kSlots)), count = static_cast<unsigned>(1 + pick(kSlots - slot));
        const int error = file.unmap(liobn, kBase + slot * kTceBytes, count);
        if (error != 0) fail("unmap", 0, error, step);
        for (unsigned i = 0; i < count; ++i) model.entries.erase(slot + i);
        break;
      }
      case 4: {
        const unsigned slot = static_cast<unsigned>(pick(kSlots));
        std::uint64_t tce = 0;
        if (const int error = file.get(liobn, kBase + slot * kTceBytes, tce); error != 0) fail("get", 0, error, step);
        const auto found = model.entries.find(slot);
        if (tce != (found == model.entries.end() ? 0 : found->second)) fail("the entry", 0, 1, step);
        break;
      }
    }
  }
  if (file.info().mapped != model.entries.size()) fail("info", 0, 1, step);
  return step;
}

// ---- noise -----------------------------------------------------------------------

std::atomic<std::uint64_t> calls{0};

void noise(Random random, int fd, std::uint8_t* pages, std::size_t bytes, Clock::time_point end) {
  const auto number = [&]() -> std::uint64_t {
    switch (random() % 8) {
      case 0: return random();
      case 1: return random() % 16;
      case 2: return ~std::uint64_t{0} - random() % 16;
      case 3: return 0x80000100 + (random() % 4 << 8);
      case 4: return random() % 4 << 16;
      case 5: return reinterpret_cast<std::uintptr_t>(pages) + (random() % bytes & ~4095ull);
      case 6: return (random() % 512) * kTceBytes;
      default: return 1ull << random() % 64;
    }
  };
  const unsigned long requests[] = {PVIOMMU_PAPR_INFO,  PVIOMMU_PAPR_CLAIM, PVIOMMU_PAPR_RELEASE,
                                    PVIOMMU_PAPR_PIN,   PVIOMMU_PAPR_UNPIN, PVIOMMU_PAPR_MAP,
                                    PVIOMMU_PAPR_UNMAP, PVIOMMU_PAPR_GET_TCE, PVIOMMU_PAPR_VECTORS};
  while (Clock::now() < end) {
    calls.fetch_add(1, std::memory_order_relaxed);
    alignas(8) std::uint64_t argument[16];
    for (auto& word : argument) word = number();
    switch (random() % 12) {
      case 0: {  // by its name
        pviommu_papr_claim claim{static_cast<std::uint32_t>(number()), static_cast<std::uint32_t>(random() % 64 == 0), {}, 0, 0};
        ::ioctl(fd, PVIOMMU_PAPR_CLAIM, &claim);
        break;
      }
      case 1: {
        pviommu_papr_pin pin{reinterpret_cast<std::uintptr_t>(pages) + (random() % 64 << 16), (1 + random() % 16) << 16,
                             reinterpret_cast<std::uintptr_t>(argument), static_cast<std::uint32_t>(random() % 2), 0};
        std::vector<std::uint64_t> frames(pin.bytes / kTceBytes);
        pin.frames = reinterpret_cast<std::uintptr_t>(frames.data());
        if (::ioctl(fd, PVIOMMU_PAPR_PIN, &pin) != 0) break;
        for (auto& frame : frames) frame |= kRead;
        pviommu_papr_map map{static_cast<std::uint32_t>(0x80000100 + (random() % 3 << 8)),
                             static_cast<std::uint32_t>(1 + random() % std::min<std::size_t>(frames.size(), 256)),
                             (random() % 1024) * kTceBytes, reinterpret_cast<std::uintptr_t>(frames.data()), 0, 0, 0};
        ::ioctl(fd, PVIOMMU_PAPR_MAP, &map);
        if (random() % 4 != 0) {
          pviommu_papr_unmap unmap{map.liobn, 0, map.ioba, map.count, 0, 0};
          ::ioctl(fd, PVIOMMU_PAPR_UNMAP, &unmap);
        }
        pviommu_papr_unpin unpin{pin.pin, 0};
        ::ioctl(fd, PVIOMMU_PAPR_UNPIN, &unpin);
        break;
      }
      case 2: {
        pviommu_papr_vectors vectors{static_cast<std::uint32_t>(1 + random() % 3) << 16, static_cast<std::uint32_t>(random() % 3),
                                     static_cast<std::uint32_t>(random() % 4), 0};
        ::ioctl(fd, PVIOMMU_PAPR_VECTORS, &vectors);
        break;
      }
      case 3:
        if (pollfd waiting{fd, POLLIN, 0}; ::poll(&waiting, 1, 0) == 1)
          (void)!::read(fd, argument, random() % (sizeof argument + 1));
        break;
      case 4: {
        pviommu_papr_release release{static_cast<std::uint32_t>(random() % 4) << 16, 0};
        if (random() % 16 == 0) ::ioctl(fd, PVIOMMU_PAPR_RELEASE, &release);
        break;
      }
      case 5:
        ::ioctl(fd, requests[random() % std::size(requests)], number());
        break;
      default:
        ::ioctl(fd, random() % 8 == 0 ? random() : requests[random() % std::size(requests)], argument);
    }
  }
}

void one_process(std::uint64_t seed, Clock::time_point end) {
  Random random(seed);
  while (Clock::now() < end) {
    ModuleFile file;
    Pages pages(8u << 20);
    const auto until = std::min(end, Clock::now() + std::chrono::milliseconds(700));
    (void)file.claim(random() % 2 ? kEdu : kOther);
    std::thread other(noise, Random(random()), file.fd(), pages.data(), pages.size(), until);
    noise(Random(random()), file.fd(), pages.data(), pages.size(), until);
    other.join();
  }
}

}  // namespace
}  // namespace pviommu::rig

int main(int argc, char** argv) {
  using namespace pviommu::rig;
  const int seconds = argc > 1 ? std::atoi(argv[1]) : 4;
  const std::uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 0) : std::random_device{}();
  std::printf("papr_module_fuzz: seed %llu\n", static_cast<unsigned long long>(seed));
  std::fflush(stdout);
  Random random(seed);
  const auto half = std::chrono::milliseconds(500 * seconds);
  const std::uint64_t steps = check_against_model(random, Clock::now() + half);

  const auto end = Clock::now() + half;
  const pid_t child = ::fork();
  if (child == 0) {
    for (;;) one_process(random(), Clock::now() + std::chrono::hours(1));  // killed at work
  }
  one_process(seed + 1, end);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  // All of it is given back.
  for (const std::uint32_t sbdf : {1u << 16, 3u << 16}) {
    ModuleFile file;
    if (const int error = file.claim(sbdf, PVIOMMU_PAPR_CLAIM_CHECK_EMPTY); error != 0) {
      std::printf("papr_module_fuzz: claim of %x afterwards: %s\n", sbdf, std::strerror(error));
      return 1;
    }
  }
  std::printf("papr_module_fuzz: %llu steps as the model has it, %llu calls of noise and more in a child\n",
              static_cast<unsigned long long>(steps), static_cast<unsigned long long>(calls.load()));
  return 0;
}
