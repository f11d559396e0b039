// SPDX-License-Identifier: LGPL-2.1-or-later
// The module registry, with good, spoilt and false modules.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "hypercall/backend.h"
#include "hypercall/statistics.h"

namespace pviommu {
namespace {

namespace fs = std::filesystem;

const fs::path kModules = fs::path(PVIOMMU_TEST_BUILDDIR) / "tests/unit/modules/.libs";

bool has(const std::string& text, std::string_view part) { return text.find(part) != text.npos; }

// Modules stay loaded, under the path they were loaded from: every test has its
// folder in the same place.
class BackendTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("pviommu-modules-" + std::to_string(::getpid()));
    fs::create_directory(folder_);
    use(folder_.string());
  }
  void TearDown() override {
    ::unsetenv("PVIOMMU_MODULE_PATH");
    fs::remove_all(folder_);
  }
  static void use(const std::string& path) { ::setenv("PVIOMMU_MODULE_PATH", path.c_str(), 1); }
  void install(const std::string& name) {
    const std::string file = "pviommu-" + name + ".so";
    fs::copy_file(kModules / file, folder_ / file);
  }
  /// Asks for the hypervisor; the message of the failure, which must be ENOENT.
  static std::string missing(std::string_view name) {
    const auto opened = open_hypervisor(name);
    if (opened) {
      ADD_FAILURE() << name << " is there";
      return "";
    }
    EXPECT_EQ(opened.error().code, ENOENT);
    EXPECT_FALSE(has(to_string(opened.error()), "\n"));
    return to_string(opened.error());
  }
  /// The entry of the module, or null with a failure of the test.
  static const pviommu_module* entry_of(std::string_view name, std::uint32_t kind = PVIOMMU_MODULE_HYPERVISOR) {
    const auto found = find_module(name, kind);
    EXPECT_TRUE(found) << to_string(found.error());
    return found ? *found : nullptr;
  }

  fs::path folder_;
};

TEST(SplitNameConf, FirstColon) {
  EXPECT_EQ(split_name_conf("model"), (std::pair<std::string_view, std::string_view>("model", "")));
  EXPECT_EQ(split_name_conf("model:"), (std::pair<std::string_view, std::string_view>("model", "")));
  EXPECT_EQ(split_name_conf("model:a=00:05.0"),
            (std::pair<std::string_view, std::string_view>("model", "a=00:05.0")));
  EXPECT_EQ(split_name_conf(":x"), (std::pair<std::string_view, std::string_view>("", "x")));
}

TEST_F(BackendTest, OpensAModule) {
  install("testgood");
  const auto opened = open_hypervisor("testgood:anything");
  ASSERT_TRUE(opened) << to_string(opened.error());
  EXPECT_EQ((*opened)->name(), "testgood");
  const auto* entry = entry_of("testgood");
  EXPECT_EQ(entry, entry_of("testgood")) << "loaded once";
}

TEST_F(BackendTest, CallsOfAModuleAreCounted) {
  install("testgood");
  const auto opened = open_hypervisor("testgood");
  ASSERT_TRUE(opened) << to_string(opened.error());
  constexpr auto kOp = static_cast<std::size_t>(HypercallOp::create_space);
  const auto calls = statistics().hypercalls[kOp].count.load(), failures = statistics().hypercall_failures[kOp].load();
  EXPECT_EQ((*opened)->spaces().create_space({}).error().code, EOPNOTSUPP);
  EXPECT_EQ(statistics().hypercalls[kOp].count, calls + 1);
  EXPECT_EQ(statistics().hypercall_failures[kOp], failures + 1);
  EXPECT_EQ((*opened)->interrupts().free_vectors(make_sbdf(0, 0, 5, 0), VectorKind::msi).error().code, EOPNOTSUPP);
}

TEST_F(BackendTest, OpenFailuresCarryTheMessage) {
  install("testgood");
  auto opened = open_hypervisor("testgood:fail");
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ENXIO);
  EXPECT_EQ(to_string(opened.error()), "testgood: told to fail, second line");
  opened = open_hypervisor("testgood:silent");
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, EIO);
  EXPECT_TRUE(has(to_string(opened.error()), "testgood: "));
  EXPECT_TRUE(has(to_string(opened.error()), "Input/output error"));
}

/// Its base `Second` does not begin where it begins itself.
struct First {
  virtual ~First() = default;
};
struct Second {
  virtual ~Second() = default;
  int number = 7;
};
struct Both final : First, Second {};

