// SPDX-License-Identifier: LGPL-2.1-or-later
// The ioctls of /dev/iommu: one table, one function each.  Which error comes for what is
// Linux's drivers/iommu/iommufd: EOPNOTSUPP a value that is not known here, EINVAL one that is
// wrong, ENOENT a number without an object.
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "hypercall/statistics.h"
#include "vfio-glue/engine/iommufd.h"
#include "vfio-glue/engine/map_notes.h"
#include "vfio-glue/engine/stopwatch.h"

namespace pviommu::vfio {
namespace {

struct CommandEntry {
  std::uint32_t request = 0;
  std::uint32_t min_size = 0;  ///< of the first version of the structure
  std::uint32_t size = 0;      ///< of the newest that is known
  Status (*function)(Iommufd& object, const Call& call, void* structure) = nullptr;
};

template <auto Member>
struct CallOf;
template <class Structure, Status (Iommufd::*Member)(const Call&, Structure&)>
struct CallOf<Member> {
  static constexpr CommandEntry entry(std::uint32_t request, std::uint32_t min_size) {
    static_assert(sizeof(Structure) <= kMaxMinSize && alignof(Structure) <= 8);
    return {request, min_size, sizeof(Structure), [](Iommufd& object, const Call& call, void* structure) {
              return (object.*Member)(call, *static_cast<Structure*>(structure));
            }};
  }
};

/// What a structure has room for, and no more.
template <class Structure>
Status respond(const Call& call, const Structure& cmd) {
  return call.reply(cmd, std::min<std::size_t>(cmd.size, sizeof cmd));
}

Error unsupported() { return {EOPNOTSUPP, "iommufd: a value that is not known"}; }

/// E2BIG unless the caller's bytes are zero.
Status check_zero(Client& client, std::uint64_t at, std::uint64_t bytes) {
  std::array<std::uint8_t, 4096> block;
  while (bytes != 0) {
    const std::size_t now = std::min<std::uint64_t>(bytes, block.size() - at % block.size());
    PVIOMMU_TRY(client.copy_in(block.data(), at, now));
    if (std::any_of(block.begin(), block.begin() + now, [](std::uint8_t byte) { return byte != 0; }))
      return Error{E2BIG, "iommufd: structure of a newer kernel"};
    at += now;
    bytes -= now;
  }
  return {};
}

Access access_of_flags(std::uint32_t flags) {
  Access access = Access::none;
  if (flags & iommufd::kMapReadable) access = access | Access::read;
  if (flags & iommufd::kMapWriteable) access = access | Access::write;
  return access;
}

/// The checks that MAP, MAP_FILE and COPY share.
Status check_map_flags(std::uint32_t flags) {
  if (flags & ~(iommufd::kMapFixedIova | iommufd::kMapWriteable | iommufd::kMapReadable)) return unsupported();
  return {};
}

std::optional<std::uint64_t> fixed(std::uint32_t flags, std::uint64_t iova) {
  if (flags & iommufd::kMapFixedIova) return iova;
  return std::nullopt;
}

bool may_change_resources() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3]{};
  if (::syscall(SYS_capget, &header, data) != 0) return false;
  return (data[CAP_TO_INDEX(CAP_SYS_RESOURCE)].effective & CAP_TO_MASK(CAP_SYS_RESOURCE)) != 0;
}

}  // namespace

