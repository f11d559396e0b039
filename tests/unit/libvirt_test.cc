// SPDX-License-Identifier: LGPL-2.1-or-later
// The module "libvirt" on libvirt's own driver for tests, which lives in this
// process: test:///default has one domain, a file has what it says.
#include <gtest/gtest.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <nlohmann/json.hpp>

#include "vfio-glue/command/command.h"
#include "vfio-glue/host/connection.h"
#include "vfio-glue/host/libvirt/node_device_xml.h"

// GLib's locks and atomics are not pthread's, and ThreadSanitizer sees neither.
extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() {
  return "called_from_lib:libglib-2.0.so.0\nmutex:libvirt.so.0\n";
}

namespace pviommu::host {
namespace {

constexpr const char* kFile = "test://" PVIOMMU_TEST_SRCDIR "/tests/unit/libvirt_node.xml";
constexpr const char* kDefault = "test:///default";
constexpr const char* kNobody = "test+unix:///default?socket=/nonexistent/libvirt-sock";
constexpr const char* kUuid = "6695eb01-f6a4-8304-79aa-97f2502e193f";

class LibvirtTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { ::setenv("PVIOMMU_MODULE_PATH", PVIOMMU_TEST_BUILDDIR "/.libs", 1); }
  std::unique_ptr<HostConnection> open(const char* uri) {
    auto opened = open_host_connection(uri);
    EXPECT_TRUE(opened) << to_string(opened.error());
    return opened ? std::move(*opened) : nullptr;
  }
  /// The commands' own functions: their exit status, `out` and `err`.
  template <class Command, class Options>
  int run(Command&& command, const Options& options) {
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    const int status = command(options);
    out = testing::internal::GetCapturedStdout();
    err = testing::internal::GetCapturedStderr();
    EXPECT_EQ(std::ranges::count(err, '\n'), status == 0 ? 0 : 1) << err;
    return status;
  }
  static command::BindOptions on(const char* uri, std::vector<std::string> addresses) {
    command::BindOptions options;
    options.uri = uri;
    options.addresses = std::move(addresses);
    return options;
  }
  bool says(const std::string& text) const { return err.find(text) != err.npos; }
  std::string out, err;
};

// ---- connections ----------------------------------------------------------------

TEST_F(LibvirtTest, BadInputIsOneLine) {
  command::HostOptions options;
  for (const char* uri : {"nosuch", "http//x", ":", "a b"}) {
    options.uri = uri;
    EXPECT_EQ(run(command::list_host, options), command::kBadInput) << uri;
    EXPECT_TRUE(says(std::string("'") + uri + "' is no URI of libvirt; expected one like xen:///system"))
        << err;
  }
  options.uri = "test:///nonexistent/node.xml";
  EXPECT_EQ(run(command::list_host, options), command::kBadInput);
  EXPECT_TRUE(says("/nonexistent/node.xml")) << err;
  options.uri = kNobody;
  EXPECT_EQ(run(command::list_host, options), command::kFailed);
  EXPECT_TRUE(says("/nonexistent/libvirt-sock")) << err;
  EXPECT_TRUE(says("is libvirtd running")) << err;
}

// ---- devices --------------------------------------------------------------------

TEST_F(LibvirtTest, ListsPciFunctionsByAddress) {
  const auto connection = open(kFile);
  EXPECT_FALSE(connection->devices().is_this_machine());
  const auto devices = connection->devices().list();
  ASSERT_TRUE(devices) << to_string(devices.error());
  ASSERT_EQ(devices->size(), 2u);  // not the bridge, not the computer
  const HostDevice &nvme = (*devices)[0], &network = (*devices)[1];
  EXPECT_EQ(to_string(nvme.address), "0000:00:05.0");
  EXPECT_EQ(nvme.class_code, 0x010802u);
  EXPECT_EQ(nvme.driver, "");
  EXPECT_FALSE(nvme.group);
  EXPECT_EQ(to_string(network.address), "0000:06:12.5");
  EXPECT_EQ(network.vendor, 0x8086);
  EXPECT_EQ(network.device, 0x10ca);
  EXPECT_EQ(network.group, 12u);
  EXPECT_EQ(network.group_members, std::vector<PciAddress>{make_sbdf(0, 6, 0x12, 4)});
  EXPECT_EQ(network.description, "Intel Corporation 82576 Virtual Function");
}

// The driver for tests has no drivers.
TEST(LibvirtXmlTest, DescriptionsOfDevices) {
  const std::string address = "<domain>1</domain><bus>6</bus><slot>31</slot><function>7</function>";
  const auto described = [](const std::string& capability) {
    return parse_node_device(
        "<device><name>x</name><driver><name>pciback</name></driver><capability type='pci'>" + capability +
        "</capability></device>");
  };
  const auto device = described(address);
  ASSERT_TRUE(device);
  EXPECT_EQ(to_string(device->address), "0001:06:1f.7");
  EXPECT_EQ(device->driver, "pciback");
  EXPECT_EQ(device->class_code, 0u);
  EXPECT_FALSE(device->group);
  // Behind a VMD: it does not spoil the list.
  const auto behind = described("<domain>65536</domain><bus>1</bus><slot>0</slot><function>0</function>");
  ASSERT_TRUE(behind);
  EXPECT_EQ(to_string(behind->address), "10000:01:00.0");
  for (const char* bad :
       {"", "<domain>0</domain>", "<domain>0</domain><bus>256</bus><slot>0</slot><function>0</function>",
        "<domain>0</domain><bus>0</bus><slot>32</slot><function>0</function>",
        "<domain>0</domain><bus>0</bus><slot>0</slot><function>8</function>",
        "<domain>0</domain><bus>-1</bus><slot>0</slot><function>0</function>",
        "<domain>0</domain><bus>x</bus><slot>0</slot><function>0</function>"})
    EXPECT_EQ(described(bad).error().code, EINVAL) << bad;
  EXPECT_EQ(parse_node_device("<device><capability type='net'/></device>").error().code, EINVAL);
  EXPECT_EQ(parse_node_device("<device").error().code, EINVAL);
  EXPECT_EQ(parse_node_device("").error().code, EINVAL);
}

TEST_F(LibvirtTest, ListCommand) {
  command::HostOptions options;
  options.uri = kFile;
  EXPECT_EQ(run(command::list_host, options), 0);
  EXPECT_NE(out.find("0000:06:12.5     12 -            8086:10ca 020000  not known"), out.npos) << out;
  options.json = true;
  EXPECT_EQ(run(command::list_host, options), 0);
  const auto all = nlohmann::json::parse(out);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[1]["group"], 12);
  EXPECT_EQ(all[1]["group_members"][0], "0000:06:12.4");
  EXPECT_TRUE(all[1]["in_use"].is_null());
  options.uri = kDefault;
  EXPECT_EQ(run(command::list_host, options), 0);
  EXPECT_EQ(out, "[]\n");
}