TEST(OpenForModule, GivesTheInterfaceOrTheSentence) {
  char message[64] = "";
  pviommu_open_args args{};
  args.size = sizeof args;
  args.conf = "conf";
  args.message = message;
  args.message_size = sizeof message;
  int error = 0;
  void* made = open_for_module<Second>(&args, &error, [](const char* conf) -> Result<std::unique_ptr<Both>> {
    EXPECT_STREQ(conf, "conf");
    return std::make_unique<Both>();
  });
  ASSERT_NE(made, nullptr);
  EXPECT_EQ(error, 0);
  const std::unique_ptr<Second> second(static_cast<Second*>(made));
  EXPECT_EQ(second->number, 7);

  using Made = Result<std::unique_ptr<Both>>;
  EXPECT_EQ(open_for_module<Second>(
                &args, &error, [](const char*) -> Made { return Error{ENXIO, "x"}.with_sentence("a sentence"); }),
            nullptr);
  EXPECT_EQ(error, ENXIO);
  EXPECT_STREQ(message, "a sentence");
  EXPECT_EQ(open_for_module<Second>(&args, &error, [](const char*) -> Made { return Error{EBUSY, "the call"}; }),
            nullptr);
  EXPECT_EQ(error, EBUSY);
  EXPECT_STREQ(message, "the call: Device or resource busy");
  EXPECT_EQ(open_for_module<Second>(&args, &error, [](const char*) -> Made { throw std::bad_alloc(); }), nullptr);
  EXPECT_EQ(error, ENOMEM);
  EXPECT_STREQ(message, "out of memory");
}

TEST_F(BackendTest, NewerModuleMayBeLarger) {
  install("testlarger");
  EXPECT_TRUE(open_hypervisor("testlarger"));
}

TEST_F(BackendTest, DiagnosisOfAModule) {
  install("testgood");
  const auto* entry = entry_of("testgood");
  ASSERT_NE(entry, nullptr);
  std::vector<Check> checks = {{"first", CheckState::ok, "", ""}};
  ASSERT_TRUE(diagnose(*entry, "", "0000:00:05.0", checks));
  ASSERT_EQ(checks.size(), 2u) << "appended";
  EXPECT_EQ(checks[1].check, "device");
  EXPECT_EQ(checks[1].state, CheckState::warning);
  EXPECT_EQ(checks[1].detail, "0000:00:05.0");
  EXPECT_EQ(checks[1].remedy, "look");
  ASSERT_TRUE(diagnose(*entry, "large", "x", checks));
  EXPECT_EQ(checks.size(), 10002u);
  EXPECT_EQ(diagnose(*entry, "fail", "y", checks).error().code, ENXIO);
  ASSERT_EQ(checks.size(), 10003u) << "what came before the error stays";
  EXPECT_EQ(checks.back().detail, "y");
}

TEST_F(BackendTest, RowsThatAModuleMustNotGive) {
  install("testgood");
  const auto* entry = entry_of("testgood");
  ASSERT_NE(entry, nullptr);
  std::vector<Check> checks;
  ASSERT_TRUE(diagnose(*entry, "odd", "", checks));
  ASSERT_EQ(checks.size(), 1u);
  EXPECT_EQ(checks[0].check + checks[0].detail + checks[0].remedy, "");
  EXPECT_EQ(checks[0].state, CheckState::unknown);
}

// The work is done by the first call: a second one would find nothing, and the
// report of what was put back would be lost.
TEST_F(BackendTest, ReapsOnceHoweverLongTheReport) {
  install("testgood");
  const auto* entry = entry_of("testgood");
  ASSERT_NE(entry, nullptr);
  std::vector<Reaped> rows;
  ASSERT_TRUE(reap(*entry, "", false, rows));
  ASSERT_EQ(rows.size(), 2001u);
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < 2000; ++i) {
    EXPECT_EQ(rows[i].what, "call 1, carrier " + std::to_string(i) + " of process 4711");
    EXPECT_EQ(rows[i].state, ReapedState::put_back);
    bytes += rows[i].what.size();
  }
  EXPECT_GT(bytes, std::size_t{64} << 10);
  EXPECT_EQ(rows[2000].what, "");
  EXPECT_EQ(rows[2000].state, ReapedState::problem) << "a state we do not know is not success";

  rows.clear();
  EXPECT_EQ(reap(*entry, "fail", true, rows).error().code, EIO);
  ASSERT_EQ(rows.size(), 2001u) << "what was done before the error is known";
  EXPECT_EQ(rows[0].what, "call 2, carrier 0 of process 4711");
  EXPECT_EQ(rows[0].state, ReapedState::left);
}

