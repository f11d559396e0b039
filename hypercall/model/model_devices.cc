// SPDX-License-Identifier: LGPL-2.1-or-later
// The machine's devices: made from the configuration, handed out and taken back.
#include <algorithm>
#include <climits>
#include <cstdlib>

#include "hypercall/model/devices/device_factory.h"
#include "hypercall/model/model.h"
#include "hypercall/model/pci/pci_registers.h"

namespace pviommu::model {
namespace {

constexpr const char* kDefaultDevices = "nvme,size=64M;edu;virtio-net";
constexpr unsigned kFirstSlot = 5;
constexpr std::uint64_t kMemoryFirst = 0xe0000000;  // below the interrupt controllers
constexpr std::uint64_t kMemoryLast = 0xfebfffff;
constexpr std::uint64_t kHighMemoryFirst = std::uint64_t{0x38} << 40;
constexpr std::uint64_t kPortFirst = 0xc000;

std::uint64_t align_up(std::uint64_t at, std::uint64_t size) { return (at + size - 1) & ~(size - 1); }

/// A file name for the lock of whatever two machines must not share.
std::string lock_name_of(const std::string& path) {
  char canonical[PATH_MAX];
  if (::realpath(path.c_str(), canonical) == nullptr) return {};
  std::string name = "model";
  for (const char* c = canonical; *c != 0; ++c) {
    if (*c == '/')
      name += '!';
    else if (*c == '!')
      name += "!!";
    else
      name += *c;
  }
  // A file name has 255 bytes; the end of a path says more than its beginning.
  if (name.size() > 200)
    name = "model-" + std::to_string(std::hash<std::string>()(name)) + name.substr(name.size() - 150);
  return name;
}

}  // namespace

Result<std::unique_ptr<Model>> Model::open(std::string_view conf) {
  const auto wrong = [](const std::string& what) { return Error{EINVAL, "open model"}.with_sentence(what); };
  ConfError error;
  std::vector<ConfElement> elements = parse_conf(conf, error);
  if (!error.message.empty()) return wrong(error.message);

  ConfElement machine;
  if (!elements.empty() && elements.front().head.empty()) {
    machine = elements.front();
    elements.erase(elements.begin());
  }
  ConfReader reader(machine);
  MachineOptions options = PVIOMMU_TRY(read_machine_options(reader));

  std::unique_ptr<Model> model(new Model(std::move(options)));
  std::string problem = model->add_devices(elements);
  if (problem.empty()) problem = model->finish_machine();
  if (!problem.empty()) return wrong(problem);
  for (const auto& failure : model->options_.failures)
    model->calls_.inject(failure.op, failure.nth, model->options_.failure_code,
                         model->options_.failure_after_pages);
  return model;
}

std::string Model::add_devices(const std::vector<ConfElement>& elements) {
  if (elements.empty()) {
    ConfError error;
    unsigned position = 0;
    for (const ConfElement& element : parse_conf(kDefaultDevices, error))
      if (std::string problem = add_device(element, position++, true); !problem.empty()) return problem;
    return {};
  }
  for (unsigned i = 0; i < elements.size(); ++i)
    if (std::string problem = add_device(elements[i], i, false); !problem.empty()) return problem;
  return {};
}

std::string Model::add_device(const ConfElement& element, unsigned position, bool optional) {
  if (element.head.empty())
    return "machine options come first; \"" + element.items.front().first + "\" has no device in front of it";
  const DeviceType* type = find_device_type(element.head);
  if (type == nullptr) {
    if (optional) return {};  // not built in
    std::string message = "no device type \"" + element.head + "\"; there are";
    const char* separator = " ";
    for (const DeviceType& known : device_types()) {
      message += separator + std::string(known.type);
      separator = ", ";
    }
    return message;
  }

  auto device = std::make_unique<Device>();
  ConfReader reader(element);
  const std::string address = reader.text("addr", "");
  const std::string group = reader.text("group", "");
  const bool mappable = reader.flag("mmap", true);
  const bool busy = reader.flag("busy", false);
  if (address.empty()) {
    unsigned slot = kFirstSlot + position;
    while (slot < 32 && find(make_sbdf(0, 0, slot, 0)) != nullptr) ++slot;
    if (slot >= 32) return element.head + ": no address left on bus 0; give it one with addr=";
    device->sbdf = make_sbdf(0, 0, slot, 0);
  } else {
    const auto parsed = parse_sbdf(address);
    if (!parsed) return element.head + ": addr=" + address + ": expected SSSS:BB:DD.F like 0000:00:05.0";
    device->sbdf = *parsed;
    if (find(*parsed) != nullptr) return element.head + ": two devices at " + to_string(*parsed);
  }
  device->info.group = UINT_MAX;
  if (!group.empty()) {
    const auto number = parse_size(group);
    if (!number || *number > 65535) return element.head + ": group=" + group + ": expected a number to 65535";
    device->info.group = static_cast<unsigned>(*number);
  }

  auto function = type->create(*this, device->sbdf, reader);
  if (!function) return element.head + ": " + to_string(function.error());
  device->function = std::move(*function);
  if (std::string problem = reader.finish(); !problem.empty()) return problem;
  if (!mappable) device->function->forbid_mapping();
  // Of what the maker has asked for, and found right.
  device->image = reader.text("file", "");
  device->image_read_only = reader.flag("readonly", false);
  device->lock_name = lock_name_of(device->image);

  const FunctionIdentity& identity = device->function->identity();
  PciDeviceInfo& info = device->info;
  info.sbdf = device->sbdf;
  info.vendor = identity.vendor;
  info.device = identity.device;
  info.subsystem_vendor = identity.subsystem_vendor;
  info.subsystem_device = identity.subsystem_device;
  info.class_code = identity.class_code;
  info.revision = identity.revision;
  info.viable = !busy;
  info.driver = busy ? element.head : "vfio-pci";
  info.description = identity.description;
  info.lock = device->lock_name;
  devices_.push_back(std::move(device));
  return {};
}

// What firmware does: order, groups, addresses; then power on.
std::string Model::finish_machine() {
  std::sort(devices_.begin(), devices_.end(), [](const auto& a, const auto& b) { return a->sbdf < b->sbdf; });
  unsigned next_group = 0;
  const auto taken = [&](unsigned group) {
    return std::any_of(devices_.begin(), devices_.end(),
                       [&](const auto& d) { return d->info.group == group; });
  };
  for (auto& device : devices_) {
    if (device->info.group != UINT_MAX) continue;
    while (taken(next_group)) ++next_group;
    device->info.group = next_group++;
  }
  for (auto& one : devices_)
    for (auto& other : devices_)
      if (one->info.group == other->info.group && one->info.driver != "vfio-pci") other->info.viable = false;

  std::uint64_t memory = kMemoryFirst, high = kHighMemoryFirst, port = kPortFirst;
  for (auto& device : devices_) {
    for (unsigned i = 0; i < kPciBars; ++i) {
      const BarInfo bar = device->function->bar(i);
      if (bar.size == 0) continue;
      std::uint64_t& from = bar.is_io ? port : memory;
      const std::uint64_t last = bar.is_io ? 0xffff : kMemoryLast;
      // Not two BARs on a page: programs map pages.
      const std::uint64_t step = bar.is_io ? bar.size : std::max(bar.size, kPageSize);
      std::uint64_t at = align_up(from, step);
      if (at + step - 1 <= last) {
        from = at + step;
      } else if (bar.is_64bit) {
        at = align_up(high, step);
        high = at + step;
      } else {
        return to_string(device->sbdf) + ": no addresses left for BAR " + std::to_string(i);
      }
      device->bar_addresses[i] = at;
      if (!bar.mappable || !capabilities().peer_to_peer) continue;
      auto frames = frames_.add_bar(*device->function, i, bar.size >> kPageShift);
      if (!frames) return to_string(device->sbdf) + ": " + to_string(frames.error());
      device->bar_frames[i] = *frames;
    }
    if (const std::uint64_t rom = device->function->bar(kPciRomIndex).size) {
      const std::uint64_t at = align_up(memory, rom);
      if (at + rom - 1 > kMemoryLast) return to_string(device->sbdf) + ": no addresses left for its ROM";
      device->rom_address = at;
      memory = at + rom;
    }
    place_bars(*device);
  }
  for (auto& device : devices_)
    if (Status started = device->function->start(); !started) return to_string(started.error());
  return {};
}

void Model::place_bars(Device& device) {
  device.function->config_write(reg::kRom, 4, static_cast<std::uint32_t>(device.rom_address));
  for (unsigned i = 0; i < kPciBars; ++i) {
    if (device.bar_addresses[i] == 0) continue;
    const std::size_t offset = reg::kBar0 + 4 * i;
    device.function->config_write(offset, 4, static_cast<std::uint32_t>(device.bar_addresses[i]));
    if (device.function->bar(i).is_64bit)
      device.function->config_write(offset + 4, 4, static_cast<std::uint32_t>(device.bar_addresses[i] >> 32));
  }
}

Model::Device* Model::find(Sbdf sbdf) const {
  for (const auto& device : devices_)
    if (device->sbdf == sbdf) return device.get();
  return nullptr;
}

PciFunction* Model::function(Sbdf sbdf) {
  Device* device = find(sbdf);
  return device == nullptr ? nullptr : device->function.get();
}

Result<std::vector<PciDeviceInfo>> Model::devices() {
  std::vector<PciDeviceInfo> out;
  for (const auto& device : devices_) out.push_back(device->info);
  return out;
}

// ---- a device in a program's hands -----------------------------------------------

class Model::OpenDevice final : public PciDevice {
 public:
  OpenDevice(Model& model, Device& device) : model_(model), device_(device), function_(*device.function) {}
  ~OpenDevice() override { model_.give_back(device_); }

