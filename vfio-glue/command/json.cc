// SPDX-License-Identifier: LGPL-2.1-or-later
// The only file that knows the JSON library.
#include "vfio-glue/command/json.h"

#include <nlohmann/json.hpp>
#include <utility>

namespace pviommu::command {
namespace {

using Tree = nlohmann::ordered_json;

std::string dump(const Tree& tree, int indent) {
  return tree.dump(indent, ' ', false, Tree::error_handler_t::replace);
}

/// A string without quotes, all else as in JSON.
std::string word(const Tree& tree) { return tree.is_string() ? tree.get<std::string>() : dump(tree, -1); }

/// The elements of an array, one below the other in the column of values.
std::string column(const Tree& array, std::size_t width) {
  std::string text;
  for (const Tree& element : array) {
    if (!text.empty()) text += '\n' + std::string(width, ' ');
    if (!element.is_object()) {
      text += word(element);
      continue;
    }
    std::string words;
    for (const Tree& member : element)
      if (const std::string one = word(member); !one.empty()) words += (words.empty() ? "" : "  ") + one;
    text += words;
  }
  return text.empty() ? "none" : text;
}

void append_lines(const Tree& object, const std::string& indent, std::string& text) {
  constexpr std::size_t kColumn = 30;
  for (const auto& [key, value] : object.items()) {
    std::string name = indent + key;
    if (value.is_object()) {
      text += name + '\n';
      append_lines(value, indent + "  ", text);
      continue;
    }
    if (name.size() < kColumn - 1) name.resize(kColumn - 1, ' ');
    text += name + ' ';
    if (value.is_array())
      text += column(value, kColumn);
    else if (value.is_boolean())
      text += value.get<bool>() ? "yes" : "no";
    else
      text += word(value);
    text += '\n';
  }
}

}  // namespace

struct Json::Value {
  Tree tree;
};

Json::Json() : value_(new Value{nullptr}) {}
Json::Json(bool value) : value_(new Value{value}) {}
Json::Json(int value) : value_(new Value{value}) {}
Json::Json(unsigned value) : value_(new Value{value}) {}
Json::Json(std::uint64_t value) : value_(new Value{value}) {}
Json::Json(const char* value) : Json(std::string_view(value)) {}
Json::Json(std::string_view value) : value_(new Value{value}) {}
Json::Json(const std::string& value) : Json(std::string_view(value)) {}
Json::Json(const std::vector<std::string>& values) : Json(array()) {
  for (const std::string& value : values) push_back(value);
}
Json::Json(std::initializer_list<Member> members) : Json(object()) {
  for (const Member& member : members) set(member.key, member.value);
}
Json Json::array() {
  Json json;
  json.value_->tree = Tree::array();
  return json;
}
Json Json::object() {
  Json json;
  json.value_->tree = Tree::object();
  return json;
}

Json::Json(const Json& other) : value_(new Value(*other.value_)) {}
Json::Json(Json&& other) noexcept = default;
Json& Json::operator=(Json other) noexcept {
  value_.swap(other.value_);
  return *this;
}
Json::~Json() = default;

void Json::set(std::string_view key, Json value) {
  value_->tree[std::string(key)] = std::move(value.value_->tree);
}
void Json::push_back(Json value) { value_->tree.push_back(std::move(value.value_->tree)); }

std::string Json::text() const { return dump(value_->tree, 2); }

std::string Json::lines() const {
  std::string text;
  append_lines(value_->tree, "", text);
  return text;
}

}  // namespace pviommu::command
