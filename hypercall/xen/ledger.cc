// SPDX-License-Identifier: LGPL-2.1-or-later
// create() locks the new file before there is anything in it, and writes the magic number
// last: a reaper that is faster finds an empty or a locked file and leaves it.  Locks are open
// file description locks, so a copy of the descriptor in the guardian holds the same lock.
#include "hypercall/xen/ledger.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "hypercall/device_lock.h"

namespace pviommu::xen {
namespace {

constexpr std::string_view kPrefix = "xen-";
constexpr std::string_view kSuffix = ".ledger";

Status lock_file(int fd) {
  struct flock whole {};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  if (::fcntl(fd, F_OFD_SETLK, &whole) == 0) return {};
  return Error{errno == EAGAIN || errno == EACCES ? EBUSY : errno, "ledger: lock"};
}

std::array<char, 40> boot_id() {
  std::array<char, 40> id{};
  const UniqueFd fd(::open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC));
  if (fd) (void)!::read(fd.get(), id.data(), id.size() - 1);
  return id;
}

}  // namespace

LedgerId ledger_id(const std::string& path) {
  LedgerId id;
  char* end = nullptr;
  id.pid = static_cast<std::uint32_t>(std::strtoul(path.c_str() + path.rfind('/') + 1 + kPrefix.size(), &end, 10));
  if (*end == '-') id.number = static_cast<std::uint32_t>(std::strtoul(end + 1, nullptr, 10));
  return id;
}

Status Ledger::map() {
  void* memory = ::mmap(nullptr, sizeof(LedgerHeader), PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
  if (memory == MAP_FAILED) return Error{errno, "ledger: map"};
  header_ = static_cast<LedgerHeader*>(memory);
  return {};
}

Result<std::unique_ptr<Ledger>> Ledger::create() {
  const std::string folder = PVIOMMU_TRY(DeviceLock::folder());
  for (unsigned n = 0; n < 1000; ++n) {
    std::string path = folder + "/" + std::string(kPrefix) + std::to_string(::getpid()) + "-" +
                       std::to_string(n) + std::string(kSuffix);
    UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd) {
      if (errno == EEXIST) continue;
      return Error{errno, "ledger: make"};
    }
    std::unique_ptr<Ledger> ledger(new Ledger(std::move(fd), std::move(path)));
    // Locked before there is anything in it.  A reaper that is faster finds an
    // empty file, and leaves it.
    if (const Status locked = lock_file(ledger->fd()); !locked) {
      if (locked.error().code == EBUSY) continue;
      return locked.error();
    }
    if (::ftruncate(ledger->fd(), sizeof(LedgerHeader)) != 0) return Error{errno, "ledger: size"};
    PVIOMMU_TRY(ledger->map());
    ledger->header_->layout = LedgerHeader::kLayout;
    ledger->header_->pid = static_cast<std::uint32_t>(::getpid());
    ledger->header_->number = n;
    std::memcpy(ledger->header_->boot, boot_id().data(), sizeof ledger->header_->boot);
    ledger->header_->magic = LedgerHeader::kMagic;
    return ledger;
  }
  return Error{EEXIST, "ledger: make"};
}

Result<std::unique_ptr<Ledger>> Ledger::adopt(UniqueFd fd, std::string path) {
  struct stat st {};
  if (::fstat(fd.get(), &st) != 0) return Error{errno, "ledger"};
  if (st.st_size == 0) return Error{EAGAIN, "ledger: empty"};
  if (st.st_size != static_cast<off_t>(sizeof(LedgerHeader))) return Error{EBADMSG, "ledger: size"};
  std::unique_ptr<Ledger> ledger(new Ledger(std::move(fd), std::move(path)));
  PVIOMMU_TRY(ledger->map());
  if (ledger->header_->magic != LedgerHeader::kMagic ||
      ledger->header_->layout != LedgerHeader::kLayout)
    return Error{EBADMSG, "ledger: version"};
  if (std::memcmp(ledger->header_->boot, boot_id().data(), sizeof ledger->header_->boot) != 0) {
    ledger->discard();  // what it lists ended with that boot
    return Error{ESTALE, "ledger: of another boot"};
  }
  return ledger;
}

Result<std::unique_ptr<Ledger>> Ledger::take(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return Error{errno, "ledger: open"};
  PVIOMMU_TRY(lock_file(fd.get()));
  return adopt(std::move(fd), path);
}

Ledger::~Ledger() {
  if (header_ != nullptr) ::munmap(header_, sizeof(LedgerHeader));
}

bool Ledger::empty() const {
  for (const LedgerDevice& device : header_->device)
    if (device.used.load(std::memory_order_acquire) != 0) return false;
  for (const LedgerBar& bar : header_->bar)
    if (bar.domid.load(std::memory_order_acquire) != 0) return false;
  return true;
}

Result<LedgerDevice*> Ledger::add(Sbdf sbdf) {
  for (LedgerDevice& device : header_->device) {
    if (device.used.load(std::memory_order_acquire) != 0) continue;
    device.sbdf = sbdf.raw();
    device.carrier.store(0);
    device.prepared.store(0);
    device.vectors.store(0);
    device.enabled_here = 0;
    device.fetch = {};
    if (::mlock(&device, offsetof(LedgerDevice, vector)) != 0) return Error{errno, "ledger: lock memory"};
    device.used.store(1, std::memory_order_release);
    return &device;
  }
  return Error{ENOSPC, "ledger: more devices than one process can have"};
}

void Ledger::remove(LedgerDevice& device) { device.used.store(0, std::memory_order_release); }

Status Ledger::lock_vectors(LedgerDevice& device, unsigned count) {
  if (count > LedgerDevice::kVectors) return Error{E2BIG, "ledger: vectors"};
  if (::mlock(device.vector, count * sizeof(LedgerVector)) != 0) return Error{errno, "ledger: lock memory"};
  return {};
}

void Ledger::discard() { (void)::unlink(path_.c_str()); }

std::vector<std::string> Ledger::list() {
  std::vector<std::string> paths;
  const auto folder = DeviceLock::folder();
  if (!folder) return paths;
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(::opendir(folder->c_str()), &::closedir);
  if (!entries) return paths;
  while (const dirent* entry = ::readdir(entries.get())) {
    const std::string_view name = entry->d_name;
    if (name.starts_with(kPrefix) && name.ends_with(kSuffix)) paths.push_back(*folder + "/" + std::string(name));
  }
  return paths;
}

}  // namespace pviommu::xen
