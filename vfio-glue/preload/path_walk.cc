// SPDX-License-Identifier: LGPL-2.1-or-later
// Three buffers a walk: the canonical path so far, what remains of a path with links in it,
// and the link that is looked at.  They do not lie on the stack, of which a thread may have
// little, nor on the heap, as open() and stat() are called in signal handlers.
#include "vfio-glue/preload/path_walk.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <climits>
#include <cstdio>
#include <cstring>

#include "hypercall/unique_fd.h"
#include "vfio-glue/preload/front_end.h"

namespace pviommu::vfio {
namespace {

constexpr int kMostLinks = 40;  // MAXSYMLINKS, include/linux/namei.h

struct Buffers {
  char canonical[PATH_MAX];
  char text[2][PATH_MAX];
};

// A few that are always there; one that is left by a jump is not given back.
constinit std::array<std::atomic<bool>, 16> in_use{};
Buffers buffers_pool[in_use.size()];

class BorrowedBuffers {
 public:
  BorrowedBuffers() {
    for (std::size_t i = 0; i < in_use.size(); ++i)
      if (!in_use[i].exchange(true, std::memory_order_acquire)) {
        buffers_ = &buffers_pool[i];
        return;
      }
    const long made = ::syscall(SYS_mmap, nullptr, sizeof(Buffers), PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0L);
    if (made > 0 || made < -4095) buffers_ = reinterpret_cast<Buffers*>(made);
  }
  BorrowedBuffers(const BorrowedBuffers&) = delete;
  BorrowedBuffers& operator=(const BorrowedBuffers&) = delete;
  ~BorrowedBuffers() {
    if (buffers_ == nullptr) return;
    const auto index = static_cast<std::size_t>(buffers_ - buffers_pool);
    if (buffers_ >= buffers_pool && index < in_use.size())
      in_use[index].store(false, std::memory_order_release);
    else
      ::syscall(SYS_munmap, buffers_, sizeof(Buffers));
  }
  Buffers* get() const { return buffers_; }

 private:
  Buffers* buffers_ = nullptr;
};

ssize_t read_link(const char* path, char* to, std::size_t space) {
  return ::syscall(SYS_readlinkat, AT_FDCWD, path, to, space);
}

bool begins(std::string_view path, std::string_view folder) {
  return path.starts_with(folder) && (path.size() == folder.size() || path[folder.size()] == '/');
}

// The tree may have to be made for this, which takes a hypervisor: only for
// what a tree can hold.
bool is_tree_path(std::string_view canonical) {
  if (!canonical.starts_with("/sys/") && !canonical.starts_with("/dev/")) return false;
  if (begins(canonical, "/dev/vfio") || canonical == "/dev/iommu") return true;
  for (const std::string_view prefix :
       {"/sys/bus/pci", "/sys/kernel/iommu_groups", "/sys/module/vfio", "/sys/devices/pci"})
    if (canonical.starts_with(prefix)) return true;
  return false;
}

/// N of "/proc/PID/fd/N" and "/proc/PID/task/TID/fd/N" of this process; -1: it is none.
int number_of_proc_link(std::string_view canonical) {
  constexpr std::string_view kProc = "/proc/", kTask = "task/", kFd = "fd/";
  const auto number = [&] {
    int value = -1;
    const auto [rest, problem] = std::from_chars(canonical.data(), canonical.data() + canonical.size(), value);
    if (problem != std::errc()) return -1;
    canonical.remove_prefix(static_cast<std::size_t>(rest - canonical.data()));
    return value;
  };
  const auto skip = [&](std::string_view text) {
    const bool there = canonical.starts_with(text);
    if (there) canonical.remove_prefix(text.size());
    return there;
  };
  if (!skip(kProc) || number() != owner_pid() || !skip("/")) return -1;
  if (skip(kTask) && (number() < 0 || !skip("/"))) return -1;
  if (!skip(kFd)) return -1;
  const int fd = number();
  return canonical.empty() ? fd : -1;
}

class Walk {
 public:
  explicit Walk(Buffers& buffers) : buffers_(buffers) {}

  Place run(int folder, const char* path, LastLink last);
  /// The canonical path of `folder` becomes the start.  False: it has none.
  bool start_in(int folder);
  std::string_view canonical() const { return size_ == 0 ? "/" : std::string_view(buffers_.canonical, size_); }
  bool in_tree() const { return through_tree_; }

 private:
  bool append(std::string_view component);
  void pop() {
    while (size_ > 0 && buffers_.canonical[--size_] != '/') {
    }
    buffers_.canonical[size_] = '\0';
  }
  /// What the kernel is asked for in the place of the canonical path.
  const char* locate();
  bool is_folder();
  /// The canonical path becomes what the kernel finds behind `link`.
  bool follow_by_kernel(const char* link);
  /// Puts the link's target, which is `length` bytes of the other text, before the rest.
  bool expand(std::size_t length);
  Place result(bool must_be_folder);

