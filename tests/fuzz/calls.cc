// SPDX-License-Identifier: LGPL-2.1-or-later
// Bytes to values (IOVA, size, address, argsz) and to files; single calls are in calls_one.cc.
#include "tests/fuzz/calls.h"

#include <linux/vfio.h>

#include <array>
#include <cstdio>
#include <string>
#include <vector>

#include "tests/fuzz/check.h"

namespace pviommu::fuzz {
namespace {

constexpr unsigned kPages = Program::kMemory / kPageSize;

/// What the engine may answer with; an errno from elsewhere is a bug.
bool known_error(long code) {
  switch (code) {
    case EPERM:
    case ENOENT:
    case EIO:
    case E2BIG:
    case EBADF:
    case ENOMEM:
    case EACCES:
    case EFAULT:
    case EBUSY:
    case EEXIST:
    case ENODEV:
    case EINVAL:
    case EMFILE:
    case ENOTTY:
    case ENOSPC:
    case ERANGE:
    case EOVERFLOW:
    case EOPNOTSUPP:
      return true;
    default:
      return false;
  }
}

}  // namespace

// ---- calls ------------------------------------------------------------------

long Calls::ioctl(int fd, std::uint32_t request, std::uint64_t argument) {
  const vfio::FileRef file = program_.file_of(fd);
  if (!file) return -EBADF;
  count_call();
  program_.in_map = request == VFIO_IOMMU_MAP_DMA;
  const long result = file->ioctl(program_, request, argument);
  program_.in_map = false;
  if (result < 0) {
    FUZZ_CHECK(known_error(-result), "ioctl 0x%x of a %s answers %ld", request, file->kind(), result);
  } else if (result > 0) {
    const bool number = request == VFIO_CHECK_EXTENSION       ? result == 1
                        : request == VFIO_DEVICE_SET_IRQS     ? result <= 2048
                        : request == VFIO_GROUP_GET_DEVICE_FD ? program_.is_open(static_cast<int>(result))
                                                              : false;
    FUZZ_CHECK(number, "ioctl 0x%x of a %s answers %ld", request, file->kind(), result);
  }
  return result;
}

long Calls::ioctl(Input& input, int fd, std::uint32_t request, std::span<const std::uint8_t> structure) {
  const std::uint64_t at = place(input, structure.size());
  put(at, structure.data(), structure.size());
  return ioctl(fd, request, at);
}

void Calls::put(std::uint64_t at, const void* from, std::size_t bytes) {
  if (at < program_.structures() || at >= program_.structures_end()) return;
  std::memcpy(reinterpret_cast<void*>(at), from,
              std::min<std::size_t>(bytes, program_.structures_end() - at));
}

long Calls::access(int fd, bool write, std::uint64_t buffer, std::size_t bytes, std::int64_t offset) {
  const vfio::FileRef file = program_.file_of(fd);
  if (!file) return -EBADF;
  count_call();
  const ssize_t done =
      write ? file->pwrite(program_, buffer, bytes, offset) : file->pread(program_, buffer, bytes, offset);
  FUZZ_CHECK(done >= 0 ? static_cast<std::size_t>(done) <= bytes : known_error(-done),
             "%s of %zu bytes answers %zd", write ? "write" : "read", bytes, done);
  return done;
}

// ---- values -----------------------------------------------------------------

std::uint64_t Calls::iova(Input& input) const {
  const std::uint8_t kind = input.byte();
  if (kind < 224) return std::uint64_t{kind % 64u} << kPageShift;
  switch (kind % 8) {
    case 0:
      return input.quad();
    case 1:
      return 0xfee00000 - kPageSize * (input.byte() % 4u);  // before the MSI window
    case 2:
      return 0xfef00000 - kPageSize * (input.byte() % 4u);  // its end
    case 3:
      return (std::uint64_t{1} << 48) - kPageSize * input.byte();  // the top
    case 4:
      return -(kPageSize * input.byte());
    case 5:
      return (std::uint64_t{1} << 59) + kPageSize * input.byte();  // the second window of PAPR
    case 6:
      return (std::uint64_t{1} << 30) - kPageSize * input.byte();
    default:
      return input.word();
  }
}

std::uint64_t Calls::size(Input& input) const {
  const std::uint8_t kind = input.byte();
  if (kind < 232) return std::uint64_t{kind % 16u + (kind < 216 ? 1 : 0)} << kPageShift;
  switch (kind % 6) {
    case 0:
      return input.quad();
    case 1:
      return ~std::uint64_t{0} - input.byte();
    case 2:
      return std::uint64_t{1} << (input.byte() % 64);
    case 3:
      return kPages * kPageSize;
    case 4:
      return input.raw<std::uint16_t>();
    default:
      return std::uint64_t{input.byte()} << 21;
  }
}

std::uint64_t Calls::hva(Input& input) const {
  const std::uint8_t kind = input.byte();
  if (kind < 208) return program_.memory() + kPageSize * (kind % kPages);
  switch (kind % 8) {
    case 0:
      return program_.read_only() + kPageSize * (input.byte() % 18u);
    case 1:
      return program_.nowhere();
    case 2:
      return program_.memory() + input.raw<std::uint16_t>();
    case 3:
      return input.quad();
    case 4:
      return program_.structures() + kPageSize * (input.byte() % 18u);
    case 5:
      return -(kPageSize * input.byte());
    default:
      return program_.bar_address(input.byte()) + kPageSize * (input.byte() % 34u);
  }
}

std::uint64_t Calls::place(Input& input, std::size_t bytes) const {
  const std::uint8_t kind = input.byte();
  if (kind < 240) return program_.structures() + kind % 8u * 8192u;
  switch (kind % 5) {
    case 0:
      return program_.structures_end() - bytes;
    case 1:
      return program_.structures_end() - input.byte();
    case 2:
      return program_.read_only() + input.byte();
    case 3:
      return input.quad();
    default:
      return program_.structures() + input.raw<std::uint16_t>();
  }
}

std::uint32_t Calls::argsz(Input& input, std::size_t wanted) {
  const auto size = static_cast<std::uint32_t>(wanted);
  const std::uint8_t kind = input.byte();
  if (kind < 192) return size;
  if (kind < 216) return size + 4u * (kind % 64u);
  if (kind < 240) return kind % 64u;
  return kind & 1 ? input.word() : size - 1;
}

int Calls::file(Input& input, std::string_view kind) const {
  const std::uint8_t choice = input.byte();
  return choice < 240 ? program_.pick(choice % 4u, kind) : program_.pick(choice);
}

// ---- files ------------------------------------------------------------------

void Calls::open(Input& input) {
  const std::uint8_t what = input.byte();
  if (program_.open_files() > 24) return;
  count_call();
  if (what % 4 == 0) {
    const auto file = engine_.open_container();
    FUZZ_CHECK(file, "open of a container");
    (void)program_.install(*file).ok();
    return;
  }
  const auto file = engine_.open_group(what / 4u % 5u);
  if (file)
    (void)program_.install(*file).ok();
  else
    FUZZ_CHECK(file.error().code == ENOENT || file.error().code == EBUSY, "open of a group: %d",
               file.error().code);
}

void Calls::open_device(Input& input) {
  char name[48];
  const std::uint8_t which = input.byte();
  std::snprintf(name, sizeof name, "0000:00:%02x.%u", 5 + which % 4u, which >= 224 ? which % 8u : 0u);
  std::size_t bytes = std::strlen(name) + 1;
  if (which >= 240) {
    bytes = std::min<std::size_t>(input.byte() % 48u, sizeof name);
    if (which & 1) std::memcpy(name + 12, " vf_token=1", 12), bytes = 24;
  }
  const bool refused = input.one_in(32);
  if (refused) program_.refuse_install(1);
  const int group = file(input, "group");
  if (program_.open_files() < 24)
    (void)ioctl(input, group, VFIO_GROUP_GET_DEVICE_FD,
                std::span(reinterpret_cast<const std::uint8_t*>(name), bytes));
  program_.refuse_install(0);
}

void Calls::map_bar(Input& input) {
  const vfio::FileRef file = program_.file_of(this->file(input, "device"));
  const std::uint8_t where = input.byte();
  std::uint64_t offset = std::uint64_t{where % 10u} << 40 | std::uint64_t{input.byte()} << kPageShift;
  std::size_t bytes = (input.byte() % 40u) * kPageSize;
  if (where >= 240) offset ^= input.quad(), bytes = input.quad() & ~(kPageSize - 1);
  if (!file) return;
  count_call();
  const auto pieces = file->mmap(offset, bytes, input.below(4), input.of({1, 1, 1, 1, 1, 1, 3, 2, 0}));
  if (!pieces) {
    FUZZ_CHECK(known_error(pieces.error().code), "mmap: %d", pieces.error().code);
    return;
  }
  std::size_t whole = 0;
  for (const vfio::MmapPiece& piece : *pieces) {
    FUZZ_CHECK(piece.bytes != 0 && page_aligned(piece.bytes) && page_aligned(piece.offset) && piece.fd >= 0,
               "mmap: a piece of %zu bytes", piece.bytes);
    whole += piece.bytes;
  }
  FUZZ_CHECK(whole == bytes, "mmap of %zu bytes gives %zu", bytes, whole);
  program_.map_bar(file, offset, bytes);
}

// ---- the sequence -------------------------------------------------------------

void Calls::begin(Input& input) {
  const std::uint8_t what = input.byte();
  if (what >= 240) return;  // everything by the calls below
  const auto container = engine_.open_container();
  FUZZ_CHECK(container, "open of a container");
  const int fd = *program_.install(*container);
  const unsigned groups = what % 8;  // one of them, or all
  for (unsigned number = 0; number < 4; ++number) {
    if (groups != 7 && number != groups % 3) continue;
    const auto group = engine_.open_group(number);
    if (!group) continue;
    const int group_fd = *program_.install(*group);
    std::memcpy(reinterpret_cast<void*>(program_.structures()), &fd, sizeof fd);
    if (ioctl(group_fd, VFIO_GROUP_SET_CONTAINER, program_.structures()) != 0) continue;
    (void)ioctl(fd, VFIO_SET_IOMMU, what / 8 % 4 ? VFIO_TYPE1v2_IOMMU : VFIO_TYPE1_IOMMU);
    if (what / 32 == 6) continue;
    for (unsigned slot = 5; slot < 9; ++slot) {
      char name[16];
      std::snprintf(name, sizeof name, "0000:00:%02x.0", slot);
      std::memcpy(reinterpret_cast<void*>(program_.structures()), name, sizeof name);
      (void)ioctl(group_fd, VFIO_GROUP_GET_DEVICE_FD, program_.structures());
    }
  }
}

void Calls::step(Input& input) {
  const std::uint8_t what = input.byte();
  switch (what / 8) {
    case 0:
    case 1:
    case 2:
    case 3:
      return map(input);
    case 4:
    case 5:
    case 6:
      return unmap(input);
    case 7:
      return dirty(input);
    case 8:
    case 9:
    case 10:
    case 11:
      return set_irqs(input);
    case 12:
    case 13:
    case 14:
    case 15:
      return config(input);
    case 16:
    case 17:
    case 18:
      return bar(input);
    case 19:
      return region(input);
    case 20:
      return edu_transfer(input);
    case 21:
    case 22:
      return info(input);
    case 23:
      return feature(input);
    case 24:
      return ioeventfd(input);
    case 25:
      return what & 1 ? map_bar(input) : static_cast<void>(program_.unmap_bar(input.byte()));
    case 26:
      return open_device(input);
    case 27:
    case 28:
      return any_ioctl(input);
    case 29:
      return open(input);
    case 30:
      switch (what % 8) {
        case 0:
        case 1:
          program_.close(program_.pick(input.byte()));
          return;
        case 2:
          if (program_.open_files() < 24) program_.duplicate(program_.pick(input.byte()));
          return;
        case 3:
          program_.signal(input.byte());
          return;
        case 4:
          return fail_once(input);
        case 5: {
          const std::uint64_t bytes[8] = {input.quad(), input.quad()};
          program_.store(input.raw<std::uint16_t>() * 64u, bytes, sizeof bytes);
          return;
        }
        default: {
          const int fd = program_.pick(0, "container"), group = program_.pick(input.byte() % 4u, "group");
          std::memcpy(reinterpret_cast<void*>(program_.structures()), &fd, sizeof fd);
          (void)ioctl(group, VFIO_GROUP_SET_CONTAINER, program_.structures());
          (void)ioctl(fd, VFIO_SET_IOMMU, what & 1 ? VFIO_TYPE1_IOMMU : VFIO_TYPE1v2_IOMMU);
          return;
        }
      }
    default: {
      if (what % 8 >= 4) return hot_reset(input);
      const int fd = file(input, "device");
      (void)ioctl(fd, VFIO_DEVICE_RESET, 0);
      return;
    }
  }
}

void Calls::run(Input& input) {
  while (!input.empty()) step(input);
}

}  // namespace pviommu::fuzz
