// SPDX-License-Identifier: LGPL-2.1-or-later
// Weighted choice of operations, and then of their arguments: mostly right ones, now and then
// one thing wrong (damage()).  A change here changes the sequence of every seed.
#include "tests/differential/generator.h"

#include <linux/vfio.h>

#include <algorithm>
#include <utility>

#include "tests/differential/structures.h"

namespace differential {

Generator::Generator(std::uint64_t seed, std::uint64_t n, std::vector<std::string> devices)
    : random_(Random(seed).next() ^ (n + 1) * 0xd1342543de82ef95), devices_(std::move(devices)) {}

Sequence Generator::sequence() {
  const std::vector<Weight> mapping{
      {&Generator::map, 40}, {&Generator::unmap, 30}, {&Generator::dirty, 12}, {&Generator::info, 8}};
  const std::vector<Weight> interrupts{{&Generator::irqs, 60},       {&Generator::irq_event, 25},
                                       {&Generator::device_info, 3}, {&Generator::config_write, 6},
                                       {&Generator::config_read, 3}, {&Generator::region_access, 5}};
  const std::vector<Weight> config{{&Generator::config_read, 45},
                                   {&Generator::config_write, 45},
                                   {&Generator::region_access, 6},
                                   {&Generator::irqs, 4}};
  const std::vector<Weight> regions{{&Generator::region_access, 45},
                                    {&Generator::region_map, 25},
                                    {&Generator::device_info, 20},
                                    {&Generator::device_call, 15},
                                    {&Generator::config_write, 10}};
  const std::vector<Weight> life{{&Generator::life, 40},           {&Generator::group_call, 25},
                                 {&Generator::container_call, 15}, {&Generator::map, 8},
                                 {&Generator::unmap, 4},           {&Generator::irqs, 3}};
  const std::vector<Weight> calls{
      {&Generator::raw, 40},         {&Generator::group_call, 10},  {&Generator::container_call, 15},
      {&Generator::device_info, 15}, {&Generator::device_call, 20}, {&Generator::info, 10}};
  std::vector<Weight> all;
  for (const auto* theme : {&mapping, &interrupts, &config, &regions, &life, &calls})
    all.insert(all.end(), theme->begin(), theme->end());

  main_ = random_.pick(devices_);
  const bool edu = main_.starts_with("edu");
  iova_base_ = random_.pick<std::uint64_t>(
      {0, 0, 0x10000, 0x100000000, 0xfedfc000, 0xfeefc000, 0x7fffffc000, 0x3ffffffc000});
  const auto* theme =
      random_.pick({&mapping, &interrupts, &config, &regions, &life, &calls, &std::as_const(all)});
  Sequence sequence;
  if (random_.chance(90)) prologue(sequence);
  // The devices that are reset when they are opened take their time.
  const std::uint64_t length = edu ? 10 + random_.below(70) : 100 + random_.below(150);
  for (std::uint64_t i = 0; i < length; ++i) {
    Operation operation = one_of(random_.chance(85) ? *theme : all);
    if (random_.chance(7)) damage(operation);
    sequence.push_back(std::move(operation));
  }
  return sequence;
}

void Generator::prologue(Sequence& sequence) {
  const auto add = [&](const std::string& line) { sequence.push_back(Operation::parse(line)); };
  add("container c0");
  add("group g0 " + main_);
  add("set_container g0 c0");
  if (random_.chance(20)) {
    add("group g1 " + device_name());
    if (random_.chance(70)) add("set_container g1 c0");
  }
  add(random_.chance(70) ? "set_iommu c0 type=3" : "set_iommu c0 type=1");
  if (random_.chance(95)) add("device d0 g0 name=" + main_);
  for (const char* eventfd : {"e0", "e1", "e2", "e3"}) add(std::string("eventfd ") + eventfd);
}

Operation Generator::one_of(const std::vector<Weight>& weights) {
  std::uint64_t sum = 0;
  for (const Weight& weight : weights) sum += weight.weight;
  std::uint64_t at = random_.below(sum);
  for (const Weight& weight : weights) {
    if (at < weight.weight) return (this->*weight.make)();
    at -= weight.weight;
  }
  return raw();
}

// One thing wrong with an operation.
void Generator::damage(Operation& operation) {
  const bool structure = operation.find("argsz") || operation.name == "map" || operation.name == "unmap" ||
                         operation.name == "set_irqs" || operation.name == "info" ||
                         operation.name.ends_with("_info") || operation.name == "status";
  switch (random_.below(structure ? 4 : 2)) {
    case 0:
      if (!operation.arguments.empty()) {
        auto& [key, value] = operation.arguments[random_.below(operation.arguments.size())];
        if (key == "data" || key == "vaddr" || key == "fd" || key == "name" || key == "prot" ||
            key == "groups" || key == "contents")
          return;
        value = hex(odd());
      }
      return;
    case 1:
      if (!operation.words.empty()) operation.words[0] = any_slot();
      return;
    case 2:
      if (!operation.find("argsz")) operation.set("argsz", random_.chance(70) ? random_.below(64) : odd());
      return;
    default:
      if (random_.chance(50))
        operation.set("room", random_.below(40));
      else
        operation.set("at", random_.pick<std::string>({"0", "m6", "m7", "0xffff800000000000", "ro", "8"}));
  }
}

std::uint64_t Generator::odd() {
  switch (random_.below(4)) {
    case 0:
      return random_.below(24);
    case 1:
      return (std::uint64_t{1} << random_.below(64)) - random_.below(2);
    case 2:
      return random_.pick<std::uint64_t>({0xffffffffffffffff, 0xfffffffffffff000, 0x7fffffffffffffff,
                                          0x8000000000000000, 0xffffffff, 0xfffff000, 0x80000000, 0x7fffffff,
                                          0xfff, 0x1001, 0x800, 0xfee00000});
    default:
      return random_.below(64) * 0x1000 + random_.below(2);
  }
}

std::uint64_t Generator::iova() {
  return iova_base_ + 0x1000 * random_.below(12) + (random_.chance(3) ? random_.below(4096) : 0);
}
std::uint64_t Generator::bytes() {
  if (random_.chance(4)) return odd();
  return 0x1000 * (1 + random_.below(random_.chance(80) ? 5 : 64));
}
std::string Generator::vaddr() {
  static const std::vector<std::string> kKinds{"m0", "m0", "m0", "m0", "m1", "m1", "m2",
                                               "m3", "m4", "m5", "m6", "m7", "v0"};
  std::string place = random_.pick(kKinds);
  if (random_.chance(2)) return hex(odd());
  const std::uint64_t offset = 0x1000 * (random_.chance(80) ? random_.below(8) : random_.below(66)) +
                               (random_.chance(3) ? random_.below(4096) : 0);
  return offset == 0 ? place : place + '+' + hex(offset);
}

std::string Generator::any_slot() {
  static const std::vector<std::string> kSlots{"c0", "c1", "g0", "g1", "d0", "d1", "e0", "e1", "c2", "-1"};
  return random_.pick(kSlots);
}
std::string Generator::device_name() { return random_.pick(devices_); }

std::string Generator::random_bytes(std::size_t count) {
  std::vector<std::uint8_t> bytes(count);
  const std::uint64_t kind = random_.below(4);
  for (auto& byte : bytes)
    byte = kind == 0 ? 0xff : kind == 1 ? 0 : static_cast<std::uint8_t>(random_.next());
  if (kind == 3 && count > 0) {
    std::fill(bytes.begin(), bytes.end(), std::uint8_t{0});
    bytes[random_.below(count)] = static_cast<std::uint8_t>(1u << random_.below(8));
  }
  return hex_bytes(bytes.data(), bytes.size());
}

// ---- container -----------------------------------------------------------------

Operation Generator::map() {
  Operation operation{"map", {container()}, {}};
  operation.set("iova", iova()).set("size", bytes()).set("vaddr", vaddr());
  const std::uint64_t kind = random_.below(20);
  if (kind < 10) return operation;
  if (kind == 19) return operation.set("flags", random_.below(16));
  return operation.set("flags", std::string(kind < 14 ? "r" : kind < 17 ? "w" : "vaddr"));
}

Operation Generator::unmap() {
  Operation operation{"unmap", {container()}, {}};
  const std::uint64_t kind = random_.below(20);
  if (kind < 14) return operation.set("iova", iova()).set("size", bytes());
  if (kind == 14)
    return operation.set("iova", std::uint64_t{0})
        .set("size", std::uint64_t{0})
        .set("flags", std::string("all"));
  if (kind == 15)
    return operation.set("iova", std::uint64_t{0})
        .set("size", std::uint64_t{0})
        .set("flags", std::string("all|vaddr"));
  if (kind == 16)
    return operation.set("iova", iova()).set("size", bytes()).set("flags", std::string("vaddr"));
  if (kind == 17) return operation.set("iova", iova()).set("size", bytes()).set("flags", random_.below(16));
  operation.set("iova", iova()).set("size", bytes()).set("flags", std::string("dirty"));
  if (random_.chance(20)) operation.set("bytes", random_.below(5) * 4);
  if (random_.chance(10))
    operation.set("pgsize", random_.pick<std::uint64_t>({0, 1, 0x200, 0x2000, 0x200000}));
  if (random_.chance(10)) operation.set("data", random_.pick<std::string>({"0", "m6", "m2", "b0+0x1"}));
  return operation;
}

Operation Generator::dirty() {
  Operation operation{"dirty", {container()}, {}};
  const std::uint64_t kind = random_.below(12);
  if (kind < 3) return operation.set("flags", std::string("start"));
  if (kind < 4) return operation.set("flags", std::string("stop"));
  if (kind < 5) return operation.set("flags", random_.below(16));
  operation.set("flags", std::string("get")).set("iova", iova()).set("size", bytes());
  if (random_.chance(15)) operation.set("bytes", random_.below(5) * 4);
  if (random_.chance(10))
    operation.set("pgsize", random_.pick<std::uint64_t>({0, 1, 0x200, 0x2000, 0x200000}));
  if (random_.chance(10)) operation.set("data", random_.pick<std::string>({"0", "m6", "m2", "b0+0x1"}));
  return operation;
}

Operation Generator::info() {
  Operation operation{"info", {container()}, {}};
  operation.set("argsz",
                random_.chance(50) ? random_.below(160) : random_.pick<std::uint64_t>({24, 128, 4096}));
  if (random_.chance(10)) operation.set("flags", odd());
  return operation;
}

Operation Generator::container_call() {
  switch (random_.below(5)) {
    case 0:
      return Operation{"api", {container()}, {}};
    case 1:
      return Operation{"set_iommu", {container()}, {}}.set(
          "type", random_.chance(60) ? random_.pick<std::uint64_t>({1, 3}) : random_.below(12));
    case 2:
      return info();
    default:
      return Operation{"extension", {container()}, {}}.set("n",
                                                           random_.chance(80) ? random_.below(14) : odd());
  }
}

// ---- objects -------------------------------------------------------------------

Operation Generator::life() {
  switch (random_.below(12)) {
    case 0:
      return {"container", {container()}, {}};
    case 1:
      return {"group", {group(), random_.chance(70) ? main_ : device_name()}, {}};
    case 2:
    case 3:
      return Operation{"device", {device(), group()}, {}}.set(
          "name", random_.chance(90)
                      ? main_
                      : random_.pick<std::string>({"edu2", "0000:00:06.1", "0000:00:06", "x"}));
    case 4:
      return {"eventfd", {eventfd()}, {}};
    case 5:
      return {"close", {random_.pick<std::string>({"c0", "g0", "d0", "c1", "g1", "d1", "e0"})}, {}};
    case 6: {
      const std::string from = any_slot();
      return {"dup", {from, from.substr(0, 1) + "1"}, {}};
    }
    case 7:
    case 8:
      return {"set_container", {group(), container()}, {}};
    case 9:
      return {"unset_container", {group()}, {}};
    case 10:
      return {"close", {random_.pick<std::string>({"d0", "d0", "g1"})}, {}};
    default:
      return Operation{"set_iommu", {container()}, {}}.set("type", random_.pick<std::uint64_t>({1, 3}));
  }
}

Operation Generator::group_call() {
  switch (random_.below(6)) {
    case 0:
    case 1: {
      Operation operation{"status", {group()}, {}};
      if (random_.chance(40)) operation.set("argsz", random_.below(20));
      return operation;
    }
    case 2:
      return {"set_container", {group(), any_slot()}, {}};
    case 3:
      return {"unset_container", {group()}, {}};
    case 4:
      return Operation{"device", {"d1", group()}, {}}.set(
          "at", random_.pick<std::string>({"0", "m6", "m0", "m2", "8"}));
    default:
      return Operation{"device", {device(), group()}, {}}.set(
          "name", random_.chance(70) ? main_ : random_.pick<std::string>({"0000:00:06.7", ".", "0"}));
  }
}

Operation Generator::raw() {
  Operation operation{"ioctl", {any_slot()}, {}};
  const std::uint64_t request =
      random_.chance(90)
          ? 0x3b64 + random_.below(24)
          : random_.pick<std::uint64_t>({0x3b00, 0x5401, 0x2, 0x5460, 0xc020660b, 0xc0045877, 0xffffffff,
                                         0x3b63, 0x80003b64, 0x13b64, 0x100003b64});
  operation.set("request", request);
  if (random_.chance(50))
    return operation.set("arg",
                         random_.pick<std::string>({"0", "1", "3", "m0", "m6", "m7", "0xffffffffffffffff"}));
  // Numbers of descriptors are not the same on both sides: SET_CONTAINER, SET_IRQS, hot reset, IOEVENTFD.
  if (request == 0x3b68 || request == 0x3b6e || request == 0x3b71 || request == 0x3b74)
    return operation.set("arg", std::string("m0"));
  std::vector<std::uint8_t> bytes = bytes_of(random_bytes(8 + random_.below(48)));
  const std::uint32_t argsz = static_cast<std::uint32_t>(random_.chance(80) ? random_.below(64) : odd());
  for (unsigned i = 0; i < 4; ++i) bytes[i] = static_cast<std::uint8_t>(argsz >> 8 * i);
  if (random_.chance(70))
    for (unsigned i = 4; i < 8; ++i) bytes[i] = i == 4 ? static_cast<std::uint8_t>(random_.below(8)) : 0;
  return operation.set("data", hex_bytes(bytes.data(), bytes.size()));
}

// ---- device --------------------------------------------------------------------

Operation Generator::irqs() {
  Operation operation{"set_irqs", {device()}, {}};
  const std::uint64_t index =
      random_.chance(96) ? random_.pick<std::uint64_t>({0, 0, 1, 1, 1, 2, 2, 3, 4}) : random_.below(8);
  operation.set("index", index);
  const std::string action = random_.pick<std::string>({"trigger", "trigger", "trigger", "mask", "unmask"});
  const std::string data = random_.pick<std::string>({"none", "bool", "eventfd", "eventfd"});
  operation.set("flags", random_.chance(96) ? data + '|' + action : hex(random_.below(64)));
  const std::uint64_t most = index == 1 || index == 2 ? 4 : 1;
  const std::uint64_t start = random_.chance(70) ? 0 : random_.below(most + 2);
  const std::uint64_t count = random_.chance(60) ? 1 : random_.below(most + 2);
  operation.set("start", start).set("count", count);
  if (data == "none") return operation;
  std::string values = data == "bool" ? "bool:" : "";
  const std::uint64_t given = random_.chance(95) ? count : random_.below(6);
  for (std::uint64_t i = 0; i < given; ++i) {
    if (data == "bool")
      values += random_.chance(80) ? '1' : '0';
    else
      values +=
          (i ? "," : "") +
          (random_.chance(82) ? eventfd() : random_.pick<std::string>({"-1", "-1", "-2", "c0", "d0", "99"}));
  }
  return operation.set("data", values);
}

Operation Generator::irq_event() {
  const std::uint64_t kind = random_.below(20);
  if (kind < 13) return {"poll", {eventfd()}, {}};
  if (kind < 15 && main_.starts_with("edu")) return {"raise", {device()}, {}};
  if (kind == 15) return {"wait", {eventfd()}, {}};
  if (kind == 16) return {"signal", {eventfd()}, {}};
  return Operation{"irq_info", {device()}, {}}.set("index", random_.below(6));
}

Operation Generator::device_info() {
  const std::string kind =
      random_.pick<std::string>({"device_info", "region_info", "region_info", "irq_info", "hot_reset_info"});
  Operation operation{kind, {device()}, {}};
  if (kind == "region_info") operation.set("index", random_.chance(95) ? random_.below(11) : odd());
  if (kind == "irq_info") operation.set("index", random_.chance(95) ? random_.below(7) : odd());
  if (random_.chance(60)) operation.set("argsz", random_.below(100));
  return operation;
}

static std::uint64_t config_offset(Random& random) {
  if (random.chance(45))
    return random.pick<std::uint64_t>({0x04, 0x04, 0x06, 0x0c, 0x0d, 0x10, 0x10, 0x14, 0x18, 0x1c, 0x20,
                                       0x24, 0x28, 0x2c, 0x30, 0x34, 0x3c, 0x3d, 0x40, 0x42, 0x44});
  if (random.chance(6)) return 0xf0 + random.below(0x68);
  if (random.chance(3)) return random.below(4100);
  return random.below(0x100);
}

Operation Generator::config_read() {
  Operation operation{"pread", {device()}, {}};
  operation.set("region", std::uint64_t{7}).set("offset", config_offset(random_));
  return operation.set("size",
                       random_.chance(85) ? random_.pick<std::uint64_t>({1, 2, 4, 4}) : random_.below(40));
}

Operation Generator::config_write() {
  Operation operation{"pwrite", {device()}, {}};
  operation.set("region", std::uint64_t{7}).set("offset", config_offset(random_));
  return operation.set(
      "data", random_bytes(random_.chance(85) ? random_.pick<std::size_t>({1, 2, 4, 4}) : random_.below(24)));
}

Operation Generator::region_access() {
  const std::uint64_t region = random_.chance(50) ? 0 : random_.chance(95) ? random_.below(10) : odd();
  const bool write = main_.starts_with("edu") && random_.chance(40);
  Operation operation{write ? "pwrite" : "pread", {device()}, {}};
  if (random_.chance(3)) {
    operation.set("raw", odd());
  } else {
    operation.set("region", region);
    static constexpr std::uint64_t kEduRegisters[] = {0x0, 0x4, 0x4, 0x20, 0x24, 0x80, 0x88, 0x90, 0xc, 0x60};
    const bool known = main_.starts_with("edu") && random_.chance(70);
    operation.set("offset", known                ? kEduRegisters[random_.below(std::size(kEduRegisters))]
                            : random_.chance(60) ? random_.below(0x1000)
                                                 : random_.pick<std::uint64_t>(
                                                       {0xffffc, 0xffffe, 0x100000, 0x3ffc, 0x4000, 0x1fffc,
                                                        0x20000, 0x3fffe, 0x40000, 0x2000, 0x1f, 0x20}));
  }
  const std::size_t size =
      random_.chance(80) ? random_.pick<std::size_t>({4, 4, 8, 1, 2}) : random_.below(20);
  if (write) return operation.set("data", random_bytes(size));
  operation.set("size", size);
  if (random_.chance(4)) operation.set("at", random_.pick<std::string>({"m2", "m6", "m7", "0"}));
  return operation;
}

Operation Generator::region_map() {
  const std::uint64_t kind = random_.below(10);
  if (kind == 0) return {"munmap", {"v0"}, {}};
  if (kind < 3) return {"load", {"v0"}, {}};
  Operation operation{"mmap", {device()}, {}};
  if (random_.chance(30)) operation.words.push_back("v0");
  operation.set("region", random_.chance(60) ? 0 : random_.below(10));
  operation.set("offset", random_.chance(60)   ? 0
                          : random_.chance(85) ? 0x1000 * random_.below(66)
                                               : random_.below(0x3000));
  operation.set("size", random_.chance(90) ? 0x1000 * (1 + random_.below(4)) : odd() & 0xffffff);
  operation.set("prot", random_.pick<std::string>({"rw", "rw", "r", "w", "none", "rwx"}));
  if (random_.chance(15)) operation.set("flags", std::string("private"));
  return operation;
}

Operation Generator::device_call() {
  switch (random_.below(main_.starts_with("edu") ? 9 : 8)) {
    case 0: {
      Operation operation{"hot_reset", {device()}, {}};
      if (random_.chance(70))
        operation.set("groups", random_.pick<std::string>({"g0", "g0,g1", "c0", "-1", "g1"}));
      if (random_.chance(20)) operation.set("count", random_.below(4));
      return operation;
    }
    case 1:
    case 2:
    case 3: {
      Operation operation{"feature", {device()}, {}};
      const std::uint64_t feature = random_.below(10);
      const std::string kind =
          random_.pick<std::string>({"probe|get", "probe|set", "get", "set", "probe", "probe|get|set"});
      operation.set("flags", kind + '|' + hex(feature));
      if (random_.chance(70)) operation.set("data", random_bytes(random_.pick<std::size_t>({4, 8, 16, 24})));
      return operation;
    }
    case 4:
    case 5: {
      Operation operation{"ioeventfd", {device()}, {}};
      operation.set("flags",
                    random_.chance(85) ? random_.pick<std::uint64_t>({1, 2, 4, 4, 8}) : random_.below(32));
      operation.set("region", random_.chance(85) ? 0 : random_.below(10));
      operation.set("offset",
                    random_.chance(80) ? random_.pick<std::uint64_t>({0x4, 0x4, 0x20, 0x24, 0x80}) : odd());
      operation.set("data", random_.below(4));
      // Only edu's registers are written: what other devices do then is not the interface's.
      const bool written = main_.starts_with("edu") && random_.chance(70);
      return operation.set("fd", written ? eventfd() : random_.pick<std::string>({"-1", "-1", "-2", "c0"}));
    }
    case 6:
      return device_info();
    case 7:
      return Operation{"feature", {device()}, {}}.set("flags", odd());
    default:
      return {"reset", {device()}, {}};
  }
}

}  // namespace differential