struct IommufdTable {
  static constexpr std::array<CommandEntry, 21> table = {
      CallOf<&Iommufd::destroy>::entry(iommufd::kDestroy, sizeof(iommufd::Destroy)),
      CallOf<&Iommufd::ioas_alloc>::entry(iommufd::kIoasAlloc, sizeof(iommufd::IoasAlloc)),
      CallOf<&Iommufd::allow_iovas>::entry(iommufd::kIoasAllowIovas, sizeof(iommufd::AllowIovas)),
      CallOf<&Iommufd::ioas_copy>::entry(iommufd::kIoasCopy, sizeof(iommufd::IoasCopy)),
      CallOf<&Iommufd::iova_ranges>::entry(iommufd::kIoasIovaRanges, sizeof(iommufd::IovaRanges)),
      CallOf<&Iommufd::ioas_map>::entry(iommufd::kIoasMap, sizeof(iommufd::IoasMap)),
      CallOf<&Iommufd::ioas_unmap>::entry(iommufd::kIoasUnmap, sizeof(iommufd::IoasUnmap)),
      CallOf<&Iommufd::option>::entry(iommufd::kOption, sizeof(iommufd::Option)),
      CallOf<&Iommufd::vfio_ioas>::entry(iommufd::kVfioIoas, sizeof(iommufd::VfioIoas)),
      CallOf<&Iommufd::hwpt_alloc>::entry(iommufd::kHwptAlloc, offsetof(iommufd::HwptAlloc, data_type)),
      CallOf<&Iommufd::hw_info>::entry(iommufd::kGetHwInfo, offsetof(iommufd::HwInfo, out_capabilities)),
      CallOf<&Iommufd::set_dirty_tracking>::entry(iommufd::kSetDirtyTracking, sizeof(iommufd::SetDirtyTracking)),
      CallOf<&Iommufd::dirty_bitmap>::entry(iommufd::kGetDirtyBitmap, sizeof(iommufd::GetDirtyBitmap)),
      CallOf<&Iommufd::hwpt_invalidate>::entry(iommufd::kHwptInvalidate, sizeof(iommufd::HwptInvalidate)),
      CallOf<&Iommufd::fault_queue>::entry(iommufd::kFaultQueueAlloc, sizeof(iommufd::FaultQueueAlloc)),
      CallOf<&Iommufd::ioas_map_file>::entry(iommufd::kIoasMapFile, sizeof(iommufd::IoasMapFile)),
      CallOf<&Iommufd::viommu>::entry(iommufd::kViommuAlloc, offsetof(iommufd::ViommuAlloc, data_len)),
      CallOf<&Iommufd::vdevice>::entry(iommufd::kVdeviceAlloc, sizeof(iommufd::VdeviceAlloc)),
      CallOf<&Iommufd::change_process>::entry(iommufd::kIoasChangeProcess, sizeof(iommufd::ChangeProcess)),
      CallOf<&Iommufd::veventq>::entry(iommufd::kVeventqAlloc, sizeof(iommufd::VeventqAlloc)),
      CallOf<&Iommufd::hw_queue>::entry(iommufd::kHwQueueAlloc, sizeof(iommufd::HwQueueAlloc)),
  };
};

Result<long> Iommufd::do_ioctl(Client& client, std::uint32_t request, std::uint64_t argument) {
  const std::uint32_t number = _IOC_NR(request);
  if (number < iommufd::kFirstCommand || number - iommufd::kFirstCommand >= IommufdTable::table.size())
    return compat_ioctl(client, request, argument);
  std::uint32_t size = 0;
  PVIOMMU_TRY(client.copy_in(&size, argument, sizeof size));
  const CommandEntry& entry = IommufdTable::table[number - iommufd::kFirstCommand];
  if (entry.request != request) return Error{ENOTTY, "ioctl without an entry"};
  if (size < entry.min_size) return Error{EINVAL, "iommufd: size of a structure"};
  alignas(8) std::byte structure[kMaxMinSize] = {};
  if (size > entry.size) PVIOMMU_TRY(check_zero(client, argument + entry.size, size - entry.size));
  PVIOMMU_TRY(client.copy_in(structure, argument, std::min(size, entry.size)));
  return number_of(entry.function(*this, Call{client, argument}, structure));
}

Status Iommufd::destroy(const Call&, iommufd::Destroy& cmd) {
  const std::lock_guard guard(lock_);
  const Object* object = find(cmd.id);
  if (!object) return Error{ENOENT, "DESTROY: no such object"};
  if (object->users != 0) return Error{EBUSY, "DESTROY of what is in use"};
  erase(*object);
  return {};
}

// ---- IOAS -------------------------------------------------------------------

Status Iommufd::ioas_alloc(const Call& call, iommufd::IoasAlloc& cmd) {
  if (cmd.flags) return unsupported();
  const std::lock_guard guard(lock_);
  Object object;
  object.ioas = std::make_unique<Ioas>(driver_, hypervisor_.spaces(), frames_, config_);
  cmd.out_ioas_id = add(std::move(object));
  const Status told = respond(call, cmd);
  if (!told) erase(*find(cmd.out_ioas_id));
  return told;
}

