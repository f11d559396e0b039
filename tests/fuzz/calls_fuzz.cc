// SPDX-License-Identifier: LGPL-2.1-or-later
// Fuzz target: every call of a VFIO program, on the engine and the model.
//
//   input:  variant, beginning, calls ..., of which the last eight bytes also
//           choose the order of closing
//
// Whatever the program did, when it is gone nothing of it is left: no mapping, no
// pin, no address space, no vector, no descriptor, no bus mastering.
#include <memory>
#include <random>
#include <string>

#include "hypercall/counted.h"
#include "hypercall/statistics.h"
#include "pviommu/address_space.h"
#include "tests/fuzz/calls.h"
#include "tests/fuzz/check.h"

namespace pviommu::fuzz {
namespace {

struct Variant {
  const char* hypervisor;
  const char* frames;
  std::uint32_t max_mappings;
  bool strict;
  bool failures;  ///< a hypercall may fail
};

// Of edu's megabyte the device clears each byte at every reset, if it can be mapped.
#define DEVICES "nvme,size=1M,addr=0000:00:05.0;edu,addr=0000:00:06.0,mmap=off"
#define MAPPABLE "nvme,size=1M,addr=0000:00:05.0;edu,addr=0000:00:06.0"
constexpr Variant kVariants[] = {
    {"model:" DEVICES, "copy", 65535, false, true},
    {"model:limits=xen;" DEVICES, "copy", 65535, false, true},
    {"model:limits=papr;" DEVICES, "copy", 65535, false, true},
    {"model:" DEVICES, "auto", 65535, false, true},
    {"model:limits=xen,direct=on,grant=2;" DEVICES, "copy", 8, true, true},
    {"model:frames=scattered,deferred-flush=on,max-runs=3,max-pages=5;nvme,size=1M,addr=0000:00:05.0,group=1;"
     "edu,addr=0000:00:06.0,group=1,mmap=off;edu,addr=0000:00:07.0,group=2,busy=on;edu,addr=0000:00:08.0,"
     "mmap=off",
     "copy", 65535, false, true},
    {"model:rmrr=0x8000-0xffff,p2p=off,max-spaces=1;" DEVICES, "copy", 65535, false, true},
    {"model:" MAPPABLE ";e1000e,addr=0000:00:07.0", "copy", 65535, false, true},
};
constexpr std::uint8_t kChoice[] = {0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7};

/// The machines live as long as the process: a program comes and goes.
struct Machine {
  explicit Machine(const Variant& variant) : failures(variant.failures) {
    vfio::EngineConfig config;
    config.hypervisor = variant.hypervisor;
    config.frame_source = variant.frames;
    config.max_mappings = variant.max_mappings;
    config.strict = variant.strict;
    config.quiet = true;
    auto created = vfio::Engine::create(config);
    FUZZ_CHECK(created, "%s", to_string(created.error()).c_str());
    engine = std::move(*created);
    model = dynamic_cast<model::Model*>(&dynamic_cast<Counted&>(engine->hypervisor()).inner());
    devices = *engine->hypervisor().devices();
  }
  std::unique_ptr<vfio::Engine> engine;
  model::Model* model = nullptr;
  std::vector<PciDeviceInfo> devices;
  bool failures;
};

void check_nothing_left(const Machine& machine) {
  const Statistics& counts = statistics();
  FUZZ_CHECK(counts.live_mappings() == 0, "%llu mappings are left",
             static_cast<unsigned long long>(counts.live_mappings()));
  FUZZ_CHECK(counts.live_pages() == 0, "%llu pages are left mapped",
             static_cast<unsigned long long>(counts.live_pages()));
  FUZZ_CHECK(counts.pinned_pages == 0, "%llu pages are left pinned",
             static_cast<unsigned long long>(counts.pinned_pages.load()));
  FUZZ_CHECK(AddressSpace::abandoned_pages() == 0, "pages were given up");
  FUZZ_CHECK(machine.model->live_spaces() == 0, "%u address spaces are left", machine.model->live_spaces());
  const model::Violations& violations = machine.model->violations();
  FUZZ_CHECK(violations.forgotten_in_use == 0, "frames were given back while mapped");
  FUZZ_CHECK(violations.wrong_frame == 0, "an unmap named another frame than was mapped");
  FUZZ_CHECK(violations.vectors_left == 0, "a device was given back with vectors");
  for (const PciDeviceInfo& info : machine.devices) {
    model::PciFunction& function = *machine.model->function(info.sbdf);
    FUZZ_CHECK((function.config_read(4, 2) & 4) == 0, "%s is left as bus master",
               to_string(info.sbdf).c_str());
    FUZZ_CHECK(machine.model->unbind_vector({info.sbdf, VectorKind::msix, 0}).error().code == ENOENT,
               "%s is left with vectors", to_string(info.sbdf).c_str());
  }
}

void run(Machine& machine, Program& program, Input input, std::uint64_t order) {
  Calls calls(*machine.engine, *machine.model, program, machine.failures);
  calls.begin(input);
  calls.run(input);
  program.end(order);
  machine.model->calls().forget_injections();
  check_nothing_left(machine);
}

}  // namespace
}  // namespace pviommu::fuzz

// Most of the time goes into the beginning and the end of a program, so an input
// is to have many calls between: three of four are filled up with random ones.
extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t bytes, std::size_t most);
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t bytes, std::size_t most,
                                               unsigned seed) {
  bytes = LLVMFuzzerMutate(data, bytes, most);
  std::minstd_rand random(seed);
  const std::size_t wanted = random() % 4 == 0 ? 0 : most / 2 + random() % (most / 2 + 1);
  while (bytes < wanted) data[bytes++] = static_cast<std::uint8_t>(random() >> 8);
  return bytes;
}

// A device that is opened and closed takes and gives back megabytes.
extern "C" const char* __asan_default_options() { return "quarantine_size_mb=16:malloc_context_size=12"; }

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  using namespace pviommu::fuzz;
  static Program program;
  static std::unique_ptr<Machine> machines[std::size(kVariants)];
  if (bytes < 2) return 0;
  Input input(data, bytes);
  const unsigned number = kChoice[input.below(std::size(kChoice))];
  if (!machines[number]) machines[number] = std::make_unique<Machine>(kVariants[number]);
  Machine& machine = *machines[number];

  std::uint64_t order = 0;
  if (bytes >= 8) std::memcpy(&order, data + bytes - 8, sizeof order);
  const unsigned before = open_descriptors();
  run(machine, program, input, order);
  // Rings and the devices' files are made when they are first wanted, and kept.
  constexpr unsigned kAgain = 4;
  unsigned again = 0;
  for (unsigned open = open_descriptors(), last = before; open > last; open = open_descriptors()) {
    FUZZ_CHECK(++again < kAgain, "%u descriptors, before %u", open, last);
    last = open;
    run(machine, program, input, order);
  }
  return 0;
}
