// SPDX-License-Identifier: LGPL-2.1-or-later
// CONF of the module "papr", through its entry.
#include <gtest/gtest.h>

#include <array>
#include <string>

#include "hypercall/hypervisor.h"
#include "hypercall/module.h"
#include "hypercall/papr/papr_conf.h"

extern "C" const pviommu_module pviommu_module_entry;

namespace pviommu::spapr {
namespace {

struct Refusal {
  int code = 0;
  std::string message;
};

Refusal open(const char* conf) {
  std::array<char, 512> message{};
  const pviommu_open_args args{sizeof args, conf, nullptr, message.data(), message.size()};
  Refusal refusal;
  auto* opened = static_cast<Hypervisor*>(pviommu_module_entry.open(&args, &refusal.code));
  EXPECT_EQ(opened, nullptr);
  delete opened;
  refusal.message = message.data();
  return refusal;
}

void refuses(const char* conf, const char* part) {
  const Refusal refusal = open(conf);
  EXPECT_EQ(refusal.code, EINVAL) << conf;
  EXPECT_NE(refusal.message.find(part), std::string::npos) << conf << " -> " << refusal.message;
  EXPECT_NE(refusal.message.find(conf), std::string::npos) << "the text is named: " << refusal.message;
}

TEST(SpaprModuleTest, ItsEntry) {
  EXPECT_EQ(pviommu_module_entry.size, sizeof(pviommu_module));
  EXPECT_EQ(pviommu_module_entry.api_version, PVIOMMU_MODULE_API_VERSION);
  EXPECT_EQ(pviommu_module_entry.kind, PVIOMMU_MODULE_HYPERVISOR);
  EXPECT_STREQ(pviommu_module_entry.name, "papr");
}

TEST(SpaprModuleTest, ConfThatIsRefused) {
  refuses("red", "via=");
  refuses("via=vfio;via=module", "one list");
  refuses("via=air", "via");
  refuses("colour=red", "colour");
  refuses("page=8K", "4K 64K 2M 16M");
  refuses("page=0", "4K 64K 2M 16M");
  refuses("page=65537", "4K 64K 2M 16M");
  refuses("window=3G", "power of two");
  refuses("window=much", "window");
  refuses("window=1M,page=16M", "at least a page");
  refuses("window=2048P", "window");
  refuses("container=v3", "container");
  refuses("container=v1,window=1G", "container=v2");
  refuses("via=module,window=1G", "via=vfio");
}

TEST(SpaprModuleTest, ConfThatIsUnderstood) {
  const auto parsed = [](const char* conf) {
    auto choice = parse_conf_text(conf);
    EXPECT_TRUE(choice) << to_string(choice.error());
    return choice ? *choice : Choice{};
  };
  EXPECT_EQ(parsed("").via, "auto");
  EXPECT_EQ(parsed("").window.size, 0u);
  EXPECT_EQ(parsed("").container, ContainerType::v1);
  EXPECT_EQ(parsed("via=vfio").via, "vfio");
  EXPECT_EQ(parsed("container=v1").container, ContainerType::v1);
  EXPECT_EQ(parsed("container=v2").container, ContainerType::v2);
  const Choice wide = parsed("via=vfio,window=8G,page=64K");
  EXPECT_EQ(wide.container, ContainerType::v2) << "v1 has one window";
  EXPECT_EQ(wide.window.size, std::uint64_t{8} << 30);
  EXPECT_EQ(wide.window.page_shift, 16u);
  EXPECT_EQ(parsed("window=16M,page=16M").window.page_shift, 24u);
  EXPECT_EQ(parsed("page=2M").window.page_shift, 21u);
}

/// This is no Power machine: whatever is missing is said.
TEST(SpaprModuleTest, WithoutPower) {
  for (const char* conf : {"via=vfio", "via=module", ""}) {
    const Refusal refusal = open(conf);
    EXPECT_NE(refusal.code, 0) << conf;
    EXPECT_FALSE(refusal.message.empty()) << conf;
  }
}

}  // namespace
}  // namespace pviommu::spapr
