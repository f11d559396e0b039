// SPDX-License-Identifier: LGPL-2.1-or-later
// rig_exits: how often guests came out to Xen, and why, of xentrace's file on stdin.
//
// A record of xentrace (xen/trace.h, struct t_rec), in 32-bit words:
//
//   | event 28, words 3, stamped 1 | time, 2 if stamped | words |
//
// Xen writes one for each exit of a vCPU in hardware virtualisation, whichever domain
// it is of: the rig has one such domain at a time.  Its first word is AMD's EXITCODE,
// which is what QEMU's TCG has.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace {

// xen/trace.h; there the names of the exits' events changed with Xen 4.19, which numbers AMD's
// differently from Intel's since then.
constexpr std::uint32_t kLostRecords = 0x1f001, kExit = 0x81002, kAmdExit = 0x81003, k64 = 0x100;

std::string reason(std::uint32_t code) {
  // AMD64 Architecture Programmer's Manual 2, appendix C.
  if (code < 0x20) return "control registers";
  if (code < 0x40) return "debug registers";
  if (code < 0x60) return "exceptions";
  switch (code) {
    case 0x60: return "interrupts";
    case 0x64: return "interrupt windows";
    case 0x6e: return "RDTSC";
    case 0x72: return "CPUID";
    case 0x78: return "HLT";
    case 0x79: return "INVLPG";
    case 0x7b: return "ports";
    case 0x7c: return "MSRs";
    case 0x81: return "hypercalls";
    case 0x89: return "WBINVD";
    case 0x400: return "memory";
    default: break;
  }
  char text[24];
  std::snprintf(text, sizeof text, "EXITCODE 0x%x", unsigned{code});
  return text;
}

bool read_words(std::uint32_t* words, std::size_t count) { return std::fread(words, 4, count, stdin) == count; }

}  // namespace

int main() {
  unsigned long exits = 0, lost = 0;
  std::map<std::string, unsigned long> reasons;
  for (std::uint32_t head; read_words(&head, 1);) {
    const std::uint32_t event = head & 0xfffffff, count = head >> 28 & 7, time = head >> 31 ? 2 : 0;
    std::uint32_t words[9];
    if (!read_words(words, time + count)) break;
    if (event == kLostRecords && count > 0) lost += words[time];
    if (((event & ~k64) != kExit && (event & ~k64) != kAmdExit) || count == 0) continue;
    ++exits;
    ++reasons[reason(words[time])];
  }
  std::vector<std::pair<unsigned long, std::string>> most;
  for (const auto& [name, number] : reasons) most.emplace_back(number, name);
  std::ranges::sort(most, std::greater());
  std::printf("%lu exits", exits);
  if (lost != 0) std::printf(" (%lu records were lost)", lost);
  const char* before = ": ";
  for (const auto& [number, name] : most) {
    std::printf("%s%lu %s", before, number, name.c_str());
    before = ", ";
  }
  std::printf("\n");
}
