// SPDX-License-Identifier: LGPL-2.1-or-later
// An ordered map of what the program sees, cut as the kernel cuts its own.  Every change gives
// back what it does to the devices' counts, for the caller to announce without the lock.
#include "vfio-glue/preload/mappings.h"

#include <algorithm>

#include "hypercall/strong.h"
#include "vfio-glue/preload/real.h"

namespace pviommu::vfio {

BarMemory::~BarMemory() { real().munmap(reinterpret_cast<void*>(address_), bytes_); }

BarMappings::Changes BarMappings::share_with_child() {
  Changes changes;
  for (auto& [address, mapping] : mappings_) {
    if (!mapping.trapped) continue;
    mapping.trapped = false;
    changes.push_back({mapping.open_file, mapping.offset, +1});
  }
  return changes;
}

void BarMappings::update_hull() {
  if (mappings_.empty()) {
    high_.store(0, std::memory_order_release);
    return;
  }
  const Mapping& last = mappings_.rbegin()->second;
  low_.store(mappings_.begin()->first, std::memory_order_release);
  high_.store(last.address + last.bytes, std::memory_order_release);
}

BarMappings::Changes BarMappings::insert(Mapping mapping) {
  // An entry that is there already was unmapped behind our back.
  Changes changes = remove(mapping.address, mapping.bytes);
  changes.push_back({mapping.open_file, mapping.offset, one(mapping)});
  const std::uint64_t address = mapping.address;
  mappings_.insert_or_assign(address, std::move(mapping));
  update_hull();
  return changes;
}

void BarMappings::split(std::uint64_t address, Changes& changes) {
  auto it = mappings_.upper_bound(address);
  if (it == mappings_.begin()) return;
  Mapping& left = std::prev(it)->second;
  if (left.address == address || left.address + left.bytes <= address) return;
  Mapping right = left;
  right.address = address;
  right.bytes = left.address + left.bytes - address;
  right.offset = left.offset + (address - left.address);
  left.bytes = address - left.address;
  // Another piece counts as another mapping of the file, as the kernel's second vma does.
  changes.push_back({right.open_file, right.offset, one(right)});
  mappings_.emplace_hint(it, address, std::move(right));
}

BarMappings::Changes BarMappings::remove(std::uint64_t address, std::uint64_t bytes) {
  Changes changes;
  const std::uint64_t end = address + ((bytes + kPageSize - 1) & ~(kPageSize - 1));
  split(address, changes);
  split(end, changes);
  for (auto it = mappings_.lower_bound(address); it != mappings_.end() && it->first < end;) {
    changes.push_back({std::move(it->second.open_file), it->second.offset, -one(it->second)});
    it = mappings_.erase(it);
  }
  update_hull();
  return changes;
}

BarMappings::Changes BarMappings::move(std::uint64_t address, std::uint64_t bytes, std::uint64_t new_address,
                                       std::uint64_t new_bytes) {
  Changes changes;
  const std::uint64_t end = address + bytes;
  split(address, changes);
  split(end, changes);
  std::vector<Mapping> moved;
  for (auto it = mappings_.lower_bound(address); it != mappings_.end() && it->first < end;) {
    moved.push_back(std::move(it->second));
    it = mappings_.erase(it);
  }
  for (Change& change : remove(new_address, new_bytes)) changes.push_back(std::move(change));
  for (Mapping& mapping : moved) {
    const std::uint64_t distance = mapping.address - address;
    if (distance >= new_bytes) {  // shrunk away
      changes.push_back({std::move(mapping.open_file), mapping.offset, -one(mapping)});
      continue;
    }
    mapping.bytes = std::min(mapping.bytes, new_bytes - distance);
    mapping.address = new_address + distance;
    mappings_.insert_or_assign(mapping.address, std::move(mapping));
  }
  update_hull();
  return changes;
}

BarMappings::Mapping BarMappings::find(std::uint64_t address, std::uint64_t bytes) {
  if (bytes == 0 || !may_overlap(address, bytes)) return {};
  const std::scoped_lock lock(mutex_);
  auto it = mappings_.upper_bound(address);
  if (it == mappings_.begin()) return {};
  --it;
  const Mapping& first = it->second;
  if (address - first.address >= first.bytes) return {};
  Mapping found = first;
  found.address = address;
  found.bytes = bytes;
  found.offset = first.offset + (address - first.address);
  std::uint64_t covered = first.address + first.bytes - address;
  while (covered < bytes) {
    if (++it == mappings_.end()) return {};
    const Mapping& next = it->second;
    if (next.address != address + covered || next.open_file != found.open_file ||
        next.offset != found.offset + covered)
      return {};
    covered += next.bytes;
  }
  return found;
}

std::size_t BarMappings::size() {
  const std::scoped_lock lock(mutex_);
  return mappings_.size();
}

BarMappings::Changes BarMappings::clear() {
  const std::scoped_lock lock(mutex_);
  Changes changes;
  for (auto& [address, mapping] : mappings_)
    changes.push_back({std::move(mapping.open_file), mapping.offset, -one(mapping)});
  mappings_.clear();
  update_hull();
  return changes;
}

}  // namespace pviommu::vfio
