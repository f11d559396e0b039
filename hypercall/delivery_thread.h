// SPDX-License-Identifier: LGPL-2.1-or-later
// A thread of the library inside the program's process: it takes what arrives
// (an interrupt, a fault, a device's own work) to where it belongs.
//
//   start()   signals blocked -> work() ...
//   end()     wake            -> work() returns -> joined
//
// The program's signals are for its own threads, and a thread of ours must never
// run the program's handlers: it starts with all of them blocked.
#pragma once

#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <utility>

#include "hypercall/result.h"
#include "hypercall/unique_fd.h"

namespace pviommu {

/// Its owner calls all of it from one thread at a time, and ends it before its destructor.
class DeliveryThread {
 public:
  DeliveryThread() = default;
  DeliveryThread(const DeliveryThread&) = delete;
  DeliveryThread& operator=(const DeliveryThread&) = delete;
  ~DeliveryThread() {
    if (running_) std::terminate();
  }

  bool running() const { return running_; }
  /// From within work().
  bool is_current() const { return running_ && ::pthread_equal(thread_, ::pthread_self()) != 0; }

  /// Runs work() on a thread of its own; not while running().  `stack`: bytes, 0: the
  /// system's default.  EAGAIN: there can be no more threads; `operation` names the call then.
  template <typename Work>
  Status start(const char* operation, Work work, std::size_t stack = 0) {
    auto owned = std::make_unique<Work>(std::move(work));
    pthread_attr_t attributes;
    ::pthread_attr_init(&attributes);
    if (stack != 0) ::pthread_attr_setstacksize(&attributes, stack);
    sigset_t all, before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = ::pthread_create(&thread_, &attributes, run<Work>, owned.get());
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    ::pthread_attr_destroy(&attributes);
    if (error != 0) return Error{error, operation};
    (void)owned.release();  // run() has it
    running_ = true;
    return {};
  }

  /// Calls wake(), which lets work() return, and waits for that.  Not running: does nothing.
  template <typename Wake>
  void end(Wake wake) {
    if (!running_) return;
    wake();
    ::pthread_join(thread_, nullptr);
    running_ = false;
  }
  /// The same, where work() waits for an eventfd: to the kernel directly, not through a
  /// write() of the front end's.
  void end(const UniqueFd& eventfd) {
    end([&eventfd] {
      const std::uint64_t one = 1;
      while (::syscall(SYS_write, eventfd.get(), &one, sizeof one) < 0 && errno == EINTR) {
      }
    });
  }
  /// Does not wait: it ends by itself, or there is none (in the child of a fork()).
  void abandon() {
    if (running_) ::pthread_detach(thread_);
    running_ = false;
  }

 private:
  template <typename Work>
  static void* run(void* work) {
    const std::unique_ptr<Work> owned(static_cast<Work*>(work));
    (*owned)();
    return nullptr;
  }

  pthread_t thread_{};
  bool running_ = false;
};

}  // namespace pviommu
