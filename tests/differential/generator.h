// SPDX-License-Identifier: LGPL-2.1-or-later
// Random sequences: mostly what a program could do and its neighbours, some garbage.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "tests/differential/operation.h"

namespace differential {

/// splitmix64: the same numbers everywhere.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
  std::uint64_t below(std::uint64_t limit) { return next() % limit; }
  bool chance(unsigned percent) { return below(100) < percent; }
  template <class T>
  T pick(std::initializer_list<T> values) {
    return values.begin()[below(values.size())];
  }
  const std::string& pick(const std::vector<std::string>& values) { return values[below(values.size())]; }

 private:
  std::uint64_t state_;
};

class Generator {
 public:
  /// `devices`: which may be opened, out of edu, nvme and e1000e.  Number `n` of a seed is
  /// the same sequence whatever was made before.
  Generator(std::uint64_t seed, std::uint64_t n, std::vector<std::string> devices);
  Sequence sequence();

 private:
  using Make = Operation (Generator::*)();
  struct Weight {
    Make make;
    unsigned weight;
  };
  Operation one_of(const std::vector<Weight>& weights);
  void prologue(Sequence& sequence);
  void damage(Operation& operation);

  Operation map();
  Operation unmap();
  Operation dirty();
  Operation info();
  Operation life();
  Operation group_call();
  Operation container_call();
  Operation raw();
  Operation irqs();
  Operation irq_event();
  Operation device_info();
  Operation config_read();
  Operation config_write();
  Operation region_access();
  Operation region_map();
  Operation device_call();

  std::uint64_t iova();
  std::uint64_t bytes();
  std::uint64_t odd();  ///< a number that is likely wrong
  std::string vaddr();
  std::string container() { return random_.chance(90) ? "c0" : "c1"; }
  std::string group() { return random_.chance(85) ? "g0" : "g1"; }
  std::string device() { return random_.chance(92) ? "d0" : "d1"; }
  std::string eventfd() { return "e" + std::to_string(random_.below(4)); }
  std::string any_slot();
  std::string device_name();
  std::string random_bytes(std::size_t count);

  Random random_;
  std::vector<std::string> devices_;
  std::string main_;  ///< the device of d0
  std::uint64_t iova_base_ = 0;
};

}  // namespace differential