TEST_F(BackendTest, AsksAndMovesADevicesKeeper) {
  install("testgood");
  const auto* entry = entry_of("testgood");
  ASSERT_NE(entry, nullptr);
  const Sbdf device = make_sbdf(0, 0, 5, 1);
  EXPECT_EQ(keeper_of(*entry, "where", make_sbdf(0, 0, 5, 0)).value(), Keeper::host);
  EXPECT_EQ(keeper_of(*entry, "where", make_sbdf(0, 0, 5, 2)).error().code, ENODEV);
  EXPECT_EQ(keeper_of(*entry, "where", make_sbdf(0, 0, 5, 3)).value(), Keeper::unknown);
  EXPECT_EQ(keeper_of(*entry, "where", device).value(), Keeper::quarantine);
  EXPECT_TRUE(set_keeper(*entry, "where", device, Keeper::host).value());
  EXPECT_FALSE(set_keeper(*entry, "where", device, Keeper::host).value());
  EXPECT_EQ(keeper_of(*entry, "where", device).value(), Keeper::host);
  EXPECT_TRUE(set_keeper(*entry, "where", device, Keeper::quarantine).value());
  EXPECT_EQ(set_keeper(*entry, "where", make_sbdf(0, 0, 5, 2), Keeper::host).error().code, ENODEV);
  EXPECT_EQ(keeper_of(*entry, "fail", device).error().code, EIO) << "the configuration arrives";
  EXPECT_EQ(set_keeper(*entry, "fail", device, Keeper::host).error().code, EIO);
}

TEST_F(BackendTest, AnOlderModuleHasNoDiagnosis) {
  install("testsmaller");
  const auto* entry = entry_of("testsmaller");
  ASSERT_NE(entry, nullptr);
  EXPECT_TRUE(open_hypervisor("testsmaller"));
  std::vector<Check> checks;
  std::vector<Reaped> rows;
  EXPECT_EQ(diagnose(*entry, "", "", checks).error().code, EOPNOTSUPP);
  EXPECT_EQ(reap(*entry, "", true, rows).error().code, EOPNOTSUPP);
  const Sbdf device = make_sbdf(0, 0, 5, 0);
  EXPECT_EQ(keeper_of(*entry, "where", device).error().code, EOPNOTSUPP);
  EXPECT_EQ(set_keeper(*entry, "where", device, Keeper::host).error().code, EOPNOTSUPP);
  pviommu_module none = *entry;
  none.size = sizeof none;
  none.diagnose = nullptr;
  none.reap = nullptr;
  none.keeper = nullptr;
  none.set_keeper = nullptr;
  EXPECT_EQ(diagnose(none, "", "", checks).error().code, EOPNOTSUPP);
  EXPECT_EQ(reap(none, "", true, rows).error().code, EOPNOTSUPP);
  EXPECT_EQ(keeper_of(none, "where", device).error().code, EOPNOTSUPP);
  EXPECT_EQ(set_keeper(none, "where", device, Keeper::host).error().code, EOPNOTSUPP);
}

TEST_F(BackendTest, UnknownNameListsAllAndWhy) {
  for (const char* name : {"testgood", "testnosymbol", "testundefined"}) install(name);
  std::ofstream(folder_ / "pviommu-testtext.so") << "not a shared object\n";
  std::ofstream(folder_ / "unrelated.so") << "x";
  std::ofstream(folder_ / "pviommu-.so") << "x";
  const std::string message = missing("nosuch");
  EXPECT_TRUE(has(message, "no hypervisor \"nosuch\"")) << message;
  EXPECT_TRUE(has(message, " testgood")) << message;
  EXPECT_TRUE(has(message, "pviommu-testnosymbol.so: it has no symbol pviommu_module_entry")) << message;
  EXPECT_TRUE(has(message, "pviommu_test_nobody_has_this")) << message;
  EXPECT_TRUE(has(message, "pviommu-testtext.so")) << message;
  EXPECT_FALSE(has(message, "unrelated")) << message;
}

TEST_F(BackendTest, SpoiltModulesAreRefusedWithReason) {
  for (const char* name :
       {"testnosymbol", "testversion", "testversion1", "testtruncated", "testzero", "testname", "testkind", "testundefined"})
    install(name);
  std::ofstream(folder_ / "pviommu-testtext.so") << "not a shared object\n";
  EXPECT_TRUE(has(missing("testnosymbol"), "no symbol"));
  EXPECT_TRUE(has(missing("testversion"), "it has API version 99, this library has 2: install a pviommu as new"));
  EXPECT_TRUE(has(missing("testversion1"), "it has API version 1, this library has 2: build the module again"));
  EXPECT_TRUE(has(missing("testtruncated"), "its entry has 16 bytes"));
  EXPECT_TRUE(has(missing("testzero"), "its entry has 0 bytes"));
  EXPECT_TRUE(has(missing("testname"), "it calls itself \"somethingelse\""));
  EXPECT_TRUE(has(missing("testkind"), "its kind 77 is unknown"));
  EXPECT_TRUE(has(missing("testtext"), "pviommu-testtext.so"));
}

