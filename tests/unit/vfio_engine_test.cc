// SPDX-License-Identifier: LGPL-2.1-or-later
// What an engine is told, and what it says when that cannot be.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <string>

#include "hypercall/model/model.h"
#include "pviommu/named_memory.h"
#include "vfio-glue/engine/engine.h"

namespace pviommu::vfio {
namespace {

class EngineTest : public testing::Test {
 protected:
  static constexpr const char* kVariables[] = {
      "PVIOMMU_HYPERVISOR", "PVIOMMU_IOMMU_DRIVER", "PVIOMMU_FRAMES", "PVIOMMU_MAX_MAPPINGS",
      "PVIOMMU_SESSION",    "PVIOMMU_STRICT",       "PVIOMMU_QUIET",  "PVIOMMU_INTERFACE"};
  EngineTest() {
    for (const char* name : kVariables) {
      if (const char* value = std::getenv(name)) before_[name] = value;
      ::unsetenv(name);
    }
  }
  ~EngineTest() override {
    for (const char* name : kVariables) ::unsetenv(name);
    for (const auto& [name, value] : before_) ::setenv(name.c_str(), value.c_str(), 1);
  }
  /// The message of an engine that cannot be.
  static std::string refused(EngineConfig config, int code) {
    config.quiet = true;
    const auto engine = Engine::create(config);
    if (engine) {
      ADD_FAILURE() << "an engine that should not be";
      return "";
    }
    EXPECT_EQ(engine.error().code, code) << to_string(engine.error());
    return std::string(engine.error().sentence.view());
  }