Status Iommufd::iova_ranges(const Call& call, iommufd::IovaRanges& cmd) {
  if (cmd.reserved) return unsupported();
  const std::lock_guard guard(lock_);
  const Ioas* ioas = PVIOMMU_TRY(find_ioas(cmd.ioas_id));
  const std::uint32_t space = cmd.num_iovas;
  cmd.num_iovas = 0;
  cmd.out_iova_alignment = ioas->alignment();
  for (const IovaRange& range : ioas->ranges()) {
    const iommufd::IovaSpan span{range.first().raw(), range.last().raw()};
    if (cmd.num_iovas < space)
      PVIOMMU_TRY(call.client.copy_out(cmd.allowed_iovas + cmd.num_iovas * sizeof span, &span, sizeof span));
    ++cmd.num_iovas;
  }
  PVIOMMU_TRY(respond(call, cmd));
  if (cmd.num_iovas > space) return Error{EMSGSIZE, "IOVA_RANGES: more than there is room for"};
  return {};
}

Status Iommufd::allow_iovas(const Call& call, iommufd::AllowIovas& cmd) {
  if (cmd.reserved) return unsupported();
  const std::lock_guard guard(lock_);
  Ioas* ioas = PVIOMMU_TRY(find_ioas(cmd.ioas_id));
  std::vector<IovaRange> allowed;
  for (std::uint32_t i = 0; i < cmd.num_iovas; ++i) {
    iommufd::IovaSpan span{};
    PVIOMMU_TRY(call.client.copy_in(&span, cmd.allowed_iovas + i * sizeof span, sizeof span));
    if (span.start >= span.last) return Error{EINVAL, "ALLOW_IOVAS: range"};
    const IovaRange range = IovaRange::from_last(Iova(span.start), Iova(span.last)).value();
    if (std::ranges::any_of(allowed, [&](const IovaRange& one) { return one.overlaps(range); }))
      return Error{EINVAL, "ALLOW_IOVAS: ranges overlap"};
    allowed.push_back(range);
  }
  return ioas->allow(std::move(allowed));
}

Result<std::uint64_t> Iommufd::counted_map(Ioas& ioas, std::span<const MemoryPiece> pieces,
                                           std::optional<std::uint64_t> iova, Access access) {
  Stopwatch stopwatch(statistics().maps.nanoseconds);
  const auto mapped = ioas.map(pieces, iova, access);
  if (!mapped) {
    statistics().map_failures.fetch_add(1, std::memory_order_relaxed);
    if (mapped.error().code == EINVAL && iova && ioas.space())
      note_outside(ioas.space()->capabilities(), config_, *iova, pieces.front().bytes);
    return mapped;
  }
  stopwatch.stop();
  if (access != Access::read_write && ioas.space()) note_widened(ioas.space()->capabilities(), config_, access);
  return mapped;
}

Result<std::uint64_t> Iommufd::counted_unmap(Ioas& ioas, std::uint64_t iova, std::uint64_t length, bool all) {
  Stopwatch stopwatch(statistics().unmaps.nanoseconds);
  const auto unmapped = all ? ioas.unmap_all() : ioas.unmap(iova, length);
  if (!unmapped) {
    statistics().unmap_failures.fetch_add(1, std::memory_order_relaxed);
    return unmapped;
  }
  statistics().unmaps.count.fetch_add(1, std::memory_order_relaxed);
  stopwatch.stop();
  return unmapped;
}

Status Iommufd::ioas_map(const Call& call, iommufd::IoasMap& cmd) {
  PVIOMMU_TRY(check_map_flags(cmd.flags));
  if (cmd.reserved) return unsupported();
  if (cmd.iova == ~std::uint64_t{0} || cmd.length == ~std::uint64_t{0}) return Error{EOVERFLOW, "IOAS_MAP"};
  const Access access = access_of_flags(cmd.flags);
  if (access == Access::none) return Error{EINVAL, "IOAS_MAP: neither for reading nor for writing"};
  // Before the lock: what it finds is a File.
  const bool mmio = cmd.length != 0 && call.client.mmio_at(cmd.user_va, cmd.length).file != nullptr;
  const std::lock_guard guard(lock_);
  Ioas* ioas = PVIOMMU_TRY(find_ioas(cmd.ioas_id));
  if (cmd.user_va + cmd.length < cmd.user_va) return Error{EOVERFLOW, "IOAS_MAP: memory"};
  if (cmd.length == 0) return Error{EINVAL, "IOAS_MAP: length"};
  if (mmio) return Error{EFAULT, "IOAS_MAP of a BAR"};
  const MemoryPiece piece{Hva(cmd.user_va), cmd.length, allows(access, Access::write)};
  cmd.iova = PVIOMMU_TRY(counted_map(*ioas, {&piece, 1}, fixed(cmd.flags, cmd.iova), access));
  return respond(call, cmd);
}