TEST_F(LibvirtTest, BindSaysWhichCallsItMakes) {
  auto options = on(kFile, {"0000:06:12.5"});
  EXPECT_EQ(run(command::bind, options), command::kFailed);
  EXPECT_TRUE(says("cannot be told from here")) << err;
  options.force = options.dry_run = true;
  EXPECT_EQ(run(command::bind, options), 0);
  EXPECT_EQ(out, "virNodeDeviceDetachFlags(\"pci_0000_06_12_5\", NULL, 0)\n");
  options.reset = true;
  for (const auto& [driver, word] : {std::pair("vfio-pci", "vfio"), {"xen-pciback", "xen"}, {"kvm", "kvm"}}) {
    options.driver = driver;
    EXPECT_EQ(run(command::bind, options), 0);
    EXPECT_EQ(out, std::string("virNodeDeviceDetachFlags(\"pci_0000_06_12_5\", \"") + word +
                       "\", 0)\nvirNodeDeviceReset(\"pci_0000_06_12_5\")\n");
  }
  options.driver = "none";
  EXPECT_EQ(run(command::bind, options), command::kFailed);
  EXPECT_TRUE(says("without a driver")) << err;
  auto back = on(kFile, {"0000:00:05.0"});
  back.dry_run = true;
  EXPECT_EQ(run(command::unbind, back), 0);
  EXPECT_EQ(out, "virNodeDeviceReAttach(\"pci_0000_00_05_0\")\n");
}

