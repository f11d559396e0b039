// SPDX-License-Identifier: LGPL-2.1-or-later
// JSON as the command writes it.  json.cc alone includes the library behind it,
// whose header costs more to compile than most of our files.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace pviommu::command {

/// A value: null, a truth value, a number, a string, an array, or an object whose
/// members keep their order.
///
///     Json json = {{"address", "0000:00:05.0"}, {"owner", {{"pid", 7}}}};
///     json.set("vectors", 4);
class Json {
 public:
  struct Member;

  Json();  ///< null
  Json(bool value);
  Json(int value);
  Json(unsigned value);
  Json(std::uint64_t value);
  Json(const char* value);
  Json(std::string_view value);
  Json(const std::string& value);
  Json(const std::vector<std::string>& values);   ///< an array of strings
  Json(std::initializer_list<Member> members);    ///< an object
  static Json array();                            ///< an empty one
  static Json object();                           ///< an empty one

  Json(const Json& other);
  Json(Json&& other) noexcept;
  Json& operator=(Json other) noexcept;
  ~Json();

  /// Of an object: the last member, or the member that has this key already.
  void set(std::string_view key, Json value);
  /// Of an array: the last element.
  void push_back(Json value);

  /// Lines indented by two, without a line end at the end.  What is not UTF-8 (text of
  /// logs, names of files) becomes U+FFFD.
  std::string text() const;
  /// The same for people: a line "key  value" a member, those of inner objects indented.
  std::string lines() const;

 private:
  struct Value;
  std::unique_ptr<Value> value_;
};

struct Json::Member {
  std::string_view key;
  Json value;
};

}  // namespace pviommu::command
