// SPDX-License-Identifier: LGPL-2.1-or-later
// A sequence of calls of a program on an engine, decoded from a fuzzer's input.
#pragma once

#include <cstdint>
#include <span>

#include "hypercall/model/model.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/program.h"
#include "vfio-glue/engine/engine.h"

namespace pviommu::fuzz {

class Calls {
 public:
  /// One hypercall of the input may fail when `failures`.
  Calls(vfio::Engine& engine, model::Model& model, Program& program, bool failures)
      : engine_(engine), model_(model), program_(program), may_fail_(failures) {}

  /// What nearly all programs begin with, as far as the first bytes say.
  void begin(Input& input);
  void run(Input& input);

 private:
  void step(Input& input);

  // Files.
  void open(Input& input);
  void open_device(Input& input);
  void map_bar(Input& input);

  // One ioctl each.
  void any_ioctl(Input& input);
  void map(Input& input);
  void unmap(Input& input);
  void dirty(Input& input);
  void set_irqs(Input& input);
  void info(Input& input);
  void feature(Input& input);
  void hot_reset(Input& input);
  void ioeventfd(Input& input);

  // Regions.
  void config(Input& input);
  void bar(Input& input);
  void region(Input& input);
  void edu_transfer(Input& input);

  void fail_once(Input& input);

  std::uint64_t iova(Input& input) const;
  std::uint64_t size(Input& input) const;
  std::uint64_t hva(Input& input) const;
  /// An address for a structure of `bytes`; nearly always one where it fits.
  std::uint64_t place(Input& input, std::size_t bytes) const;
  /// What argsz says of a structure that should have `wanted` bytes.
  static std::uint32_t argsz(Input& input, std::size_t wanted);
  int file(Input& input, std::string_view kind) const;

  /// Stores into the structures' memory; nothing for an address elsewhere.
  void put(std::uint64_t at, const void* from, std::size_t bytes);
  /// Puts the structure into the program's memory and calls.
  long ioctl(Input& input, int fd, std::uint32_t request, std::span<const std::uint8_t> structure);
  template <class T>
  long ioctl(Input& input, int fd, std::uint32_t request, const T& structure) {
    return ioctl(input, fd, request,
                 std::span(reinterpret_cast<const std::uint8_t*>(&structure), sizeof structure));
  }
  long ioctl(int fd, std::uint32_t request, std::uint64_t argument);
  long access(int fd, bool write, std::uint64_t buffer, std::size_t bytes, std::int64_t offset);

  vfio::Engine& engine_;
  model::Model& model_;
  Program& program_;
  bool may_fail_;
};

}  // namespace pviommu::fuzz
