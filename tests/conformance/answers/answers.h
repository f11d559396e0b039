// SPDX-License-Identifier: LGPL-2.1-or-later
// Asks the reference answers' questions and prints what it was told, one line a case:
//
//     name | return errno | outputs
//
// The names and the form are the reference's.  Descriptors print as 0; "maps" are the
// mappings alive after the call, "e0" and the like the count of an eventfd.  The same
// program on the kernel and anywhere else: two such lists are compared line by line.
// What differs between machines for good (addresses the firmware gave, interrupt
// lines) prints as a row of dots.
#pragma once

#include <functional>
#include <string>

#include "tests/conformance/declared.h"
#include "tests/conformance/vfio_client.h"

namespace conformance::answers {

[[gnu::format(printf, 1, 2)]] std::string format(const char* form, ...);

void answer(const std::string& name, Outcome outcome, const std::string& outputs = "-");
/// A descriptor or an address: success is 0, and a descriptor is closed.
void answer_opened(const std::string& name, long fd, const std::string& outputs = "-");
void answer_mapped(const std::string& name, void* address, std::size_t bytes, const std::string& outputs = "-");

/// Runs `body` in a process of its own, so that a section that ends early takes only
/// its own answers with it.
void section(const char* name, const std::function<void()>& body);
/// What a forked child's body returned, as the outcome of a call; its text, too.
struct Said {
  Outcome outcome;
  long number = 0;
};
Said child_says(const std::function<Said()>& body);

/// A load from a mapping: "SIGBUS", or the value, or "ok" when that is not shown.
std::string load(const volatile void* at, bool shown = true);

template <class T>
std::uint64_t address_of(const T& object) {
  return reinterpret_cast<std::uint64_t>(&object);
}
std::string bytes_of(const void* data, std::size_t bytes);
Fd make_eventfd();
/// Counts of eventfds: "e0=1 e1=0" for names "e0 e1".
unsigned long count_of(const Fd& event, bool expected = true);

void container_without_group();
void group();
void closing_orders();
void type1(unsigned long type);
void limits();
void edu();
void express(const std::string& label, const std::string& name);
void peer_to_peer();
void drivers();
void descriptors();

}  // namespace conformance::answers