Status Iommufd::ioas_map_file(const Call& call, iommufd::IoasMapFile& cmd) {
  PVIOMMU_TRY(check_map_flags(cmd.flags));
  if (cmd.iova == ~std::uint64_t{0} || cmd.length == ~std::uint64_t{0}) return Error{EOVERFLOW, "IOAS_MAP_FILE"};
  const Access access = access_of_flags(cmd.flags);
  if (access == Access::none) return Error{EINVAL, "IOAS_MAP_FILE: neither for reading nor for writing"};
  const UniqueFd file = PVIOMMU_TRY(call.client.duplicate_memory_file(cmd.fd));
  const std::lock_guard guard(lock_);
  Ioas* ioas = PVIOMMU_TRY(find_ioas(cmd.ioas_id));
  MemoryPiece piece;
  piece.file = PVIOMMU_TRY(FileMemory::map(file.get(), cmd.start, cmd.length, allows(access, Access::write)));
  piece.hva = piece.file->first();
  piece.bytes = cmd.length;
  piece.writable = allows(access, Access::write);
  cmd.iova = PVIOMMU_TRY(counted_map(*ioas, {&piece, 1}, fixed(cmd.flags, cmd.iova), access));
  return respond(call, cmd);
}

Status Iommufd::ioas_copy(const Call& call, iommufd::IoasCopy& cmd) {
  PVIOMMU_TRY(check_map_flags(cmd.flags));
  constexpr std::uint64_t kMost = ~std::uint64_t{0};
  if (cmd.length == kMost || cmd.src_iova == kMost || cmd.dst_iova == kMost) return Error{EOVERFLOW, "IOAS_COPY"};
  const Access access = access_of_flags(cmd.flags);
  if (access == Access::none) return Error{EINVAL, "IOAS_COPY: neither for reading nor for writing"};
  const std::lock_guard guard(lock_);
  const Ioas* source = PVIOMMU_TRY(find_ioas(cmd.src_ioas_id));
  const std::vector<MemoryPiece> pieces = PVIOMMU_TRY(source->pieces(cmd.src_iova, cmd.length));
  Ioas* target = PVIOMMU_TRY(find_ioas(cmd.dst_ioas_id));
  cmd.dst_iova = PVIOMMU_TRY(counted_map(*target, pieces, fixed(cmd.flags, cmd.dst_iova), access));
  return respond(call, cmd);
}

Status Iommufd::ioas_unmap(const Call& call, iommufd::IoasUnmap& cmd) {
  constexpr std::uint64_t kMost = ~std::uint64_t{0};
  const std::lock_guard guard(lock_);
  Ioas* ioas = PVIOMMU_TRY(find_ioas(cmd.ioas_id));
  const bool all = cmd.iova == 0 && cmd.length == kMost;
  if (!all && (cmd.iova == kMost || cmd.length == kMost)) return Error{EOVERFLOW, "IOAS_UNMAP"};
  const std::uint64_t unmapped = PVIOMMU_TRY(counted_unmap(*ioas, cmd.iova, cmd.length, all));
  if (unmapped == 0 && !all) return Error{ENOENT, "IOAS_UNMAP of what is not mapped"};
  cmd.length = unmapped;
  return respond(call, cmd);
}

Status Iommufd::change_process(const Call&, iommufd::ChangeProcess& cmd) {
  if (cmd.reserved) return unsupported();
  return Error{EOPNOTSUPP, "IOAS_CHANGE_PROCESS: the files of a process work in it alone"};
}

// ---- options ----------------------------------------------------------------

