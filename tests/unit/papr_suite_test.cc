// SPDX-License-Identifier: LGPL-2.1-or-later
// The PAPR suite on the strict model.
#include <gtest/gtest.h>

#include "hypercall/papr/core/xive.h"
#include "tests/papr/model_platform.h"
#include "tests/papr/suite.h"

namespace papr_model {
namespace {

struct Machine {
  const char* name;
  Model::Options options;
};

class PaprSuite : public testing::TestWithParam<std::tuple<Machine, papr_suite::Section>> {};

TEST_P(PaprSuite, Passes) {
  const auto& [machine, section] = GetParam();
  Model model(machine.options);
  if (machine.options.xive) {
    std::uint8_t* page = model.take(kPageSize, kPageSize);
    ASSERT_EQ(kSuccess,
              ask_for_xive(model.port(), page, model.real(page), 0x004e1200, RealAddress(0x100000), 0x10000));
  }
  ModelPlatform platform(model);
  section.run(platform);
  EXPECT_GT(platform.checks + platform.skips.size(), 0u);
  for (const std::string& failure : platform.failures) ADD_FAILURE() << failure;
  EXPECT_EQ(0u, model.mapped()) << "entries that a section left behind";
  RecordProperty("checks", static_cast<int>(platform.checks));
}

const Machine kMachines[] = {
    {"Xics", {}},
    {"Xive", {.xive = true}},
    {"OneBridge", {.bridges = 1}},
    {"NoDynamicWindows", {.dynamic_windows = false}},
};

INSTANTIATE_TEST_SUITE_P(Model, PaprSuite,
                         testing::Combine(testing::ValuesIn(kMachines),
                                          testing::ValuesIn(papr_suite::kSections)),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param).name) + "_" +
                                  std::get<1>(info.param).name;
                         });

}  // namespace
}  // namespace papr_model
