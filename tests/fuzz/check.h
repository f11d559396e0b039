// SPDX-License-Identifier: LGPL-2.1-or-later
// What every fuzz target shares: broken promises end the process, calls are counted.
#pragma once

#include <poll.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace pviommu::fuzz {

/// Ends the process as a crash does, so that the fuzzer keeps the input.
#define FUZZ_CHECK(condition, ...)                                                 \
  do {                                                                             \
    if (!(condition)) [[unlikely]] {                                               \
      std::fprintf(stderr, "%s:%d: broken: %s: ", __FILE__, __LINE__, #condition); \
      std::fprintf(stderr, __VA_ARGS__);                                           \
      std::fprintf(stderr, "\n");                                                  \
      std::abort();                                                                \
    }                                                                              \
  } while (0)

/// Calls into the code under test.  "fuzz: N calls" at the process's end, and to
/// $FUZZ_CALLS as one line of it.
class CallCount {
 public:
  static CallCount& instance() {
    static auto* count = new CallCount;
    return *count;
  }
  void add() { ++calls_; }

 private:
  CallCount() {
    std::atexit([] {
      const auto calls = static_cast<unsigned long long>(instance().calls_);
      std::fprintf(stderr, "fuzz: %llu calls\n", calls);
      const char* path = std::getenv("FUZZ_CALLS");
      if (std::FILE* file = path ? std::fopen(path, "a") : nullptr) {
        std::fprintf(file, "%llu\n", calls);
        std::fclose(file);
      }
    });
  }
  std::uint64_t calls_ = 0;
};
inline void count_call() { CallCount::instance().add(); }

/// Open descriptors below 512, by one system call.
inline unsigned open_descriptors() {
  std::array<pollfd, 512> all;
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = {static_cast<int>(i), 0, 0};
  ::poll(all.data(), all.size(), 0);
  unsigned open = 0;
  for (const pollfd& one : all) open += (one.revents & POLLNVAL) == 0;
  return open;
}

}  // namespace pviommu::fuzz
