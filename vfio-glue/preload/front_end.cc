// SPDX-License-Identifier: LGPL-2.1-or-later
// In this order: the engine's life, descriptors, mappings, the Client that the engine sees,
// and the life of the process (fork, exit).
//
//   making_       one engine at a time is made; before mutex_, and not held across fork()
//   mutex_        which engine and which tree there are
//   fd_table      no lock (fd_table.h)
//   mappings_     its own lock, held around the kernel's munmap() and mremap()
//   complaints_   innermost
#include "vfio-glue/preload/front_end.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdio>
#include <cstring>

#include "hypercall/statistics.h"
#include "vfio-glue/preload/large_stack.h"
#include "vfio-glue/preload/real.h"
#include "vfio-glue/preload/traps.h"
#include "vfio-glue/preload/user_memory.h"

namespace pviommu::vfio {
namespace {

constexpr int kHighNumbers = 512;  // descriptors we make for ourselves go above, out of a program's way

/// Maps all pieces, one behind the other, from `base` on, over what is there.
bool map_pieces(char* base, const MmapPieces& pieces, std::size_t first, int prot, int flags) {
  for (std::size_t i = first; i < pieces.size(); base += pieces[i++].bytes)
    if (real().mmap(base, pieces[i].bytes, prot, (flags & ~MAP_FIXED_NOREPLACE) | MAP_FIXED, pieces[i].fd,
                    static_cast<off_t>(pieces[i].offset)) == MAP_FAILED)
      return false;
  return true;
}

/// A file without any bytes: an access to a mapping of it is SIGBUS.
UniqueFd make_empty_file(const char* name) {
  return UniqueFd(static_cast<int>(::syscall(SYS_memfd_create, name, MFD_CLOEXEC)));
}

/// Null: there is no room, and a forked child will not have the mapping.
std::shared_ptr<BarMemory> map_memory(const MmapPieces& pieces, std::size_t bytes, std::uint64_t offset) {
  void* place = real().mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (place == MAP_FAILED) return nullptr;
  auto memory = std::make_shared<BarMemory>(reinterpret_cast<std::uintptr_t>(place), bytes, offset);
  return map_pieces(static_cast<char*>(place), pieces, 0, PROT_READ | PROT_WRITE, MAP_SHARED) ? memory : nullptr;
}

struct Stretch {
  std::uint64_t address = 0, bytes = 0;
  int prot = 0;
};
/// What is mapped in a range, with the rights it has now; without /proc, `prot` for all.
std::vector<Stretch> stretches_of(std::uint64_t address, std::uint64_t bytes, int prot) {
  std::vector<Stretch> found;
  std::FILE* maps = std::fopen("/proc/self/maps", "re");
  if (maps == nullptr) return {{address, bytes, prot}};
  char line[512];  // a longer one goes on with a path
  std::uint64_t begin = 0, end = 0;
  char rights[5];
  while (std::fgets(line, sizeof line, maps) != nullptr) {
    if (std::sscanf(line, "%lx-%lx %4s", &begin, &end, rights) != 3) continue;
    begin = std::max(begin, address);
    end = std::min(end, address + bytes);
    if (begin >= end) continue;
    found.push_back({begin, end - begin, (rights[0] == 'r' ? PROT_READ : 0) | (rights[1] == 'w' ? PROT_WRITE : 0) | (rights[2] == 'x' ? PROT_EXEC : 0)});
  }
  std::fclose(maps);
  return found;
}

constexpr std::size_t round_up(std::size_t bytes) { return (bytes + kPageSize - 1) & ~(kPageSize - 1); }

int kernel_close(int fd) { return static_cast<int>(::syscall(SYS_close, fd)); }

bool writes(const OpenFile& file) { return file.access_mode() != O_RDONLY; }
bool reads(const OpenFile& file) { return file.access_mode() != O_WRONLY; }

}  // namespace

// 8 MiB of zero pages, of which a process touches a few.
constinit FdTable fd_table;

FrontEnd& front_end() {
  // In static memory that is never destroyed.
  alignas(FrontEnd) static unsigned char storage[sizeof(FrontEnd)];
  static FrontEnd* const instance = new (storage) FrontEnd(fd_table);
  return *instance;
}

// ---- descriptors ------------------------------------------------------------

Result<int> FrontEnd::install(FileRef file, int access_mode, bool close_on_exec, std::string_view path,
                              int group) {
  OpenFileRef open_file = PVIOMMU_TRY(make_open_file(std::move(file), access_mode, path, group));
  const std::string name = "pviommu:" + std::string(path.substr(path.rfind('/') + 1));
  const int fd = static_cast<int>(
      ::syscall(SYS_memfd_create, name.c_str(), MFD_ALLOW_SEALING | (close_on_exec ? MFD_CLOEXEC : 0u)));
  if (fd < 0) return Error{errno, "descriptor for a VFIO file"};
  // What is not caught here (splice(), ftruncate(), ...) fails and changes nothing.
  ::syscall(SYS_fcntl, fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
  ::fchmod(fd, 0600);
  if (!table_.put(fd, std::move(open_file))) {
    kernel_close(fd);
    return Error{EMFILE, "descriptor for a VFIO file"};
  }
  return fd;
}

int FrontEnd::refuse(const OpenFile& file) {
  if (!file.ours()) [[unlikely]] {
    if (!told_about_fork_.exchange(true))
      say(std::string(file.path()) +
          " was inherited through fork: a VFIO file works only in the process that opened it");
    return -ENODEV;
  }
  // A signal handler that interrupted this very thread inside the engine: what
  // it interrupted may hold every lock it would need.
  if (inside_engine()) [[unlikely]]
    return -EDEADLK;
  return 0;
}

long FrontEnd::ioctl(OpenFile& file, unsigned long request, void* argument) {
  if (const int refused = refuse(file)) return refused;
  const KeepErrno keep;
  const EngineScope scope;
  return with_stack([&] {
    return file.file().ioctl(*this, static_cast<std::uint32_t>(request), reinterpret_cast<std::uintptr_t>(argument));
  });
}

ssize_t FrontEnd::pread(OpenFile& file, void* buffer, size_t bytes, off_t offset) {
  if (const int refused = refuse(file)) return refused;
  if (!reads(file)) return -EBADF;
  if (offset < 0) return -EINVAL;
  const KeepErrno keep;
  const EngineScope scope;
  return with_stack([&] { return file.file().pread(*this, reinterpret_cast<std::uintptr_t>(buffer), bytes, offset); });
}

ssize_t FrontEnd::pwrite(OpenFile& file, const void* buffer, size_t bytes, off_t offset) {
  if (const int refused = refuse(file)) return refused;
  if (!writes(file)) return -EBADF;
  if (offset < 0) return -EINVAL;
  const KeepErrno keep;
  const EngineScope scope;
  return with_stack([&] { return file.file().pwrite(*this, reinterpret_cast<std::uintptr_t>(buffer), bytes, offset); });
}

ssize_t FrontEnd::read(OpenFile& file, void* buffer, size_t bytes) {
  const std::int64_t at = file.position().load();
  const ssize_t done = pread(file, buffer, bytes, at);
  if (done > 0) file.position().store(at + done);
  return done;
}

ssize_t FrontEnd::write(OpenFile& file, const void* buffer, size_t bytes) {
  const std::int64_t at = file.position().load();
  const ssize_t done = pwrite(file, buffer, bytes, at);
  if (done > 0) file.position().store(at + done);
  return done;
}

bool FrontEnd::hidden(int fd) const {
  return is_internal_fd(fd) && !inside_engine() && !shares_memory_with_another_process();
}

int FrontEnd::close(int fd) {
  if (!table_.contains(fd)) {
    if (is_internal_fd(fd) && hidden(fd)) return -EBADF;
    return real().close(fd) == 0 ? 0 : -errno;
  }
  if (shares_memory_with_another_process()) return kernel_close(fd) == 0 ? 0 : -errno;
  const CallScope call;
  OpenFileRef open_file = table_.take(fd);
  const int result = kernel_close(fd) == 0 ? 0 : -errno;
  const KeepErrno keep;
  open_file = {};
  return result;
}

int FrontEnd::dup(int fd) { return dup_above(fd, F_DUPFD, 0); }

int FrontEnd::dup_above(int fd, int command, int lowest) {
  const CallScope call;
  if (is_internal_fd(fd) && fd != lent_ && hidden(fd)) return -EBADF;
  OpenFileRef open_file = table_.find(fd);
  const int made = real().fcntl(fd, command, lowest);
  if (made < 0) return -errno;
  if (shares_memory_with_another_process()) return made;
  if (!open_file) {
    const OpenFileRef stale = table_.take(made);
    return made;
  }
  if (!table_.put(made, std::move(open_file))) {
    kernel_close(made);
    return -EMFILE;
  }
  return made;
}

int FrontEnd::dup_onto(int fd, int target, int flags) {
  const auto duplicate = [&] {
    const int made = flags < 0 ? real().dup2(fd, target) : real().dup3(fd, target, flags);
    return made < 0 ? -errno : made;
  };
  const bool involved =
      table_.contains(fd) || table_.contains(target) || is_internal_fd(fd) || is_internal_fd(target);
  if (!involved || fd == target || inside_engine() || shares_memory_with_another_process())
    return duplicate();
  if (is_internal_fd(fd) && fd != lent_) return -EBADF;
  if (is_internal_fd(target)) {
    say("dup2 onto descriptor " + std::to_string(target) +
        " refused: the VFIO engine of this process uses it");
    return -EBUSY;
  }
  const CallScope call;
  OpenFileRef source = table_.find(fd);
  if (source && target >= FdTable::kSlots) return -EBADF;
  OpenFileRef displaced = table_.take(target);
  const int made = duplicate();
  if (made < 0) {
    if (displaced) table_.put(target, std::move(displaced));
    return made;
  }
  if (source) table_.put(made, std::move(source));
  const KeepErrno keep;
  displaced = {};
  return made;
}

int FrontEnd::close_range(unsigned first, unsigned last, int flags) {
  const auto kernel = [&](unsigned from, unsigned to) {
    return real().close_range(from, to, flags) == 0 ? 0 : -errno;
  };
  // CLOSE_RANGE_CLOEXEC closes nothing now; a wrong call must change nothing.
  if (first > last || (flags & ~static_cast<int>(CLOSE_RANGE_UNSHARE)) != 0 || inside_engine() ||
      shares_memory_with_another_process())
    return kernel(first, last);

  const CallScope call;
  const int highest = table_.highest();
  for (int fd = static_cast<int>(std::min<unsigned>(first, INT_MAX));
       fd <= highest && static_cast<unsigned>(fd) <= last; ++fd)
    if (const OpenFileRef gone = table_.take(fd)) kernel_close(fd);

  // Around the descriptors the engine lives on.
  unsigned from = first;
  for (int ours = next_internal_fd(static_cast<int>(std::min<unsigned>(first, INT_MAX)));
       ours >= 0 && static_cast<unsigned>(ours) <= last; ours = next_internal_fd(ours + 1)) {
    if (static_cast<unsigned>(ours) > from)
      if (const int result = kernel(from, static_cast<unsigned>(ours) - 1)) return result;
    from = static_cast<unsigned>(ours) + 1;
  }
  return from <= last ? kernel(from, last) : 0;
}

// ---- mappings ---------------------------------------------------------------

void FrontEnd::announce(BarMappings::Changes changes) {
  if (changes.empty()) return;
  const KeepErrno keep;
  const EngineScope scope;
  for (BarMappings::Change& change : changes)
    if (change.delta != 0 && change.open_file->ours()) change.open_file->file().mapping_changed(change.offset, change.delta);
  changes.clear();  // may release Files: still inside the scope
}

std::intptr_t FrontEnd::mmap(const OpenFileRef& file, void* address, size_t bytes, int prot, int flags,
                             off_t offset) {
  if (const int refused = refuse(*file)) return refused;
  const auto begin = static_cast<std::uint64_t>(offset);  // negative: in no region
  if (bytes == 0 || !page_aligned(begin)) return -EINVAL;
  const std::size_t whole = round_up(bytes);
  if (whole < bytes || whole > kUserEnd) return -ENOMEM;
  if (begin > ~std::uint64_t{0} - whole) return -EOVERFLOW;
  if (!reads(*file)) return -EACCES;
  if ((prot & PROT_WRITE) != 0 && (flags & MAP_TYPE) == MAP_SHARED && !writes(*file)) return -EACCES;

  MmapPieces pieces;
  {
    const EngineScope scope;
    auto allowed = file->file().mmap(begin, whole, prot, flags);
    if (!allowed) {
      // A place is looked for before the file is asked, and for memory of the program's own
      // whether there is as much.
      if ((flags & MAP_FIXED) == 0) {
        const bool counted = (flags & MAP_TYPE) == MAP_PRIVATE;
        void* place = real().mmap(address, whole, counted ? prot : PROT_NONE,
                                  MAP_PRIVATE | MAP_ANONYMOUS | (counted ? flags & MAP_NORESERVE : MAP_NORESERVE) |
                                      (flags & MAP_FIXED_NOREPLACE),
                                  -1, 0);
        if (place == MAP_FAILED) return -errno;
        real().munmap(place, whole);
      }
      return -allowed.error().code;
    }
    pieces = std::move(*allowed);
  }
  if (pieces.empty()) return -EINVAL;
  const MmapPieces memory = pieces;
  const auto empty_file = place_traps(pieces);
  if (!empty_file) return -empty_file.error().code;
  const bool trapped = *empty_file && std::ranges::all_of(pieces, [&](const MmapPiece& piece) { return piece.fd == empty_file->get(); });

  // The first piece over the whole length fixes the place; the others replace
  // their part of it.
  const auto map_all = [&]() -> std::intptr_t {
    void* base = real().mmap(address, whole, prot, flags, pieces[0].fd, static_cast<off_t>(pieces[0].offset));
    if (base == MAP_FAILED) return -errno;
    if (!map_pieces(static_cast<char*>(base) + pieces[0].bytes, pieces, 1, prot, flags)) {
      const int error = errno;
      real().munmap(base, whole);
      return -error;
    }
    return reinterpret_cast<std::intptr_t>(base);
  };

  std::intptr_t base = 0;
  const auto wanted = reinterpret_cast<std::uintptr_t>(address);
  if ((flags & MAP_FIXED) != 0 && mappings_.may_overlap(wanted, whole)) {
    announce(mappings_.remove_around(wanted, whole, [&] { return (base = map_all()) >= 0 || base < -4095; }));
  } else {
    base = map_all();
  }
  if (base < 0 && base >= -4095) return base;
  std::shared_ptr<BarMemory> behind;
  if (*empty_file) behind = map_memory(memory, whole, begin);
  announce(mappings_.add({static_cast<std::uint64_t>(base), whole, begin, file, prot, false, trapped, std::move(behind)},
                         [this](const BarMappings::Mapping& mapping, bool fault) { return remap(mapping, fault); }));
  return base;
}

// Their place in the empty file does not matter.
Result<UniqueFd> FrontEnd::place_traps(MmapPieces& pieces) {
  using Kind = MmapPiece::Kind;
  UniqueFd empty_file;
  if (std::ranges::all_of(pieces, [](const MmapPiece& piece) { return piece.kind == Kind::direct; })) return empty_file;
  if (can_trap() && start_trapping(*this)) empty_file = make_empty_file("pviommu-registers");
  for (MmapPiece& piece : pieces) {
    if (piece.kind == Kind::direct) continue;
    if (empty_file)
      piece.fd = empty_file.get(), piece.offset = 0;
    else if (piece.kind == Kind::table)
      return Error{EINVAL, "mmap of registers beside an MSI-X table"};
  }
  return empty_file;
}

// The same addresses, with the rights the program has given them meanwhile.  An access
// behind the end of a file is SIGBUS, and an empty file has nothing before its end.
bool FrontEnd::remap(const BarMappings::Mapping& mapping, bool fault) {
  const EngineScope scope;
  UniqueFd nothing;
  if (fault) nothing = make_empty_file("pviommu-no-decoding");
  bool done = !fault || nothing;
  for (const Stretch& part : stretches_of(mapping.address, mapping.bytes, mapping.prot)) {
    MmapPieces pieces{{nothing.get(), 0, part.bytes}};
    if (!fault) {
      auto allowed = mapping.open_file->file().mmap(mapping.offset + (part.address - mapping.address), part.bytes, part.prot, MAP_SHARED);
      if (!allowed) errno = allowed.error().code;
      done = done && allowed;
      if (!done) break;
      pieces = std::move(*allowed);
      auto empty_file = place_traps(pieces);
      if (!empty_file) errno = empty_file.error().code;
      done = done && empty_file;
      if (!done) break;
      nothing = std::move(*empty_file);
    }
    done = done && map_pieces(reinterpret_cast<char*>(part.address), pieces, 0, part.prot, MAP_SHARED);
  }
  if (!done) process_.complain("a mapping of a BAR does not follow its device: " + std::string(std::strerror(errno)));
  return done;
}

void FrontEnd::refresh_mappings(const void* object) {
  mappings_.refresh(object, [this](const BarMappings::Mapping& mapping, bool fault) { return remap(mapping, fault); });
}

// ---- Client -----------------------------------------------------------------

bool FrontEnd::traps_registers() const { return can_trap(); }

Status FrontEnd::copy_in(void* to, std::uint64_t from, std::size_t bytes) {
  return copy_from_program(to, from, bytes);
}

Status FrontEnd::copy_out(std::uint64_t to, const void* from, std::size_t bytes) {
  return copy_to_program(to, from, bytes);
}

FileRef FrontEnd::file_of(int fd) {
  const OpenFileRef open_file = table_.find(fd);
  return open_file && open_file->ours() ? FileRef(&open_file->file()) : FileRef();
}

bool FrontEnd::is_open(int fd) {
  return fd >= 0 && !is_internal_fd(fd) && ::syscall(SYS_fcntl, fd, F_GETFD) >= 0;
}

Result<int> FrontEnd::install(FileRef file) {
  const std::string name = "anon_inode:[vfio-" + std::string(file->kind()) + "]";
  return install(std::move(file), O_RDWR, true, name, -1);
}

Result<UniqueFd> FrontEnd::duplicate_eventfd(int fd) {
  if (fd < 0 || is_internal_fd(fd)) return Error{EBADF, "eventfd"};
  // The duplicate is examined, not the program's number, which can change.
  long made = ::syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, kHighNumbers);
  if (made < 0 && errno != EBADF) made = ::syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 0);
  if (made < 0) return Error{errno, "eventfd"};
  UniqueFd duplicate(static_cast<int>(made));

