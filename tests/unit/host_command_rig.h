// SPDX-License-Identifier: LGPL-2.1-or-later
// bind, unbind and list --host on a machine of files with an NVMe and a network card.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tests/unit/host_fake.h"
#include "vfio-glue/command/command.h"

namespace pviommu::command {
using host::FakeHost;
using Lines = std::vector<std::string>;

inline constexpr const char* kNvme = "0000:00:05.0";
inline constexpr const char* kNic = "0000:00:06.0";

class HostCommandTest : public testing::Test {
 protected:
  void SetUp() override {
    ::setenv("PVIOMMU_RUN_DIR", (machine.top / "run").c_str(), 1);
    std::filesystem::create_directory(machine.top / "run");
    std::filesystem::permissions(machine.top / "run", std::filesystem::perms::owner_all);
    machine.add_driver("vfio-pci");
    machine.add_device(kNvme, "nvme", 7);
    machine.add_device(kNic, "e1000e", 8);
  }
  void TearDown() override { ::unsetenv("PVIOMMU_RUN_DIR"); }

  BindOptions options(Lines addresses) {
    BindOptions out;
    out.roots = machine.roots();
    out.addresses = std::move(addresses);
    return out;
  }
  int do_bind(const BindOptions& options, bool binds = true) {
    machine.log.clear();
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    const int status = binds ? bind(options) : unbind(options);
    out = testing::internal::GetCapturedStdout();
    err = testing::internal::GetCapturedStderr();
    if (status == 0)
      EXPECT_EQ(err, "");
    else
      EXPECT_EQ(std::ranges::count(err, '\n'), 1) << err;
    return status;
  }
  int do_unbind(const BindOptions& options) { return do_bind(options, false); }
  nlohmann::json listed() {
    HostOptions options;
    options.roots = machine.roots();
    options.json = true;
    testing::internal::CaptureStdout();
    EXPECT_EQ(list_host(options), 0);
    return nlohmann::json::parse(testing::internal::GetCapturedStdout());
  }
  Lines uses(std::size_t device = 0) { return listed()[device]["uses"].get<Lines>(); }
  bool says(const std::string& text) const { return err.find(text) != err.npos; }
  /// Refused with one line that has `reason`, and nothing was written.
  void refused(const std::string& reason) {
    EXPECT_EQ(do_bind(options({kNvme})), kFailed);
    EXPECT_TRUE(says(reason)) << err;
    EXPECT_EQ(machine.log, Lines{});
    EXPECT_EQ(machine.driver(kNvme), "nvme");
  }

  FakeHost machine;
  std::string out, err;
};

}  // namespace pviommu::command