Status Iommufd::rlimit_mode(iommufd::Option& cmd) {
  if (cmd.object_id) return unsupported();
  const std::lock_guard guard(lock_);
  if (cmd.op == iommufd::kOptionGet) {
    cmd.val64 = counts_by_process_;
    return {};
  }
  if (cmd.op != iommufd::kOptionSet) return unsupported();
  if (!may_change_resources()) return Error{EPERM, "OPTION: RLIMIT_MODE wants CAP_SYS_RESOURCE"};
  if (!objects_.empty()) return Error{EBUSY, "OPTION: RLIMIT_MODE comes before objects"};
  if (cmd.val64 > 1) return Error{EINVAL, "OPTION: RLIMIT_MODE"};
  counts_by_process_ = cmd.val64 == 1;
  return {};
}

Status Iommufd::option(const Call& call, iommufd::Option& cmd) {
  if (cmd.reserved) return unsupported();
  switch (cmd.option_id) {
    case iommufd::kOptionRlimitMode:
      PVIOMMU_TRY(rlimit_mode(cmd));
      break;
    case iommufd::kOptionHugePages: {
      const std::lock_guard guard(lock_);
      Ioas* ioas = PVIOMMU_TRY(find_ioas(cmd.object_id));
      if (cmd.op == iommufd::kOptionGet) {
        cmd.val64 = ioas->large_pages();
        break;
      }
      if (cmd.op != iommufd::kOptionSet) return unsupported();
      if (cmd.val64 > 1) return Error{EINVAL, "OPTION: HUGE_PAGES"};
      PVIOMMU_TRY(ioas->set_large_pages(cmd.val64 == 1));
      break;
    }
    default:
      return unsupported();
  }
  return call.client.copy_out(call.argument + offsetof(iommufd::Option, val64), &cmd.val64, sizeof cmd.val64);
}

Status Iommufd::vfio_ioas(const Call& call, iommufd::VfioIoas& cmd) {
  if (cmd.reserved) return unsupported();
  const std::lock_guard guard(lock_);
  switch (cmd.op) {
    case iommufd::kVfioIoasGet:
      if (compat_ == 0) return Error{ENODEV, "VFIO_IOAS: there is none"};
      cmd.ioas_id = compat_;
      return respond(call, cmd);
    case iommufd::kVfioIoasSet:
      PVIOMMU_TRY(find_ioas(cmd.ioas_id));
      compat_ = cmd.ioas_id;
      return {};
    case iommufd::kVfioIoasClear:
      compat_ = 0;
      return {};
    default:
      return unsupported();
  }
}

// ---- hardware page tables ---------------------------------------------------

Status Iommufd::hwpt_alloc(const Call& call, iommufd::HwptAlloc& cmd) {
  if (cmd.reserved || cmd.reserved2) return unsupported();
  if ((cmd.data_type == 0) != (cmd.data_len == 0)) return Error{EINVAL, "HWPT_ALLOC: data"};
  const std::lock_guard guard(lock_);
  PVIOMMU_TRY(find_device(cmd.dev_id));
  Object* parent = find(cmd.pt_id);
  if (!parent) return Error{EINVAL, "HWPT_ALLOC: no such object"};
  // Of an IOMMU that has neither nesting nor dirty tracking.
  if (parent->is_table()) return unsupported();
  if (!parent->ioas) return Error{EINVAL, "HWPT_ALLOC of what is no IOAS"};
  if (cmd.flags || cmd.data_type) return unsupported();
  cmd.out_hwpt_id = PVIOMMU_TRY(new_table(*parent, false));
  const Status told = respond(call, cmd);
  if (!told) erase(*find(cmd.out_hwpt_id));
  return told;
}

Status Iommufd::hw_info(const Call& call, iommufd::HwInfo& cmd) {
  if (cmd.flags & ~iommufd::kHwInfoInputType) return unsupported();
  if (!(cmd.flags & iommufd::kHwInfoInputType)) cmd.data_type = 0;
  for (const std::uint8_t byte : cmd.reserved)
    if (byte) return unsupported();
  const std::lock_guard guard(lock_);
  PVIOMMU_TRY(find_device(cmd.dev_id));
  // Nothing of the hypervisor's IOMMU is for programs.
  if (cmd.data_type != 0) return unsupported();
  const std::array<std::uint8_t, 4096> zero{};
  for (std::uint64_t done = 0; done < cmd.data_len;) {
    const std::size_t now = std::min<std::uint64_t>(cmd.data_len - done, zero.size());
    PVIOMMU_TRY(call.client.copy_out(cmd.data_uptr + done, zero.data(), now));
    done += now;
  }
  cmd.data_len = 0;
  cmd.out_max_pasid_log2 = 0;
  cmd.out_capabilities = 0;
  return respond(call, cmd);
}

