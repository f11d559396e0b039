// SPDX-License-Identifier: LGPL-2.1-or-later
// Errors are values.  An Error names the errno a program will see, the
// operation that failed and the hypervisor's raw code, so that an engineer in
// front of a log line knows which hypercall said no.
#pragma once

#include <cerrno>
#include <cstdint>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace pviommu {

/// `code` is a positive errno.  `operation` is a string with static lifetime.
/// `raw` is what the hypervisor returned (0: the refusal was ours).
struct Error {
  int code = 0;
  const char* operation = "";
  std::int64_t raw = 0;
  friend bool operator==(const Error& a, const Error& b) { return a.code == b.code; }
};

/// "operation: strerror (raw N)", one line without a newline.
std::string to_string(const Error& error);

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, error) {}

  explicit operator bool() const { return state_.index() == 0; }
  bool ok() const { return state_.index() == 0; }
  T& value() & { return *std::get_if<0>(&state_); }
  const T& value() const& { return *std::get_if<0>(&state_); }
  T&& value() && { return std::move(*std::get_if<0>(&state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  // By value: `for (auto& x : *call())` must not iterate over a temporary that is gone.
  T operator*() && { return std::move(*this).value(); }
  T* operator->() { return std::get_if<0>(&state_); }
  const T* operator->() const { return std::get_if<0>(&state_); }
  const Error& error() const { return *std::get_if<1>(&state_); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(error) {}
  explicit operator bool() const { return error_.code == 0; }
  bool ok() const { return error_.code == 0; }
  const Error& error() const { return error_; }

 private:
  Error error_{};
};

using Status = Result<void>;

/// Evaluates to the value, or returns the error from the enclosing function.
#define PVIOMMU_TRY(expression)                          \
  ({                                                     \
    auto pviommu_try_result = (expression);              \
    if (!pviommu_try_result) [[unlikely]]                \
      return pviommu_try_result.error();                 \
    ::pviommu::detail::unwrap(std::move(pviommu_try_result)); \
  })

namespace detail {
template <class T>
T unwrap(Result<T>&& result) {
  return std::move(result).value();
}
inline void unwrap(Result<void>&&) {}
}  // namespace detail

}  // namespace pviommu
