// SPDX-License-Identifier: LGPL-2.1-or-later
// The results of a GoogleTest program in TAP, the Test Anything Protocol, as the scripts
// (tests/tap.sh) say theirs:
//
//     # device_test.cc:33: Failure            what a failed assertion says
//     not ok 1 - Suite.Case - device_test.cc:33: Failure ...
//     ok 2 - Suite.Case
//     ok 3 - Suite.Case # SKIP reason
//     1..3
//
// The plan comes last: a program that crashes or leaves has none, which the driver of
// `make check` counts as an error.  Each line is flushed, so that a child of fork() has
// nothing of it in its buffer.
#include "tests/tap.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <string>

namespace {

/// One line without "#", behind which a directive would be looked for.
std::string on_one_line(const std::string& text) {
  std::string line;
  for (const char c : text) {
    const bool blank = c == '\n' || c == '\t' || c == ' ';
    if (blank && (line.empty() || line.back() == ' ')) continue;
    line += blank ? ' ' : c == '#' ? '=' : c;
  }
  while (!line.empty() && line.back() == ' ') line.pop_back();
  return line.size() > 300 ? line.substr(0, 300) + "..." : line;
}

std::string said_at(const testing::TestPartResult& part) {
  std::string text;
  if (part.file_name() != nullptr)
    text = std::string(part.file_name()) + ":" + std::to_string(part.line_number()) + ": ";
  return text + part.message();
}

class Tap : public testing::EmptyTestEventListener {
  void OnTestPartResult(const testing::TestPartResult& part) override {
    if (!part.failed()) return;
    std::string text = "# ";
    for (const char c : said_at(part)) {
      text += c;
      if (c == '\n') text += "# ";
    }
    std::printf("%s\n", text.c_str());
    std::fflush(stdout);
  }

  void OnTestEnd(const testing::TestInfo& info) override {
    ++cases_;
    const testing::TestResult& result = *info.result();
    std::string why;
    for (int i = 0; i < result.total_part_count() && why.empty(); ++i) {
      const testing::TestPartResult& part = result.GetTestPartResult(i);
      if (part.failed()) why = on_one_line(said_at(part));
      if (part.skipped() && result.Skipped()) why = on_one_line(part.message());
    }
    if (why.empty()) why = "no reason given";
    const std::string name = std::string(info.test_suite_name()) + "." + info.name();
    if (result.Failed())
      std::printf("not ok %d - %s - %s\n", cases_, name.c_str(), why.c_str());
    else if (result.Skipped())
      std::printf("ok %d - %s # SKIP %s\n", cases_, name.c_str(), why.c_str());
    else
      std::printf("ok %d - %s\n", cases_, name.c_str());
    std::fflush(stdout);
  }

  void OnTestProgramEnd(const testing::UnitTest&) override {
    // Not 1..0, which would be a test that was skipped.
    if (cases_ == 0)
      std::printf("Bail out! no test was run\n");
    else
      std::printf("1..%d\n", cases_);
    std::fflush(stdout);
  }

  int cases_ = 0;
};

}  // namespace

void speak_tap() {
  testing::TestEventListeners& listeners = testing::UnitTest::GetInstance()->listeners();
  delete listeners.Release(listeners.default_result_printer());
  listeners.Append(new Tap);
}