 private:
  std::map<std::string, std::string> before_;
};

TEST_F(EngineTest, EmptyVariablesAreNone) {
  for (const char* name : kVariables) ::setenv(name, "", 1);
  const auto config = EngineConfig::from_environment();
  ASSERT_TRUE(config.ok()) << to_string(config.error());
  const EngineConfig plain;
  EXPECT_EQ(config->hypervisor, plain.hypervisor);
  EXPECT_EQ(config->iommu_driver, plain.iommu_driver);
  EXPECT_EQ(config->frame_source, plain.frame_source);
  EXPECT_EQ(config->max_mappings, plain.max_mappings);
  EXPECT_TRUE(config->session.empty());
  EXPECT_FALSE(config->strict || config->quiet);
  EXPECT_TRUE(config->interfaces.group && config->interfaces.cdev);
}

TEST_F(EngineTest, EveryVariableIsRead) {
  ::setenv("PVIOMMU_HYPERVISOR", "model:edu", 1);
  ::setenv("PVIOMMU_IOMMU_DRIVER", "hypercall", 1);
  ::setenv("PVIOMMU_FRAMES", "copy", 1);
  ::setenv("PVIOMMU_MAX_MAPPINGS", "17", 1);
  ::setenv("PVIOMMU_SESSION", "/somewhere", 1);
  ::setenv("PVIOMMU_STRICT", "1", 1);
  ::setenv("PVIOMMU_QUIET", "0", 1);
  ::setenv("PVIOMMU_INTERFACE", "cdev", 1);
  const auto config = EngineConfig::from_environment();
  ASSERT_TRUE(config.ok()) << to_string(config.error());
  EXPECT_EQ(config->hypervisor, "model:edu");
  EXPECT_EQ(config->iommu_driver, "hypercall");
  EXPECT_EQ(config->frame_source, "copy");
  EXPECT_EQ(config->max_mappings, 17u);
  EXPECT_EQ(config->session, "/somewhere");
  EXPECT_TRUE(config->strict);
  EXPECT_FALSE(config->quiet);
  EXPECT_FALSE(config->interfaces.group);
  EXPECT_TRUE(config->interfaces.cdev);
}

TEST_F(EngineTest, ABadVariableIsNamed) {
  for (const char* value : {"0", "x", "12x", "4294967296", "-1", " 1"}) {
    ::setenv("PVIOMMU_MAX_MAPPINGS", value, 1);
    const auto config = EngineConfig::from_environment();
    ASSERT_FALSE(config) << value;
    EXPECT_EQ(config.error().code, EINVAL) << value;
    EXPECT_EQ(to_string(config.error()),
              std::string("PVIOMMU_MAX_MAPPINGS='") + value + "': must be a number from 1 to 4294967295");
  }
  ::unsetenv("PVIOMMU_MAX_MAPPINGS");
  for (const char* name : {"PVIOMMU_STRICT", "PVIOMMU_QUIET"}) {
    ::setenv(name, "yes", 1);
    const auto config = EngineConfig::from_environment();
    ASSERT_FALSE(config) << name;
    EXPECT_EQ(config.error().code, EINVAL);
    EXPECT_EQ(to_string(config.error()), std::string(name) + "='yes': must be 0 or 1");
    ::unsetenv(name);
  }
  for (const char* value : {"both", "group,", ",cdev", "group cdev"}) {
    ::setenv("PVIOMMU_INTERFACE", value, 1);
    const auto config = EngineConfig::from_environment();
    ASSERT_FALSE(config) << value;
    EXPECT_EQ(to_string(config.error()), std::string("PVIOMMU_INTERFACE='") + value + "': must be group, cdev or group,cdev");
  }
}

TEST_F(EngineTest, OffersTheInterfacesItIsToldTo) {
  EngineConfig config;
  config.hypervisor = "model:edu";
  config.quiet = true;
  config.interfaces = Interfaces::from_text("group").value();
  {
    const auto engine = Engine::create(config).value();
    EXPECT_EQ(engine->open_iommufd().error().code, ENOENT);
    EXPECT_EQ(engine->open_device_node(0).error().code, ENOENT);
    EXPECT_TRUE(engine->open_container().ok());
  }
  config.interfaces = Interfaces::from_text("cdev").value();
  const auto engine = Engine::create(config).value();
  EXPECT_TRUE(engine->open_iommufd().ok());
  EXPECT_TRUE(engine->open_device_node(0).ok());
  EXPECT_EQ(engine->open_device_node(1).error().code, ENOENT);
  EXPECT_EQ(engine->open_container().error().code, ENOENT);
  EXPECT_EQ(engine->open_group(0).error().code, ENOENT);
}

TEST_F(EngineTest, WhatCannotBeSaysWhy) {
  const auto refuses = [](std::string EngineConfig::*field, const char* value, int code) {
    EngineConfig config;
    config.*field = value;
    EXPECT_NE(refused(config, code).find("nosuch"), std::string::npos);
  };
  refuses(&EngineConfig::hypervisor, "model:nosuch", EINVAL);
  refuses(&EngineConfig::iommu_driver, "nosuch", ENOENT);
  refuses(&EngineConfig::frame_source, "nosuch", EINVAL);
}

TEST_F(EngineTest, AGroupIsOpenOnce) {
  EngineConfig config;
  config.hypervisor = "model:edu";
  config.frame_source = "copy";
  config.quiet = true;
  const auto engine = Engine::create(config).value();
  ASSERT_NE(engine, nullptr);
  EXPECT_EQ(engine->open_group(1).error().code, ENOENT);
  auto group = engine->open_group(0);
  ASSERT_TRUE(group.ok());
  EXPECT_STREQ((*group)->kind(), "group");
  EXPECT_EQ(engine->open_group(0).error().code, EBUSY);
  group->reset();
  EXPECT_TRUE(engine->open_group(0).ok());
}

TEST_F(EngineTest, FilesThatAreNoDevicesHaveNoMemory) {
  EngineConfig config;
  config.hypervisor = "model:edu";
  config.frame_source = "copy";
  config.quiet = true;
  const auto engine = Engine::create(config).value();
  ASSERT_NE(engine, nullptr);
  for (const FileRef& file : {*engine->open_container(), *engine->open_group(0)}) {
    EXPECT_EQ(file->mmap(0, 4096, 3, 1).error().code, ENODEV) << file->kind();
    file->mapping_changed(0, 1);
    file->mapping_changed(0, -1);
  }
}

// The hypervisor pins by address: nothing of ours reaches the pages.
TEST_F(EngineTest, MemoryThatTheHypervisorHolds) {
  const auto source = make_naming_source();
  EXPECT_EQ(source->name(), "hypervisor");
  EXPECT_TRUE(source->holds_pages());
  const auto memory = source->pin(HvaRange::from_size(Hva(0x10000), 0x2000).value(), Access::read);
  ASSERT_TRUE(memory.ok());
  EXPECT_TRUE((*memory)->holds_pages());
  EXPECT_EQ((*memory)->from_file(0, 0, 0, 1).error().code, EOPNOTSUPP);
  EXPECT_EQ((*memory)->to_file(0, 0, 0, 1).error().code, EOPNOTSUPP);
}

}  // namespace
}  // namespace pviommu::vfio