  const PciDeviceInfo& info() const override { return device_.info; }
  BarInfo bar(unsigned index) const override { return function_.bar(index); }
  std::size_t config_size() const override { return function_.config_size(); }

  Result<std::uint32_t> config_read(std::size_t offset, unsigned width) override {
    if (!fits(offset, width, 4, config_size())) return Error{EINVAL, "config_read"};
    return function_.config_read(offset, width);
  }
  Status config_write(std::size_t offset, unsigned width, std::uint32_t value) override {
    if (!fits(offset, width, 4, config_size())) return Error{EINVAL, "config_write"};
    function_.config_write(offset, width, value);
    return {};
  }
  Result<std::uint64_t> bar_read(unsigned index, std::uint64_t offset, unsigned width) override {
    if (!fits(offset, width, 8, function_.bar(index).size)) return Error{EINVAL, "bar_read"};
    return function_.bar_read(index, offset, width);
  }
  // The MSI-X table is the hypervisor's, as Xen keeps it from dom0's user space.
  Status bar_write(unsigned index, std::uint64_t offset, unsigned width, std::uint64_t value) override {
    if (!fits(offset, width, 8, function_.bar(index).size)) return Error{EINVAL, "bar_write"};
    if (function_.in_msix_table(index, offset, width)) return Error{EPERM, "bar_write: MSI-X table"};
    function_.bar_write(index, offset, width, value);
    return {};
  }
  Result<BarMapping> bar_mapping(unsigned index) override { return function_.bar_mapping(index); }
  void bar_mapped(unsigned index, bool mapped) override { function_.bar_mapped(index, mapped); }
  bool can_reset() const override { return function_.can_reset(); }
  Status reset() override {
    CallLog::Call call(model_.calls_, HypercallOp::reset, device_.sbdf.raw());
    return call.run([&]() -> Status {
      if (!can_reset()) return Error{ENOTTY, "reset: the device has none"};
      function_.reset();
      return {};
    });
  }
  // A port above a bus has no other bus below: all functions of the bus, none of bus 0.
  Result<std::vector<HotResetMember>> hot_reset_members() override {
    if (function_.on_root_bus()) return Error{ENODEV, "hot reset: no port above"};
    std::vector<HotResetMember> members;
    for (const auto& other : model_.devices_)
      if (same_bus(*other)) members.push_back({other->sbdf, other->info.group});
    return members;
  }
  Status hot_reset() override {
    CallLog::Call call(model_.calls_, HypercallOp::reset, device_.sbdf.raw());
    return call.run([&]() -> Status {
      if (function_.on_root_bus()) return Error{ENODEV, "hot reset: no port above"};
      for (const auto& other : model_.devices_)
        if (same_bus(*other)) other->function->reset();
      return {};
    });
  }
  bool intx_asserted() override { return function_.intx_asserted(); }

