// SPDX-License-Identifier: LGPL-2.1-or-later
// The objects of an iommufd and its devices.  The ioctls are in iommufd_calls.cc, those of VFIO's
// container in iommufd_compat.cc.
#include "vfio-glue/engine/iommufd.h"

#include <algorithm>
#include <cstdio>

namespace pviommu::vfio {

Result<std::size_t> Iommufd::do_pread(Client&, std::uint64_t, std::size_t, std::int64_t) {
  return Error{EINVAL, "read of an iommufd"};
}

Result<std::size_t> Iommufd::do_pwrite(Client&, std::uint64_t, std::size_t, std::int64_t) {
  return Error{EINVAL, "write to an iommufd"};
}

// ---- objects ----------------------------------------------------------------

/// The lowest number that is free, as the kernel's.
std::uint32_t Iommufd::add(Object object) {
  std::uint32_t id = 1;
  for (const auto& [used, ignored] : objects_) {
    if (used != id) break;
    ++id;
  }
  objects_.emplace(id, std::move(object));
  return id;
}

Iommufd::Object* Iommufd::find(std::uint32_t id) {
  const auto found = objects_.find(id);
  return found == objects_.end() ? nullptr : &found->second;
}

std::uint32_t Iommufd::id_of(const Object& object) const {
  return std::ranges::find_if(objects_, [&](const auto& one) { return &one.second == &object; })->first;
}

Result<Ioas*> Iommufd::find_ioas(std::uint32_t id) {
  Object* object = find(id);
  if (!object || !object->ioas) return Error{ENOENT, "no such IOAS"};
  return object->ioas.get();
}

Result<Iommufd::Object*> Iommufd::find_table(std::uint32_t id) {
  Object* object = find(id);
  if (!object || !object->is_table()) return Error{ENOENT, "no such hardware page table"};
  return object;
}

Result<Iommufd::Object*> Iommufd::find_device(std::uint32_t id) {
  Object* object = find(id);
  if (!object || !object->device) return Error{ENOENT, "no such device"};
  return object;
}

void Iommufd::erase(const Object& object) {
  if (object.is_table()) {
    object.of->ioas->remove_table();
    --object.of->users;
  }
  const std::uint32_t id = id_of(object);
  if (compat_ == id) compat_ = 0;
  objects_.erase(id);
}

Result<std::uint32_t> Iommufd::new_table(Object& ioas, bool automatic) {
  PVIOMMU_TRY(ioas.ioas->add_table());
  ++ioas.users;
  Object table;
  table.of = &ioas;
  table.automatic = automatic;
  return add(std::move(table));
}

/// A group has left it.
void Iommufd::put_table(Object& table) {
  if (table.automatic && table.users == 0) erase(table);
}

// ---- devices ----------------------------------------------------------------

Result<Iommufd::BoundDevice> Iommufd::bind(const PciDeviceInfo& info) {
  const std::lock_guard guard(lock_);
  Group& group = groups_[info.group];
  group.number = info.group;
  const auto opened = [&]() -> Result<std::unique_ptr<Device>> {
    if (!group.blocked) {
      AddressSpaceConfig config;
      config.tag = "pviommu";
      group.blocked = PVIOMMU_TRY(AddressSpace::create(driver_, hypervisor_.spaces(), frames_, config));
    }
    return Device::open(hypervisor_, group.space(), info.sbdf);
  };
  auto device = opened();
  if (!device) {
    tell_open_failed(config_.quiet, info.sbdf, device.error());
    if (group.devices.empty()) groups_.erase(info.group);
    return device.error();
  }
  Object object;
  object.users = 1;  // whoever bound it
  object.device = std::move(*device);
  object.group = &group;
  const std::uint32_t id = add(std::move(object));
  group.devices.push_back(find(id));
  return BoundDevice{id, find(id)->device.get()};
}

void Iommufd::unbind(std::uint32_t id) {
  const std::lock_guard guard(lock_);
  Object& object = *find(id);
  // Closed first, so that it is not moved for nothing: it ends in the space that it is in.
  Group& group = *object.group;
  std::erase(group.devices, &object);
  object.device.reset();
  if (object.attached)
    if (const Status left = leave(object); !left)
      std::fprintf(stderr, "pviommu: devices of group %u stay attached: %s\n", group.number, to_string(left.error()).c_str());
  if (group.devices.empty()) groups_.erase(group.number);
  objects_.erase(id);
}

/// All devices of the group that are bound, attached or not: they are one to the IOMMU.
Status Iommufd::move(Group& group, Object* table) {
  std::vector<Device*> devices;
  for (const Object* one : group.devices) devices.push_back(one->device.get());
  if (devices.empty()) return {};
  return Device::move(std::move(devices), table ? *table->of->ioas->space() : *group.blocked);
}

/// The table for what a program names; a new automatic one has no user yet.
Result<Iommufd::Object*> Iommufd::table_for(std::uint32_t target) {
  Object* object = find(target);
  if (!object) return Error{ENOENT, "attach: no such object"};
  if (object->is_table()) return object;
  if (!object->ioas) return Error{EINVAL, "attach to what is neither an IOAS nor a hardware page table"};
  for (auto& [id, one] : objects_)
    if (one.of == object && one.automatic) return &one;
  return find(PVIOMMU_TRY(new_table(*object, true)));
}

Result<std::uint32_t> Iommufd::attach(std::uint32_t id, std::uint32_t target) {
  const std::lock_guard guard(lock_);
  Object& device = *find(id);
  Group& group = *device.group;
  Object* const table = PVIOMMU_TRY(table_for(target));
  if (group.table == table) {
    if (!device.attached) ++table->users, ++group.attached, device.attached = true;
    return id_of(*table);
  }
  Status done;
  if (group.table && !device.attached)
    done = Error{EINVAL, "attach: another device of the group is attached elsewhere"};
  else
    done = move(group, table);
  if (!done) {
    put_table(*table);
    return done.error();
  }
  // The whole group goes to another table with the device that is attached anew.
  Object* const before = group.table;
  if (!device.attached) ++group.attached, device.attached = true;
  table->users += group.attached;
  group.table = table;
  if (before) {
    before->users -= group.attached;
    put_table(*before);
  }
  return id_of(*table);
}

/// The device is attached no more; the last one takes the group with it.  After an error the
/// group is where it was, and what it reaches there has to stay.
Status Iommufd::leave(Object& device) {
  Group& group = *device.group;
  Object& table = *group.table;
  if (group.attached == 1) PVIOMMU_TRY(move(group, nullptr));
  device.attached = false;
  --table.users;
  if (--group.attached != 0) return {};
  group.table = nullptr;
  put_table(table);
  return {};
}

Status Iommufd::detach(std::uint32_t id) {
  const std::lock_guard guard(lock_);
  Object& device = *find(id);
  return device.attached ? leave(device) : Status{};
}

std::vector<std::int32_t> Iommufd::reset_ids(const std::vector<HotResetMember>& members) {
  const std::lock_guard guard(lock_);
  std::vector<std::int32_t> ids;
  for (const HotResetMember& member : members) {
    std::int32_t found = groups_.contains(member.group) ? iommufd::kDevIdOwned : iommufd::kDevIdNotOwned;
    for (const auto& [id, object] : objects_)
      if (object.device && object.device->info().sbdf == member.sbdf) found = static_cast<std::int32_t>(id);
    ids.push_back(found);
  }
  return ids;
}

Status Iommufd::hot_reset(Client& client, std::uint32_t id, const std::vector<HotResetMember>& members) {
  const std::lock_guard guard(lock_);
  std::vector<Device*> open;
  for (const auto& [ignored, object] : objects_)
    if (object.device && object.device->is_among(members)) open.push_back(object.device.get());
  return find(id)->device->hot_reset(client, std::move(open));
}

void Iommufd::make_compat_ioas() {
  const std::lock_guard guard(lock_);
  if (compat_ != 0) return;
  Object object;
  object.ioas = std::make_unique<Ioas>(driver_, hypervisor_.spaces(), frames_, config_);
  compat_ = add(std::move(object));
}

Result<std::uint32_t> Iommufd::compat_ioas() {
  const std::lock_guard guard(lock_);
  if (compat_ == 0) return Error{ENODEV, "no IOAS for VFIO's own calls"};
  return std::uint32_t{compat_};
}

}  // namespace pviommu::vfio
