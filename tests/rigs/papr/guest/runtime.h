// SPDX-License-Identifier: LGPL-2.1-or-later
// What a C library would give: bytes, big-endian words, a console, and an end.
#pragma once

#include <cstddef>
#include <cstdint>

namespace guest {

constexpr std::uint32_t swap(std::uint32_t v) { return __builtin_bswap32(v); }
constexpr std::uint64_t swap(std::uint64_t v) { return __builtin_bswap64(v); }

/// The hypervisor's console (H_PUT_TERM_CHAR), no newline added.
void print(const char* text);
void print(std::uint64_t number);
/// Says why and switches the machine off.
[[noreturn]] void die(const char* why);
/// Switches the machine off; the RTAS token is of "power-off".
[[noreturn]] void power_off();
void set_power_off_token(std::uint32_t token);

bool equal(const char* a, const char* b);

}  // namespace guest

extern "C" std::int64_t hypervisor_call(std::uint64_t op, const std::uint64_t* in, std::uint64_t* out);