  Buffers& buffers_;
  std::size_t size_ = 0;
  const char* rest_ = nullptr;
  int current_ = 0;            // buffers_.text[current_] is what rest_ may point into
  bool through_tree_ = false;  // something on the way was the tree's
  bool missing_ = false;       // something on the way is not there
  bool really_there_ = false;  // what was located is the kernel's own
  std::string located_;        // of the last locate(), when it is the tree's
};

bool Walk::append(std::string_view component) {
  if (size_ + 1 + component.size() + 1 >= PATH_MAX) return false;  // and a slash, for is_folder()
  buffers_.canonical[size_++] = '/';
  std::memcpy(buffers_.canonical + size_, component.data(), component.size());
  size_ += component.size();
  buffers_.canonical[size_] = '\0';
  return true;
}

bool Walk::start_in(int folder) {
  long length = 0;
  if (folder == AT_FDCWD) {
    length = ::syscall(SYS_getcwd, buffers_.canonical, sizeof buffers_.canonical) - 1;
  } else {
    char link[32];
    std::snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    length = read_link(link, buffers_.canonical, sizeof buffers_.canonical - 1);
  }
  if (length <= 0 || buffers_.canonical[0] != '/') return false;  // unreachable, a pipe, ...
  size_ = length == 1 ? 0 : static_cast<std::size_t>(length);
  buffers_.canonical[size_] = '\0';
  const SysfsView* view = front_end().known_view();
  if (view == nullptr || !begins(canonical(), view->root())) return true;
  const EngineScope scope;
  const auto shown = shown_path(canonical());
  if (!shown || shown->size() >= PATH_MAX) return true;
  std::memcpy(buffers_.canonical, shown->c_str(), shown->size() + 1);
  size_ = shown->size();
  through_tree_ = true;
  return true;
}

const char* Walk::locate() {
  located_.clear();
  really_there_ = false;
  if (!is_tree_path(canonical())) return size_ == 0 ? "/" : buffers_.canonical;
  const SysfsView* view = front_end().view();
  if (view == nullptr) return buffers_.canonical;
  const EngineScope scope;
  auto led = view->resolve(canonical());
  if (!led) return buffers_.canonical;
  // An absolute link is how the tree names what is really there (SysfsView::build()): the
  // kernel finds that, and nobody is to see a link.
  struct stat st {};
  char* link = buffers_.text[1 - current_];
  if (::syscall(SYS_newfstatat, AT_FDCWD, led->c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode)) {
    const ssize_t length = read_link(led->c_str(), link, PATH_MAX);
    really_there_ = length > 0 && length < PATH_MAX && link[0] == '/';
    if (really_there_) led->assign(link, static_cast<std::size_t>(length));
  }
  located_ = std::move(*led);
  through_tree_ = true;
  return located_.c_str();
}

bool Walk::is_folder() {
  const char* at = locate();
  if (!located_.empty()) {
    located_ += '/';
    return ::syscall(SYS_faccessat, AT_FDCWD, located_.c_str(), F_OK) == 0;
  }
  if (size_ == 0) return true;
  buffers_.canonical[size_] = '/';
  buffers_.canonical[size_ + 1] = '\0';
  const bool found = ::syscall(SYS_faccessat, AT_FDCWD, at, F_OK) == 0;
  buffers_.canonical[size_] = '\0';
  return found;
}

bool Walk::follow_by_kernel(const char* link) {
  const UniqueFd fd(static_cast<int>(::syscall(SYS_openat, AT_FDCWD, link, O_PATH | O_CLOEXEC)));
  if (!fd) return false;
  const std::string own = "/proc/self/fd/" + std::to_string(fd.get());
  const ssize_t length = read_link(own.c_str(), buffers_.canonical, sizeof buffers_.canonical - 1);
  if (length <= 1 || buffers_.canonical[0] != '/') return false;
  size_ = static_cast<std::size_t>(length);
  buffers_.canonical[size_] = '\0';
  return true;
}

bool Walk::expand(std::size_t length) {
  char* target = buffers_.text[1 - current_];
  const std::size_t rest = std::strlen(rest_);
  if (length + 1 + rest + 1 > PATH_MAX) return false;
  target[length] = '/';
  std::memcpy(target + length + 1, rest_, rest + 1);
  if (rest == 0) target[length] = '\0';
  current_ = 1 - current_;
  rest_ = target;
  if (*rest_ == '/') {
    size_ = 0;
    buffers_.canonical[0] = '\0';
  }
  return true;
}

Place Walk::run(int folder, const char* path, LastLink last) {
  if (*path != '/' && !start_in(folder)) return {};
  rest_ = path;
  bool must_be_folder = false;
  for (int links = 0;;) {
    while (*rest_ == '/') ++rest_;
    if (*rest_ == '\0') break;
    const char* end = rest_;
    while (*end != '\0' && *end != '/') ++end;
    const std::string_view component(rest_, static_cast<std::size_t>(end - rest_));
    rest_ = end;
    const bool slash = *end == '/';
    while (*end == '/') ++end;
    const bool is_last = *end == '\0';
    if (is_last) must_be_folder = slash;
    if (component == "." || component == "..") {
      must_be_folder = must_be_folder || is_last;
      if (missing_ || ((through_tree_ || component == "..") && !is_folder())) {
        if (through_tree_) return {.error = missing_ ? ENOENT : ENOTDIR};
        return {};  // the kernel says so
      }
      if (component == "..") pop();
      continue;
    }
    if (!append(component)) return {};
    if (missing_) continue;
    const char* at = locate();
    if (const int fd = is_last ? number_of_proc_link(canonical()) : -1; fd >= 0 && fd_table.contains(fd))
      return {.descriptor = fd};
    char* link = buffers_.text[1 - current_];
    ssize_t length = read_link(at, link, PATH_MAX);
    if (length < 0) {
      missing_ = errno != EINVAL;
      continue;
    }
    if (is_last && !slash && last == LastLink::keep) continue;
    if (length >= PATH_MAX) return {};
    if (++links > kMostLinks) return through_tree_ ? Place{.error = ELOOP} : Place{};
    if (canonical().starts_with("/proc/") && (link[0] == '/' || std::memchr(link, ':', static_cast<std::size_t>(length)) != nullptr)) {
      // A way to an open file or folder, whatever its text says.
      if (link[0] != '/') return {};
      link[length] = '\0';
      const EngineScope scope;
      if (const auto shown = shown_path(link); shown && shown->size() < PATH_MAX) {
        std::memcpy(link, shown->data(), shown->size());
        length = static_cast<ssize_t>(shown->size());
      }
    }
    if (really_there_) {
      // Its text counts from a folder of the kernel's, which may lie deeper than the tree's.
      if (!follow_by_kernel(at)) return {.error = ENOENT};
      continue;
    }
    pop();
    if (!expand(static_cast<std::size_t>(length))) return {};
  }
  return result(must_be_folder);
}

Place Walk::result(bool must_be_folder) {
  const char* at = locate();
  const bool of_tree = !located_.empty();
  Place place;
  if (!must_be_folder)
    if (const auto node = SysfsView::vfio_node(canonical())) place.node = *node;
  if (!through_tree_ && place.node.empty()) return {};
  place.led = true;
  place.in_tree = of_tree;
  place.shown = canonical();
  // Without a tree there is nothing; what is beside it is where it is.
  if (of_tree || !is_tree_path(canonical()) || front_end().known_view() != nullptr) place.path = at;
  if (must_be_folder && !place.path.empty() && place.path.back() != '/') place.path += '/';
  return place;
}

/// A walk from `path` in `buffers`, done to its end.
Place walk(Buffers& buffers, const char* path, std::string& canonical) {
  Walk walk(buffers);
  Place place = walk.run(AT_FDCWD, path, LastLink::follow);
  canonical = walk.canonical();
  return place;
}

}  // namespace

Place find_place(int folder, const char* path, LastLink last) {
  if (path == nullptr || *path == '\0' || inside_engine()) return {};
  const KeepErrno keep;
  const BorrowedBuffers buffers;
  if (buffers.get() == nullptr) return {};
  return Walk(*buffers.get()).run(folder, path, last);
}

std::optional<ShownFolder> shown_folder(int fd) {
  const KeepErrno keep;
  const BorrowedBuffers buffers;
  if (buffers.get() == nullptr) return std::nullopt;
  Walk walk(*buffers.get());
  if (!walk.start_in(fd)) return std::nullopt;
  return ShownFolder{std::string(walk.canonical()), walk.in_tree()};
}

std::optional<std::string> shown_path(std::string_view path) {
  const SysfsView* view = front_end().known_view();
  if (view == nullptr) return std::nullopt;
  auto shown = view->unresolve(path);
  // The tree's own root, say, is a folder like any other.
  if (!shown || view->resolve(*shown) != path) return std::nullopt;
  return shown;
}

bool may_lead_into_tree(const char* path) {
  if (path == nullptr || *path == '\0' || front_end().known_view() == nullptr) return false;
  const KeepErrno keep;
  const BorrowedBuffers buffers;
  if (buffers.get() == nullptr) return false;
  std::string canonical;
  const Place place = walk(*buffers.get(), path, canonical);
  return place.led || canonical == "/" || begins(canonical, "/sys") || begins(canonical, "/dev");
}

}  // namespace pviommu::vfio
