// SPDX-License-Identifier: LGPL-2.1-or-later
// Console by hcall, the end by RTAS, and what a compiler calls of its own accord.
#include "tests/rigs/papr/guest/runtime.h"

namespace guest {
namespace {

constexpr std::uint64_t kPutTermChar = 0x58;
constexpr std::uint64_t kRtas = 0xf000;
constexpr std::size_t kCharacters = 16;  // two registers

std::uint32_t power_off_token;

}  // namespace

void print(const char* text) {
  std::size_t length = __builtin_strlen(text);
  while (length != 0) {
    const std::size_t part = length < kCharacters ? length : kCharacters;
    std::uint64_t in[9] = {0, part}, out[9];
    for (std::size_t i = 0; i < part; ++i)
      in[2 + i / 8] |= std::uint64_t{static_cast<unsigned char>(text[i])} << (56 - 8 * (i % 8));
    // Busy when the other side does not read; there is nothing else to do meanwhile.
    while (hypervisor_call(kPutTermChar, in, out) > 0) {
    }
    text += part;
    length -= part;
  }
}

void print(std::uint64_t number) {
  char text[21];
  char* first = text + sizeof text - 1;
  *first = '\0';
  do *--first = static_cast<char>('0' + number % 10);
  while ((number /= 10) != 0);
  print(first);
}

void set_power_off_token(std::uint32_t token) { power_off_token = token; }

void power_off() {
  alignas(64) static std::uint32_t block[6];
  block[0] = swap(power_off_token);
  block[1] = swap(std::uint32_t{2});
  block[2] = swap(std::uint32_t{1});
  block[3] = block[4] = ~0u;  // no event switches it on again
  std::uint64_t in[9] = {reinterpret_cast<std::uintptr_t>(block)}, out[9];
  for (;;) hypervisor_call(kRtas, in, out);
}

void die(const char* why) {
  print("not ok the guest - ");
  print(why);
  print("\n");
  power_off();
}

bool equal(const char* a, const char* b) {
  while (*a != '\0' && *a == *b) ++a, ++b;
  return *a == *b;
}

}  // namespace guest

// What the compiler calls of its own accord.
extern "C" {

void* memset(void* to, int value, std::size_t bytes) {
  auto* p = static_cast<volatile unsigned char*>(to);
  for (std::size_t i = 0; i < bytes; ++i) p[i] = static_cast<unsigned char>(value);
  return to;
}

void* memcpy(void* to, const void* from, std::size_t bytes) {
  auto* p = static_cast<volatile unsigned char*>(to);
  const auto* q = static_cast<const unsigned char*>(from);
  for (std::size_t i = 0; i < bytes; ++i) p[i] = q[i];
  return to;
}

std::size_t strlen(const char* text) {
  std::size_t length = 0;
  while (*static_cast<const volatile char*>(text + length) != '\0') ++length;
  return length;
}

int strcmp(const char* a, const char* b) {
  while (*a != '\0' && *a == *b) ++a, ++b;
  return static_cast<unsigned char>(*a) - static_cast<unsigned char>(*b);
}

[[noreturn]] void __cxa_pure_virtual() { guest::die("a pure virtual function was called"); }

}  // extern "C"