  char link[64];
  char target[32];
  std::snprintf(link, sizeof link, "/proc/self/fd/%ld", made);
  const long length = ::syscall(SYS_readlink, link, target, sizeof target);
  if (length >= 0) {
    if (std::string_view(target, static_cast<std::size_t>(length)) != "anon_inode:[eventfd]")
      return Error{EINVAL, "not an eventfd"};
    return duplicate;
  }
  // No /proc here: at least an anonymous inode.
  struct stat st {};
  if (::syscall(SYS_fstat, made, &st) != 0 || (st.st_mode & S_IFMT) != 0)
    return Error{EINVAL, "not an eventfd"};
  return duplicate;
}

Result<UniqueFd> FrontEnd::duplicate_memory_file(int fd) {
  if (fd < 0 || is_internal_fd(fd)) return Error{EBADF, "memory of a file"};
  if (table_.contains(fd)) return Error{EINVAL, "memory of a VFIO file"};
  const long made = ::syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 0);
  if (made < 0) return Error{errno, "memory of a file"};
  UniqueFd duplicate(static_cast<int>(made));
  // Only files of tmpfs and hugetlbfs have seals.
  if (::syscall(SYS_fcntl, made, F_GET_SEALS) < 0) return Error{EINVAL, "memory of a file that is none"};
  return duplicate;
}

