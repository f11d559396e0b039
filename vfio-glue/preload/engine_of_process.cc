// SPDX-License-Identifier: LGPL-2.1-or-later
// Makes the engine and the device tree of this process, and ends them.
#include "vfio-glue/preload/engine_of_process.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <new>

#include "hypercall/statistics.h"
#include "hypercall/unique_fd.h"
#include "vfio-glue/preload/process.h"
#include "vfio-glue/preload/real.h"
#include "vfio-glue/preload/run_member.h"

namespace pviommu::vfio {

void say(std::string line) {
  line = "pviommu: " + line + "\n";
  // One write: lines of several processes do not mix.
  if (::syscall(SYS_write, 2, line.data(), line.size()) < 0) return;
}

void EngineOfProcess::complain(const std::string& message) {
  const std::scoped_lock lock(complaints_);
  if (message == last_complaint_) return;
  last_complaint_ = message;
  say(message);
}

Result<std::unique_ptr<Engine>> EngineOfProcess::create() {
  if (factory_) return factory_();
  const EngineConfig config = PVIOMMU_TRY(EngineConfig::from_environment());
  if (const char* path = std::getenv("PVIOMMU_STATS_FILE"); path != nullptr && *path != '\0') {
    const UniqueFd file(real().openat(AT_FDCWD, path, O_RDWR | O_CLOEXEC));
    const Status shared = file ? share_statistics(file.get()) : Status(Error{errno, "open"});
    // Statistics that cannot be kept are no reason to stop a program.
    if (!shared)
      complain("no statistics of this process: PVIOMMU_STATS_FILE=" + std::string(path) + ": " + to_string(shared.error()) +
               (shared.error().code == EACCES ? ", as the run is another user's" : ""));
  }
  return Engine::create(config);
}

Result<Engine*> EngineOfProcess::engine() {
  if (Engine* engine = engine_.load(std::memory_order_acquire);
      engine != nullptr && engine_incarnation_ == incarnation())
    return engine;
  const std::scoped_lock lock(making_);
  forget_parents();
  if (Engine* engine = engine_.load(std::memory_order_relaxed); engine != nullptr) return engine;
  auto created = create();
  if (!created) {
    complain(to_string(created.error()));
    return created.error();
  }
  engine_incarnation_ = incarnation();
  engine_.store(created->release(), std::memory_order_release);
  return engine_.load(std::memory_order_relaxed);
}

// Called with making_ held.  The parent's engine is left as it is and not destroyed: its
// threads are not here, its locks may be held by them, and its devices are the parent's.
void EngineOfProcess::forget_parents() {
  if (engine_.load(std::memory_order_relaxed) != nullptr && engine_incarnation_ != incarnation())
    engine_.store(nullptr, std::memory_order_relaxed);
}

void EngineOfProcess::open_given_view() {
  const char* given = std::getenv("PVIOMMU_SYSFS");
  if (given == nullptr || *given == '\0') return;
  const EngineScope scope;
  auto opened = SysfsView::open(given);
  const std::scoped_lock lock(mutex_);
  if (opened && view_.load() == nullptr) view_.store(new SysfsView(std::move(*opened)), std::memory_order_release);
}

const SysfsView* EngineOfProcess::view() {
  if (const SysfsView* view = view_.load(std::memory_order_acquire)) return view;
  if (inside_engine()) return nullptr;
  const EngineScope scope;
  const char* given = std::getenv("PVIOMMU_SYSFS");
  if (given != nullptr && *given != '\0') {
    const std::scoped_lock lock(mutex_);
    if (view_.load() != nullptr) return view_.load();
    auto opened = SysfsView::open(given);
    if (!opened) {
      complain("no device tree: PVIOMMU_SYSFS=" + std::string(given) + ": " + to_string(opened.error()) +
               (opened.error().code == EACCES ? "; user " + std::to_string(::geteuid()) + " may not search a folder of it" : ""));
      return nullptr;
    }
    view_.store(new SysfsView(std::move(*opened)), std::memory_order_release);
    return view_.load();
  }
  const auto ready = engine();
  if (!ready) return nullptr;
  const std::scoped_lock lock(mutex_);
  if (view_.load() != nullptr) return view_.load();
  auto folder = make_run_folder();
  if (!folder) {
    complain("no folder for the device tree: " + to_string(folder.error()));
    return nullptr;
  }
  const auto config = EngineConfig::from_environment();
  auto built = SysfsView::build(*folder, (*ready)->hypervisor(), config ? config->interfaces : Interfaces{});
  if (!built) {
    complain(to_string(built.error()));
    SysfsView::remove(*folder);
    return nullptr;
  }
  view_incarnation_ = incarnation();
  view_.store(new SysfsView(std::move(*built)), std::memory_order_release);
  return view_.load();
}

void EngineOfProcess::after_fork_in_child() {
  new (&mutex_) std::mutex;
  // A thread of the parent may have been at these; it is not here.
  new (&making_) std::mutex;
  new (&complaints_) std::mutex;
  note_fork();
  // The child must not keep the parent's devices locked or its pages pinned
  // when the parent is gone: the engine's descriptors become /dev/null, under
  // their old numbers, which nobody may be given while somebody remembers them.
  int null = -1;
  for (int fd = next_internal_fd(0); fd >= 0; fd = next_internal_fd(fd + 1)) {
    if (fd == run_descriptor()) continue;  // the child is of the run
    if (null < 0) null = static_cast<int>(::syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC));
    if (null < 0) break;
    ::syscall(SYS_dup3, null, fd, O_CLOEXEC);
  }
  if (null >= 0) ::syscall(SYS_close, null);
}

void EngineOfProcess::finish(bool idle) {
  if (idle) {
    const EngineScope scope;
    delete engine_.exchange(nullptr);
  }
  const SysfsView* view = view_.load();
  if (view != nullptr && view_incarnation_ == incarnation()) {
    const EngineScope scope;
    SysfsView::remove(view->root());
  }
}

}  // namespace pviommu::vfio
