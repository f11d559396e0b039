// SPDX-License-Identifier: LGPL-2.1-or-later
// The suite notices deliberate bugs, on the model as on QEMU (mutants.test.sh).
#include <gtest/gtest.h>

#include "tests/papr/model_platform.h"
#include "tests/papr/mutants.h"
#include "tests/papr/suite.h"

namespace papr_model {
namespace {

class PaprMutant : public testing::TestWithParam<papr_suite::MutantName> {};

TEST_P(PaprMutant, IsCaughtUnlessNone) {
  Model model({});
  papr_suite::MutantPort port(model.port(), GetParam().mutant);
  ModelPlatform platform(model, port, model.rtas());
  papr_suite::windows(platform);
  EXPECT_EQ(GetParam().mutant == papr_suite::Mutant::none, platform.failures.empty());
}

INSTANTIATE_TEST_SUITE_P(Model, PaprMutant, testing::ValuesIn(papr_suite::kMutants), [](const auto& info) {
  std::string name = info.param.name;
  std::erase(name, '-');
  return name;
});

TEST(PaprMutantNone, ChangesNothing) {
  Model model({});
  papr_suite::MutantPort port(model.port(), papr_suite::Mutant::none);
  ModelPlatform platform(model, port, model.rtas());
  for (const papr_suite::Section& section : papr_suite::kSections) section.run(platform);
  EXPECT_TRUE(platform.failures.empty());
  papr_suite::Mutant mutant;
  EXPECT_FALSE(papr_suite::mutant_named("no such mutant", mutant));
}

}  // namespace
}  // namespace papr_model