Status Iommufd::set_dirty_tracking(const Call&, iommufd::SetDirtyTracking& cmd) {
  if ((cmd.flags & ~iommufd::kDirtyTrackingEnable) || cmd.reserved) return unsupported();
  const std::lock_guard guard(lock_);
  PVIOMMU_TRY(find_table(cmd.hwpt_id));
  return Error{EOPNOTSUPP, "SET_DIRTY_TRACKING: no hypervisor here tells what a device wrote"};
}

Status Iommufd::dirty_bitmap(const Call&, iommufd::GetDirtyBitmap& cmd) {
  if ((cmd.flags & ~iommufd::kDirtyBitmapNoClear) || cmd.reserved) return unsupported();
  const std::lock_guard guard(lock_);
  const Object* table = PVIOMMU_TRY(find_table(cmd.hwpt_id));
  const std::uint64_t end = cmd.iova + cmd.length;  // 0 at the end of all addresses
  if (end - 1 < cmd.iova) return Error{EOVERFLOW, "GET_DIRTY_BITMAP: wraps"};
  const std::uint64_t alignment = table->of->ioas->alignment();
  if ((cmd.iova | end) & (alignment - 1)) return Error{EINVAL, "GET_DIRTY_BITMAP: alignment"};
  if (cmd.page_size == 0 || ((cmd.iova | end) & (cmd.page_size - 1))) return Error{EINVAL, "GET_DIRTY_BITMAP: page size"};
  return Error{EOPNOTSUPP, "GET_DIRTY_BITMAP: no hypervisor here tells what a device wrote"};
}

Status Iommufd::hwpt_invalidate(const Call& call, iommufd::HwptInvalidate& cmd) {
  const auto outcome = [&]() -> Status {
    if (cmd.reserved) return unsupported();
    if (cmd.entry_num && (!cmd.data_uptr || !cmd.entry_len)) return Error{EINVAL, "HWPT_INVALIDATE: entries"};
    const std::lock_guard guard(lock_);
    if (!find(cmd.hwpt_id)) return Error{ENOENT, "HWPT_INVALIDATE: no such object"};
    return Error{EINVAL, "HWPT_INVALIDATE of what is not nested"};
  }();
  cmd.entry_num = 0;
  PVIOMMU_TRY(respond(call, cmd));
  return outcome;
}

// ---- what an IOMMU without nesting and page faults does not have -----------------

Status Iommufd::fault_queue(const Call&, iommufd::FaultQueueAlloc&) { return unsupported(); }

Status Iommufd::viommu(const Call&, iommufd::ViommuAlloc& cmd) {
  if (cmd.flags || cmd.type == 0) return unsupported();
  const std::lock_guard guard(lock_);
  PVIOMMU_TRY(find_device(cmd.dev_id));
  return unsupported();
}

Status Iommufd::vdevice(const Call&, iommufd::VdeviceAlloc&) { return Error{ENOENT, "VDEVICE_ALLOC: no such vIOMMU"}; }

Status Iommufd::veventq(const Call&, iommufd::VeventqAlloc& cmd) {
  if (cmd.flags || cmd.reserved || cmd.type == 0) return unsupported();
  if (cmd.veventq_depth == 0) return Error{EINVAL, "VEVENTQ_ALLOC: depth"};
  return Error{ENOENT, "VEVENTQ_ALLOC: no such vIOMMU"};
}

Status Iommufd::hw_queue(const Call&, iommufd::HwQueueAlloc& cmd) {
  if (cmd.flags || cmd.type == 0) return unsupported();
  if (cmd.length == 0) return Error{EINVAL, "HW_QUEUE_ALLOC: length"};
  if (cmd.nesting_parent_iova + (cmd.length - 1) < cmd.nesting_parent_iova) return Error{EOVERFLOW, "HW_QUEUE_ALLOC: wraps"};
  return Error{ENOENT, "HW_QUEUE_ALLOC: no such vIOMMU"};
}

}  // namespace pviommu::vfio