TEST_F(BackendTest, KindsAreKeptApart) {
  install("testdriver");
  const std::string message = missing("testdriver");
  EXPECT_TRUE(has(message, "no hypervisor \"testdriver\"")) << message;
  EXPECT_NE(entry_of("testdriver", PVIOMMU_MODULE_IOMMU_DRIVER), nullptr);
  missing("testdriver");  // also now that it is loaded
  const auto found = find_module("nosuch", PVIOMMU_MODULE_IOMMU_DRIVER);
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, ENOENT);
  const std::string why = to_string(found.error());
  EXPECT_TRUE(has(why, "no iommu-driver \"nosuch\"")) << why;
  EXPECT_TRUE(has(why, " testdriver")) << why;
}

TEST_F(BackendTest, NamesAreNotPaths) {
  install("testgood");
  missing("../testgood");
  missing("/etc/passwd");
  missing("");
  missing(":testgood");
}

TEST_F(BackendTest, FirstFolderWinsAndMissingFoldersAreSkipped) {
  const fs::path second = folder_ / "second";
  fs::create_directory(second);
  fs::copy_file(kModules / "pviommu-testpath.so", folder_ / "pviommu-testpath.so");
  fs::copy_file(kModules / "pviommu-testpath.so", second / "pviommu-testpath.so");
  use("/nonexistent::" + folder_.string() + ":" + second.string());
  ASSERT_TRUE(open_hypervisor("testpath"));
  int usable = 0;
  int hidden = 0;
  for (const auto& module : list_modules()) {
    if (module.name != "testpath") continue;
    if (module.problem.empty()) {
      ++usable;
      EXPECT_EQ(module.origin, (folder_ / "pviommu-testpath.so").string());
    } else {
      ++hidden;
      EXPECT_TRUE(has(module.problem, "hidden by " + folder_.string())) << module.problem;
    }
  }
  EXPECT_EQ(usable, 1);
  EXPECT_EQ(hidden, 1);
}

TEST_F(BackendTest, BrokenFileDoesNotHideALaterGoodOne) {
  const fs::path second = folder_ / "second";
  fs::create_directory(second);
  std::ofstream(folder_ / "pviommu-testsecond.so") << "not a shared object\n";
  fs::copy_file(kModules / "pviommu-testsecond.so", second / "pviommu-testsecond.so");
  use(folder_.string() + ":" + second.string());
  EXPECT_TRUE(open_hypervisor("testsecond"));
}

void* open_nothing(const pviommu_open_args*, int* error) {
  *error = ENODEV;
  return nullptr;
}
const pviommu_module kBuiltin = {sizeof(pviommu_module),
                                 PVIOMMU_MODULE_API_VERSION,
                                 PVIOMMU_MODULE_HYPERVISOR,
                                 "testbuiltin",
                                 "linked in",
                                 open_nothing,
                                 nullptr,
                                 nullptr};

TEST_F(BackendTest, BuiltinEntries) {
  register_builtin_module(&kBuiltin);
  install("testbuiltin");
  EXPECT_EQ(entry_of("testbuiltin"), &kBuiltin);
  EXPECT_FALSE(find_module("testbuiltin", PVIOMMU_MODULE_IOMMU_DRIVER));
  const auto opened = open_hypervisor("testbuiltin:x");
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ENODEV);
  EXPECT_EQ(to_string(opened.error()), "testbuiltin: open module: No such device");

  const auto all = list_modules();
  const auto builtin = std::find_if(all.begin(), all.end(), [](const auto& m) {
    return m.origin == "built in" && m.name == "testbuiltin";
  });
  ASSERT_NE(builtin, all.end());
  EXPECT_EQ(builtin->kind, "hypervisor");
  EXPECT_EQ(builtin->description, "linked in");
  const auto file = std::find_if(all.begin(), all.end(), [](const auto& m) {
    return m.origin != "built in" && m.name == "testbuiltin";
  });
  ASSERT_NE(file, all.end());
  EXPECT_TRUE(has(file->problem, "hidden by the built-in testbuiltin")) << file->problem;
  EXPECT_TRUE(
      std::is_sorted(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.name < b.name; }));
}

TEST_F(BackendTest, ConcurrentFinding) {
  install("testgood");
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([] {
      for (int n = 0; n < 20; ++n) {
        EXPECT_TRUE(find_module("testgood", PVIOMMU_MODULE_HYPERVISOR));
        EXPECT_FALSE(find_module("nosuch", PVIOMMU_MODULE_HYPERVISOR));
      }
    });
  for (auto& thread : threads) thread.join();
}

}  // namespace
}  // namespace pviommu
