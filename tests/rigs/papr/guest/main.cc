// SPDX-License-Identifier: LGPL-2.1-or-later
// The suite on a machine without an operating system.  The kernel command line:
//     only=NAME    this section alone
//     xive         ask for XIVE where the machine leaves the choice
//     mutant=NAME  a deliberate bug between the core and the hypervisor (mutants.h)
#include "hypercall/papr/core/xive.h"
#include "tests/papr/mutants.h"
#include "tests/papr/suite.h"
#include "tests/rigs/papr/guest/edu.h"
#include "tests/rigs/papr/guest/runtime.h"

extern "C" char image_end[];
extern "C" void (*init_array[])();
extern "C" void (*init_array_end[])();

namespace guest {
namespace {

class Machine final : public papr_suite::Platform {
 public:
  Machine(Port& port, Port& raw, RtasPort& rtas, Memory& memory)
      : port_(port), raw_(raw), rtas_(rtas), memory_(memory) {}

  bool add(Port& port, RtasPort& rtas, const HostBridge& bridge) {
    if (count_ == 2 || !edus_[count_].find(port, rtas, bridge)) return false;
    if (count_++ == 0) {
      dynamic_windows_ = bridge.dynamic_windows;
      msix_vectors_ = find_msix(rtas, bridge, msix_);
    }
    return true;
  }
  void set_interrupts(papr_suite::InterruptController controller) { interrupts_ = controller; }

  Port& port() override { return port_; }
  Port& raw() override { return raw_; }
  RtasPort& rtas() override { return rtas_; }
  std::size_t devices() const override { return count_; }
  papr_suite::Device& device(std::size_t index) override { return edus_[index]; }
  bool msix_function(PciAddress& function, std::uint32_t& vectors) override {
    function = msix_;
    vectors = msix_vectors_;
    return vectors != 0;
  }
  bool dynamic_windows() const override { return dynamic_windows_; }
  papr_suite::InterruptController interrupts() const override { return interrupts_; }
  bool strict() const override { return false; }
  std::uint8_t* memory(std::size_t bytes, std::size_t alignment) override {
    return memory_.take(bytes, alignment);
  }
  RealAddress real(const void* pointer) const override {
    return RealAddress(reinterpret_cast<std::uintptr_t>(pointer));
  }
  RealAddress memory_last() const override { return memory_.last(); }

  void result(const char* name, const char* failure) override {
    ++checks;
    const bool good = *failure == '\0';
    if (!good) ++failed;
    line(good ? "ok " : "not ok ", name, good ? nullptr : failure);
  }
  void skipped(const char* name, const char* why) override {
    ++skips;
    print("ok ");
    print(name);
    print(" # SKIP ");
    print(why);
    print("\n");
  }
  void difference(const char* name, const char* strict, const char* qemu) override {
    print("# differs: ");
    print(name);
    print(" | ");
    print(strict);
    print(" | ");
    print(qemu);
    print("\n");
  }

  std::uint64_t checks = 0;
  std::uint64_t skips = 0;
  std::uint64_t failed = 0;

