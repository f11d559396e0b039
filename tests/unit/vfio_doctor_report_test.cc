// SPDX-License-Identifier: LGPL-2.1-or-later
// Rows of `pviommu doctor`: as text, as JSON, and the exit status.
#include <gtest/gtest.h>

#include "vfio-glue/command/doctor_report.h"

namespace pviommu::command {
namespace {

TEST(DoctorReportTest, Text) {
  EXPECT_EQ(checks_as_text({{"IOMMU", CheckState::problem, "none", "buy one"},
                            {"run would", CheckState::ok, "do this", ""},
                            {"Xen", CheckState::ok, "4.17", ""},
                            {"run would", CheckState::ok, "do that", ""},
                            {"a name that is too long", CheckState::warning, "x", ""}}),
            "problem IOMMU               none\n"
            "                            -> buy one\n"
            "ok      Xen                 4.17\n"
            "warning a name that is too long x\n"
            "\nrun would:\n  1. do this\n  2. do that\n"
            "\n1 problem, 1 warning\n");
  EXPECT_EQ(checks_as_text({}), "\n0 problems, 0 warnings\n");
}

TEST(DoctorReportTest, Json) {
  EXPECT_EQ(checks_as_json({{"a", CheckState::problem, "\xff\"\n", "b"}, {kRunStep, CheckState::unknown, "c", ""}}),
            "[\n  {\n    \"check\": \"a\",\n    \"state\": \"problem\",\n"
            "    \"detail\": \"\xef\xbf\xbd\\\"\\n\",\n    \"remedy\": \"b\"\n  },\n"
            "  {\n    \"check\": \"run would\",\n    \"state\": \"unknown\",\n"
            "    \"detail\": \"c\",\n    \"remedy\": \"\"\n  }\n]\n");
  EXPECT_EQ(checks_as_json({}), "[]\n");
}

TEST(DoctorReportTest, OnlyProblemsFail) {
  EXPECT_EQ(exit_status_of({}), 0);
  EXPECT_EQ(exit_status_of({{"a", CheckState::ok, "", ""}, {"b", CheckState::warning, "", ""}, {"c", CheckState::unknown, "", ""}}), 0);
  EXPECT_EQ(exit_status_of({{"a", CheckState::ok, "", ""}, {"b", CheckState::problem, "", ""}}), 1);
}

}  // namespace
}  // namespace pviommu::command