TEST_F(LibvirtTest, WhatTheDriverCannotDoIsOneLine) {
  auto options = on(kFile, {"0000:06:12.5"});
  options.force = true;
  EXPECT_EQ(run(command::bind, options), command::kFailed);
  EXPECT_TRUE(says("not supported by the connection driver: virNodeDeviceDetachFlags")) << err;
  EXPECT_EQ(run(command::unbind, on(kFile, {"0000:00:05.0"})), command::kFailed);
  EXPECT_TRUE(says("virNodeDeviceReAttach")) << err;
  EXPECT_EQ(run(command::bind, on(kFile, {"0000:00:1f.0"})), command::kBadInput);
  EXPECT_TRUE(says("0000:00:1f.0, or it is a bridge")) << err;
}

// ---- guests ---------------------------------------------------------------------

TEST_F(LibvirtTest, ResolvesByNameIdAndUuid) {
  const auto connection = open(kFile);
  GuestDomains& domains = connection->domains();
  for (const char* text : {"guest", "1", kUuid}) {
    const auto guest = resolve_running(domains, text);
    ASSERT_TRUE(guest) << to_string(guest.error());
    EXPECT_EQ(guest->name, "guest");
    EXPECT_EQ(guest->uuid, kUuid);
    EXPECT_EQ(guest->id, 1u);
    EXPECT_EQ(guest->state, GuestState::running);
  }
}

TEST_F(LibvirtTest, AGuestThatIsNotThereOrNotRunningIsOneLine) {
  const auto connection = open(kFile);
  for (const char* text : {"nobody", "99", "6695eb01-f6a4-8304-79aa-000000000000", ""}) {
    const auto guest = connection->domains().resolve(text);
    ASSERT_FALSE(guest) << text;
    EXPECT_EQ(guest.error().code, ENOENT) << text;
    EXPECT_EQ(to_string(guest.error()), std::string(kFile) + ": there is no domain " + text);
  }
  // A name of digits, which is no id.
  const auto guest = connection->domains().resolve("1234");
  ASSERT_TRUE(guest) << to_string(guest.error());
  EXPECT_FALSE(guest->id);
  const auto running = resolve_running(connection->domains(), "1234");
  ASSERT_FALSE(running);
  EXPECT_EQ(running.error().code, ESRCH);
  EXPECT_EQ(to_string(running.error()), "the domain 1234 is not running: it is shut off");
}

/// test:///default is one node for the whole process: what is done to its domain by
/// this connection of the test's, the module's connection hears of.
class LibvirtEventTest : public LibvirtTest {
 protected:
  void SetUp() override {
    connection_ = open(kDefault);
    own_ = ::virConnectOpen(kDefault);
    ASSERT_NE(own_, nullptr);
    domain_ = ::virDomainLookupByName(own_, "test");
    ASSERT_NE(domain_, nullptr);
    const auto guest = connection_->domains().resolve("test");
    ASSERT_TRUE(guest) << to_string(guest.error());
    guest_ = *guest;
  }
  void TearDown() override {
    if (domain_ != nullptr) ::virDomainFree(domain_);
    if (own_ != nullptr) ::virConnectClose(own_);
  }
  std::unique_ptr<GuestWatch> watch(std::function<void(GuestEvent)> also = {}) {
    auto watch = connection_->domains().watch(
        guest_,
        [this, also](GuestEvent event) {
          if (also) also(event);
          const std::lock_guard guard(lock_);
          events_.emplace_back(to_string(event));
          changed_.notify_all();
        });
    EXPECT_TRUE(watch) << to_string(watch.error());
    return watch ? std::move(watch).value() : nullptr;
  }
  /// The events there are, once they are so many.
  std::vector<std::string> events(std::size_t count) {
    std::unique_lock guard(lock_);
    changed_.wait_for(guard, std::chrono::seconds(20), [&] { return events_.size() >= count; });
    return events_;
  }

