// SPDX-License-Identifier: LGPL-2.1-or-later
// An error as text: its sentence, or the operation, the errno's words and the hypervisor's
// raw code; and the sentence itself.
#include "hypercall/result.h"

#include <atomic>
#include <cstdlib>
#include <cstring>

namespace pviommu {

/// Followed by its characters, in one piece of memory.
struct Sentence::Text {
  std::atomic<std::uint32_t> owners{1};
  std::size_t size = 0;
};

Sentence::Sentence(std::string_view text) noexcept {
  if (text.empty()) return;
  void* memory = std::malloc(sizeof(Text) + text.size());
  if (memory == nullptr) return;
  text_ = new (memory) Text;
  text_->size = text.size();
  std::memcpy(static_cast<void*>(text_ + 1), text.data(), text.size());
}

void Sentence::share() noexcept { text_->owners.fetch_add(1, std::memory_order_relaxed); }

void Sentence::release() noexcept {
  if (text_->owners.fetch_sub(1, std::memory_order_acq_rel) == 1) std::free(text_);
}

std::string_view Sentence::view() const noexcept {
  if (text_ == nullptr) return {};
  return {reinterpret_cast<const char*>(text_ + 1), text_->size};
}

std::string to_string(const Error& error) {
  if (!error.sentence.empty()) return std::string(error.sentence.view());
  std::string text;
  if (error.operation != nullptr && *error.operation != '\0') {
    text += error.operation;
    text += ": ";
  }
  // Not strerror(): its buffer is shared between threads.
  const char* description = strerrordesc_np(error.code);
  text += description != nullptr ? description : "error " + std::to_string(error.code);
  if (error.raw != 0) text += " (raw " + std::to_string(error.raw) + ")";
  return text;
}

}  // namespace pviommu