 private:
  static void line(const char* verdict, const char* name, const char* reason) {
    print(verdict);
    print(name);
    if (reason != nullptr) {
      print(" - ");
      print(reason);
    }
    print("\n");
  }
  Port& port_;
  Port& raw_;
  RtasPort& rtas_;
  Memory& memory_;
  Edu edus_[2];
  std::size_t count_ = 0;
  PciAddress msix_;
  std::uint32_t msix_vectors_ = 0;
  bool dynamic_windows_ = false;
  papr_suite::InterruptController interrupts_ = papr_suite::InterruptController::xics;
};

/// The value of `key` ("only=") on the command line, up to a blank; null: not there.
bool option(const Property& line, const char* key, char* value, std::size_t most) {
  const auto* text = reinterpret_cast<const char*>(line.value);
  const std::size_t length = __builtin_strlen(key);
  for (std::uint32_t i = 0; i + length < line.bytes; ++i) {
    if (i != 0 && text[i - 1] != ' ') continue;
    std::size_t same = 0;
    while (same < length && text[i + same] == key[same]) ++same;
    if (same != length) continue;
    std::size_t at = 0;
    for (const char* from = text + i + length; *from != '\0' && *from != ' ' && at + 1 < most; ++from)
      value[at++] = *from;
    value[at] = '\0';
    return true;
  }
  return false;
}

/// XIVE is asked for where the machine has nothing else, or `xive`; XICS needs no asking.
void choose_interrupts(const Fdt& tree, bool xive, Port& port, Memory& memory, Machine& machine) {
  for (Node node = tree.first_child(tree.root()); node; node = tree.next_sibling(node))
    xive = xive || tree.property(node, "compatible").is("ibm,power-ivpe");
  if (!xive) return;
  Xive before(port);
  XiveSourceInfo info;
  machine.result("xive: refused before it is asked for",
                 before.source_info(Lisn(0), info) == kFunction ? "" : "another answer than H_FUNCTION");
  std::uint32_t pvr;
  asm("mfspr %0, 287" : "=r"(pvr));
  constexpr std::size_t kTreeBytes = 0x100000;
  std::uint8_t* page = memory.take(kPageSize, kPageSize);
  std::uint8_t* new_tree = memory.take(kTreeBytes, kPageSize);
  const Rc rc = ask_for_xive(port, page, machine.real(page), pvr, machine.real(new_tree), kTreeBytes);
  machine.result("xive: ibm,client-architecture-support", rc == kSuccess ? "" : name_of(rc));
  if (rc == kSuccess) machine.set_interrupts(papr_suite::InterruptController::xive);
}

void run(const void* blob) {
  const Fdt original(blob);
  if (!original.valid()) die("the device tree is not understood");
  // QEMU puts the tree near the top of memory; it comes down behind the program, and
  // all memory above is to be had.
  auto* copy = reinterpret_cast<std::uint8_t*>(image_end);
  if (static_cast<const std::uint8_t*>(blob) < copy + original.bytes()) die("the device tree is in the way");
  for (std::uint32_t i = 0; i < original.bytes(); ++i) copy[i] = static_cast<const std::uint8_t*>(blob)[i];
  const Fdt tree(copy);

  static MachinePort port;
  static MachineRtas rtas(port, tree);
  // What is left of the old tree has to look fresh, too.
  for (std::uint32_t i = 0, bytes = tree.bytes(); i < bytes; ++i)
    const_cast<std::uint8_t*>(static_cast<const std::uint8_t*>(blob))[i] = 0;
  static Memory memory(reinterpret_cast<std::uintptr_t>(copy + tree.bytes()), memory_bytes(tree) - 1);
  const Property command_line = tree.property(tree.child(tree.root(), "chosen"), "bootargs");
  char value[32];
  papr_suite::Mutant mutant = papr_suite::Mutant::none;
  if (option(command_line, "mutant=", value, sizeof value) && !papr_suite::mutant_named(value, mutant))
    die("no such mutant");
  static papr_suite::MutantPort tested(port, mutant);
  static Machine machine(tested, port, rtas, memory);
  for (Node node = tree.first_child(tree.root()); node; node = tree.next_sibling(node))
    if (tree.property(node, "device_type").is("pci")) machine.add(port, rtas, read_host_bridge(tree, node));
  choose_interrupts(tree, option(command_line, "xive", value, sizeof value), port, memory, machine);
  if (machine.devices() == 0) die("no edu on any host bridge");

  const bool some = option(command_line, "only=", value, sizeof value);
  print("# devices: ");
  print(std::uint64_t{machine.devices()});
  print(machine.dynamic_windows() ? ", dynamic windows" : ", no dynamic windows");
  print(machine.interrupts() == papr_suite::InterruptController::xive ? ", XIVE\n" : ", XICS\n");
  for (const papr_suite::Section& section : papr_suite::kSections)
    if (!some || equal(value, section.name)) section.run(machine);
  print("1..");
  print(machine.checks + machine.skips);
  print("\n");
}

}  // namespace
}  // namespace guest

extern "C" void guest_main(const void* tree) {
  for (auto function = init_array; function != init_array_end; ++function) (*function)();
  guest::run(tree);
  guest::power_off();
}
