// SPDX-License-Identifier: LGPL-2.1-or-later
// A stack for calls that need more of it than a thread may have: a program's threads can have
// 16 KiB, of which a system call takes nothing.
#pragma once

#include <cstddef>
#include <utility>

namespace pviommu::vfio {

/// What a call of the engine may need; what it does need is a part of that.
inline constexpr std::size_t kStackForCalls = std::size_t{128} << 10;

/// Bytes left of this thread's stack; very much where that is not known (a coroutine), none on
/// an alternate signal stack.
std::size_t stack_left();

/// Runs `run(argument)` on a stack of kStackForCalls.  False: there is no memory for one.
bool run_on_large_stack(void (*run)(void*), void* argument);

/// `call()`, on this thread's stack when it is large enough, else on one of ours.
template <class Call>
auto with_stack(Call&& call) {
  if (stack_left() >= kStackForCalls) [[likely]]
    return call();
  struct Run {
    Call& call;
    decltype(call()) result{};
  } state{call};
  const auto run = [](void* argument) {
    Run& of = *static_cast<Run*>(argument);
    of.result = of.call();
  };
  if (!run_on_large_stack(run, &state)) return call();
  return std::move(state.result);
}

}  // namespace pviommu::vfio
