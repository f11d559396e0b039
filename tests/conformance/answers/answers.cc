// SPDX-License-Identifier: LGPL-2.1-or-later
// Printing of answers.  Each section of cases is a forked child with a limit of time, so that
// one that does not come back costs its own answers and no others.
#include "tests/conformance/answers/answers.h"

#include <sys/wait.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <exception>

namespace conformance::answers {
namespace {

// Room for the answer of a child.
Said* shared_said() {
  static auto* const said = static_cast<Said*>(
      ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  return said;
}

}  // namespace

std::string format(const char* form, ...) {
  char text[512];
  std::va_list list;
  va_start(list, form);
  std::vsnprintf(text, sizeof text, form, list);
  va_end(list);
  return text;
}

void answer(const std::string& name, Outcome outcome, const std::string& outputs) {
  std::printf("%s | %ld %s | %s\n", name.c_str(), outcome.value,
              outcome.error ? ::strerrorname_np(outcome.error) : "-", outputs.c_str());
  std::fflush(stdout);
}

void answer_opened(const std::string& name, long fd, const std::string& outputs) {
  const Outcome outcome = outcome_of(fd);
  answer(name, outcome.error ? outcome : ok(), outputs);
  if (!outcome.error) ::close(static_cast<int>(fd));
}

void answer_mapped(const std::string& name, void* address, std::size_t bytes, const std::string& outputs) {
  answer(name, address == MAP_FAILED ? failed(errno) : ok(), outputs);
  if (address != MAP_FAILED) ::munmap(address, bytes);
}

void section(const char* name, const std::function<void()>& body) {
  std::fflush(stdout);
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(100);
    try {
      body();
    } catch (const std::exception& problem) {
      std::printf("# %s: %s\n", name, problem.what());
    }
    std::exit(0);
  }
  int status = -1;
  if (::waitpid(child, &status, 0) != child || status != 0) std::printf("# %s: ended with status %#x\n", name, static_cast<unsigned>(status));
}

Said child_says(const std::function<Said()>& body) {
  std::fflush(stdout);
  Said* said = shared_said();
  *said = {failed(ECHILD), 0};
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(30);
    *said = body();
    ::_exit(0);
  }
  ::waitpid(child, nullptr, 0);
  return *said;
}

std::string load(const volatile void* at, bool shown) {
  const auto value = load_or_fault(at);
  if (!value) return "SIGBUS";
  return shown ? format("0x%x", *value) : "ok";
}

std::string bytes_of(const void* data, std::size_t bytes) {
  std::string text;
  for (std::size_t i = 0; i < bytes; ++i) text += format("%02x", static_cast<const std::uint8_t*>(data)[i]);
  return text;
}

Fd make_eventfd() { return Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }

unsigned long count_of(const Fd& event, bool expected) { return take(event.get(), expected ? 500 : 30); }

}  // namespace conformance::answers

int main() {
  using namespace conformance;
  using namespace conformance::answers;
  const Machine& machine = Machine::get();
  section("container", container_without_group);
  section("group", group);
  section("closing orders", closing_orders);
  section("type1", [] { type1(VFIO_TYPE1_IOMMU); });
  section("type1v2", [] { type1(VFIO_TYPE1v2_IOMMU); });
  section("limits", limits);
  section("edu", edu);
  section("nvme", [&] { express("nvme", machine.nvme); });
  if (const std::string name = extra_device("CONFORMANCE_E1000E"); !name.empty())
    section("e1000e", [&] { express("e1000e", name); });
  if (const std::string name = extra_device("CONFORMANCE_NVME_PORT"); !name.empty())
    section("nvme behind a port", [&] { express("nvme-behind-port", name); });
  section("peer to peer", peer_to_peer);
  section("descriptors", descriptors);
  if (!extra_device("CONFORMANCE_PAIR").empty()) section("drivers", drivers);
  std::puts("# end");
  return 0;
}