Client::MmioMapping FrontEnd::mmio_at(std::uint64_t address, std::uint64_t bytes) {
  const BarMappings::Mapping found = mappings_.find(address, bytes);
  if (!found.open_file || !found.open_file->ours()) return {};
  int prot = PROT_READ | PROT_WRITE | PROT_EXEC;
  for (const Stretch& part : stretches_of(address, bytes, found.prot)) prot &= part.prot;
  return {FileRef(&found.open_file->file()), found.offset, prot};
}

// ---- life of the process ----------------------------------------------------

void FrontEnd::before_fork() {
  process_.before_fork();
  mappings_.lock();
}

void FrontEnd::after_fork_in_parent() {
  BarMappings::Changes changes = mappings_.share_with_child();
  mappings_.unlock();
  process_.after_fork_in_parent();
  announce(std::move(changes));
}

void FrontEnd::after_fork_in_child() {
  mappings_.reinitialise_lock();
  process_.after_fork_in_child();
}

void FrontEnd::finish() {
  if (shares_memory_with_another_process()) return;
  const bool have_engine = process_.has_engine();
  for (int fd = 0, highest = table_.highest(); fd <= highest; ++fd) {
    // The number stays open: the kernel closes it in a moment, and nobody else gets it.
    const OpenFileRef gone = table_.take(fd);
  }
  announce(mappings_.clear());
  // With a file still open a thread is in a call: the process ends with it.
  process_.finish(have_engine && open_files() == 0);
}

}  // namespace pviommu::vfio
