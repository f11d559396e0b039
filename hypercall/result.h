// SPDX-License-Identifier: LGPL-2.1-or-later
// Errors are values.  An Error names the errno a program will see, the
// operation that failed and the hypervisor's raw code, so that an engineer in
// front of a log line knows which hypercall said no.  It may own a sentence for
// people.  Nothing is ever decided on either text: what a caller must know has a
// member of its own.
//
//   Error{EINVAL, "map"}                     ours
//   Error{EIO, "H_PUT_TCE", rc}              the hypervisor's
//   Error{EIO, "map: state lost", rc, true}  and devices may still reach the frames
//   Error{EINVAL, "open"}.with_sentence("xen: unknown option \"ports\"")
#pragma once

#include <cerrno>
#include <cstdint>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace pviommu {

/// Text that an error owns, or none; one pointer.  Copies share the text, so that
/// copying an Error neither allocates nor throws.  Thread-safe as a shared_ptr is.
class Sentence {
 public:
  constexpr Sentence() = default;
  /// None when there is no memory for it: the error itself matters more.
  explicit Sentence(std::string_view text) noexcept;
  constexpr Sentence(const Sentence& other) noexcept : text_(other.text_) {
    if (text_ != nullptr) [[unlikely]] share();
  }
  constexpr Sentence(Sentence&& other) noexcept : text_(std::exchange(other.text_, nullptr)) {}
  constexpr Sentence& operator=(Sentence other) noexcept {
    std::swap(text_, other.text_);
    return *this;
  }
  constexpr ~Sentence() {
    if (text_ != nullptr) [[unlikely]] release();
  }

  bool empty() const { return text_ == nullptr; }
  /// Valid as long as this, or a copy; empty when there is none.
  std::string_view view() const noexcept;

 private:
  struct Text;
  void share() noexcept;
  void release() noexcept;

  Text* text_ = nullptr;
};

struct Error {
  int code = 0;                ///< a positive errno
  const char* operation = "";  ///< a string with static lifetime
  std::int64_t raw = 0;        ///< what the hypervisor returned (0: the refusal was ours)
  /// After this error devices of the space may still reach some of the frames of the
  /// request, in whatever part of it, until the space is gone.  Set by who cannot say
  /// any more how far a change of the mappings came, and passed on by everyone above:
  /// an undo that seems to be successful afterwards does not take it back.
  bool state_lost = false;
  Sentence sentence = {};  ///< for people, instead of the operation; may be empty

  /// The same error, said in a sentence.  Never throws.
  Error with_sentence(std::string_view text) const noexcept {
    return {code, operation, raw, state_lost, Sentence(text)};
  }

  friend bool operator==(const Error& a, const Error& b) { return a.code == b.code; }
};

/// One line without a newline: the sentence if there is one, else
/// "operation: strerror (raw N)".
std::string to_string(const Error& error);

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

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
  Result(Error error) : error_(std::move(error)) {}
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