 private:
  bool same_bus(const Device& other) const { return other.sbdf.raw() >> 8 == device_.sbdf.raw() >> 8; }
  static bool fits(std::uint64_t offset, unsigned width, unsigned widest, std::uint64_t size) {
    const bool natural = width != 0 && width <= widest && (width & (width - 1)) == 0 && offset % width == 0;
    return natural && offset < size && width <= size - offset;
  }

  Model& model_;
  Device& device_;
  PciFunction& function_;
};

Result<std::unique_ptr<PciDevice>> Model::open_device(Sbdf sbdf) {
  CallLog::Call call(calls_, HypercallOp::open_device, sbdf.raw());
  return call.run([&]() -> Result<std::unique_ptr<PciDevice>> {
    Device* device = find(sbdf);
    if (device == nullptr) return Error{ENODEV, "open_device: no such device"};
    if (!device->info.viable) return Error{EBUSY, "open_device: the group is in use by the host"};
    if (device->open.exchange(true)) return Error{EBUSY, "open_device: taken"};
    if (!device->lock_name.empty()) {
      auto lock = DeviceLock::acquire(device->lock_name);
      if (!lock) {
        device->open.store(false);
        return lock.error();
      }
      device->lock = std::move(lock).value();
    }
    // That one keeps off those who know it; this one also other users, names and programs.
    if (!device->image.empty()) {
      auto lock = ImageLock::acquire(device->image, device->image_read_only);
      if (!lock) {
        device->lock.reset();
        device->open.store(false);
        return lock.error();
      }
      device->image_lock = std::move(lock).value();
    }
    // As firmware leaves it.
    device->function->config_write(reg::kCommand, 2, reg::kCommandIo | reg::kCommandMemory | reg::kCommandSerr);
    return std::unique_ptr<PciDevice>(std::make_unique<OpenDevice>(*this, *device));
  });
}

// Nothing of what a program did to the device is left for the next one, and it
// can neither master the bus nor interrupt.
void Model::give_back(Device& device) {
  for (unsigned i = 0; i < kPciBars; ++i) device.function->bar_mapped(i, false);
  device.function->config_write(reg::kCommand, 2, 0);
  VectorKind kind{};
  if (const unsigned count = routing_.count(device.sbdf, kind); count != 0) {
    violations_.vectors_left.fetch_add(1, std::memory_order_relaxed);
    for (unsigned i = 0; i < count; ++i) (void)routing_.unbind({device.sbdf, kind, i});
    (void)do_free(device, kind);
  }
  device.function->cold_reset();
  place_bars(device);
  device.image_lock.reset();
  device.lock.reset();
  device.open.store(false);
}

}  // namespace pviommu::model