  std::unique_ptr<HostConnection> connection_;
  virConnectPtr own_ = nullptr;
  virDomainPtr domain_ = nullptr;
  GuestDomain guest_;
  std::mutex lock_;
  std::condition_variable changed_;
  std::vector<std::string> events_;
};

TEST_F(LibvirtEventTest, StopAndCrashAreReported) {
  const auto one = watch();
  ASSERT_EQ(::virDomainDestroy(domain_), 0);
  EXPECT_EQ(events(1), std::vector<std::string>{"stopped"});
  EXPECT_EQ(resolve_running(connection_->domains(), "test").error().code, ESRCH);
  ASSERT_EQ(::virDomainCreate(domain_), 0);  // a start is no event for us
  ASSERT_EQ(::virDomainCoreDump(domain_, "/dev/null", VIR_DUMP_CRASH), 0) << ::virGetLastErrorMessage();
  EXPECT_EQ(events(2), (std::vector<std::string>{"stopped", "crashed"}));
  ASSERT_EQ(::virDomainCreate(domain_), 0);
}

TEST_F(LibvirtEventTest, AnEndedWatchHearsNothing) {
  auto one = watch();
  auto other = watch();
  one.reset();
  ASSERT_EQ(::virDomainDestroy(domain_), 0);
  ASSERT_EQ(::virDomainCreate(domain_), 0);
  ASSERT_EQ(::virDomainDestroy(domain_), 0);
  ASSERT_EQ(::virDomainCreate(domain_), 0);
  EXPECT_EQ(events(2), (std::vector<std::string>{"stopped", "stopped"}));
}

TEST_F(LibvirtEventTest, ACallbackMayEndItsWatch) {
  std::mutex lock;
  std::unique_ptr<GuestWatch> one;
  {
    const std::lock_guard guard(lock);
    one = watch([&](GuestEvent) {
      const std::lock_guard inner(lock);
      one.reset();
    });
  }
  ASSERT_EQ(::virDomainDestroy(domain_), 0);
  EXPECT_EQ(events(1), std::vector<std::string>{"stopped"});
  ASSERT_EQ(::virDomainCreate(domain_), 0);
  ASSERT_EQ(::virDomainDestroy(domain_), 0);
  ASSERT_EQ(::virDomainCreate(domain_), 0);
  EXPECT_EQ(events(1).size(), 1u);
}

TEST_F(LibvirtEventTest, WatchesComeAndGoWhileEventsArrive) {
  const auto steady = watch();
  for (int i = 0; i < 50; ++i) {
    auto passing = watch();
    ASSERT_EQ(::virDomainDestroy(domain_), 0);
    passing.reset();
    ASSERT_EQ(::virDomainCreate(domain_), 0);
  }
  EXPECT_GE(events(50).size(), 50u);
}

TEST_F(LibvirtEventTest, AnUnknownGuestIsOneLine) {
  guest_.uuid = "6695eb01-f6a4-8304-79aa-000000000000";
  const auto watch = connection_->domains().watch(guest_, [](GuestEvent) {});
  ASSERT_FALSE(watch);
  EXPECT_EQ(watch.error().code, ENOENT);
  const std::string message = to_string(watch.error());
  EXPECT_NE(message.find("domain test"), message.npos) << message;
  EXPECT_EQ(message.find('\n'), message.npos);
}

}  // namespace
}  // namespace pviommu::host
