// SPDX-License-Identifier: LGPL-2.1-or-later
// Every hypercall of a program that goes by iommufd fails once, as in vfio_failures_test.cc; and
// groups of several devices.
#include <functional>

#include "hypercall/statistics.h"
#include "vfio-glue/iommufd_abi.h"
#include "vfio_engine_rig.h"

namespace pviommu::vfio {
namespace {

using namespace pviommu::iommufd;

constexpr int kRefused = EHOSTDOWN;  // no other place answers this
constexpr std::uint32_t kFixed = kMapFixedIova | kMapReadable | kMapWriteable;

class IommufdLife {
 public:
  explicit IommufdLife(EngineRig& rig) : rig_(rig) {
    memory_ = static_cast<std::uint8_t*>(
        ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    std::memset(memory_, 1, kBytes);
  }
  ~IommufdLife() { ::munmap(memory_, kBytes); }

  /// As Life::run() of vfio_failures_test.cc.
  int run() {
    iommu_ = *rig_.client.install(*rig_.engine->open_iommufd());
    node_ = *rig_.client.install(*rig_.engine->open_device_node(0));
    IoasAlloc first{sizeof first, 0, 0}, second{sizeof second, 0, 0};
    step("IOAS_ALLOC", [&] { return rig_.client.ioctl(iommu_, kIoasAlloc, &first); });
    step("IOAS_ALLOC", [&] { return rig_.client.ioctl(iommu_, kIoasAlloc, &second); });
    step("MAP before a device", [&] { return map(first.out_ioas_id, 0x10000, kPageSize); });
    step("MAP before a device", [&] { return map(first.out_ioas_id, 0x20000, 3 * kPageSize); });
    step("BIND", [&] {
      DeviceBind bind{16, 0, iommu_, 0, 0};
      return rig_.client.ioctl(node_, kDeviceBind, &bind);
    });
    step("ATTACH", [&] { return attach(first.out_ioas_id); });
    step("MAP 300", [&] { return map(first.out_ioas_id, 0x400000, 300 * kPageSize); });
    step("ATTACH to another", [&] { return attach(second.out_ioas_id); });
    step("ATTACH back", [&] { return attach(first.out_ioas_id); });
    step("UNMAP", [&] {
      IoasUnmap unmap{sizeof unmap, first.out_ioas_id, 0, ~std::uint64_t{0}};
      return rig_.client.ioctl(iommu_, kIoasUnmap, &unmap);
    });
    step("MAP again", [&] { return map(first.out_ioas_id, 0x400000, 300 * kPageSize); });
    step("DETACH", [&] {
      DeviceDetach detach{8, 0, 0};
      return rig_.client.ioctl(node_, kDeviceDetach, &detach);
    });
    step("ATTACH again", [&] { return attach(first.out_ioas_id); });
    rig_.client.close(iommu_);
    rig_.client.close(node_);
    return failures_;
  }

 private:
  static constexpr std::size_t kBytes = 300 * kPageSize;

  void step(const char* name, const std::function<long()>& work) {
    const auto& statistics = pviommu::statistics();
    const std::uint64_t mappings = statistics.live_mappings(), pages = statistics.live_pages(),
                        pinned = statistics.pinned_pages.load();
    const long result = work();
    if (result == 0) return;
    ++failures_;
    EXPECT_EQ(result, -kRefused) << name;
    EXPECT_EQ(statistics.live_mappings(), mappings) << name;
    EXPECT_EQ(statistics.live_pages(), pages) << name;
    EXPECT_EQ(statistics.pinned_pages.load(), pinned) << name;
    EXPECT_EQ(work(), 0) << name << ", a second time";
  }
  long map(std::uint32_t ioas, std::uint64_t iova, std::uint64_t length) {
    IoasMap map{sizeof map, kFixed, ioas, 0, reinterpret_cast<std::uint64_t>(memory_), length, iova};
    return rig_.client.ioctl(iommu_, kIoasMap, &map);
  }
  long attach(std::uint32_t target) {
    DeviceAttach attach{12, 0, target, 0};
    return rig_.client.ioctl(node_, kDeviceAttach, &attach);
  }

  EngineRig& rig_;
  std::uint8_t* memory_ = nullptr;
  int iommu_ = -1, node_ = -1;
  int failures_ = 0;
};

class IommufdFailures : public testing::TestWithParam<const char*> {};

TEST_P(IommufdFailures, EveryHypercallOnce) {
  const std::string machine = std::string("model:") + GetParam() + "edu,addr=0000:00:06.0";
  std::uint64_t calls = 0;
  {
    EngineRig rig(machine);
    EXPECT_EQ(IommufdLife(rig).run(), 0);
    calls = rig.model->calls().calls();
  }
  ASSERT_GT(calls, 10u);
  int seen = 0;
  for (std::uint64_t n = 1; n <= calls; ++n)
    for (std::uint64_t after_pages : {0, 3}) {
      SCOPED_TRACE("hypercall " + std::to_string(n) + " of " + std::to_string(calls) + " after " +
                   std::to_string(after_pages) + " pages");
      EngineRig rig(machine);
      rig.model->calls().inject(std::nullopt, n, kRefused, after_pages);
      seen += IommufdLife(rig).run();
      const auto& statistics = pviommu::statistics();
      EXPECT_EQ(statistics.live_mappings(), 0u);
      EXPECT_EQ(statistics.live_pages(), 0u);
      EXPECT_EQ(statistics.pinned_pages.load(), 0u);
      EXPECT_EQ(rig.model->live_spaces(), 0u);
      EXPECT_EQ(rig.model->violations().forgotten_in_use, 0u);
      EXPECT_EQ(rig.model->violations().wrong_frame, 0u);
      EXPECT_EQ(rig.model->violations().vectors_left, 0u);
      EXPECT_EQ(IommufdLife(rig).run(), 0) << "a second life";
      if (testing::Test::HasFailure()) return;
    }
  EXPECT_GT(seen, 10) << "some step must have seen a failure";
}

INSTANTIATE_TEST_SUITE_P(Machines, IommufdFailures, testing::Values("", "frames=scattered;", "limits=xen;"));

TEST(IommufdGroup, ItsDevicesGoTogether) {
  EngineRig rig("model:edu,addr=0000:00:06.0,group=3;edu,addr=0000:00:07.0,group=3;edu,addr=0000:00:08.0");
  LocalClient& client = rig.client;
  const auto open_iommufd = [&] { return *client.install(*rig.engine->open_iommufd()); };
  const auto open_node = [&](unsigned number) { return *client.install(*rig.engine->open_device_node(number)); };
  const auto bind = [&](int node, int iommufd) {
    DeviceBind bind{16, 0, iommufd, 0, 0};
    return client.ioctl(node, kDeviceBind, &bind);
  };
  const auto attach = [&](int node, std::uint32_t target) {
    DeviceAttach attach{12, 0, target, 0};
    const long result = client.ioctl(node, kDeviceAttach, &attach);
    return result == 0 ? long{attach.pt_id} : result;
  };
  const auto detach = [&](int node) {
    DeviceDetach detach{8, 0, 0};
    return client.ioctl(node, kDeviceDetach, &detach);
  };
  const int iommufd = open_iommufd(), other = open_iommufd();
  const auto ioas = [&] {
    IoasAlloc alloc{sizeof alloc, 0, 0};
    EXPECT_EQ(client.ioctl(iommufd, kIoasAlloc, &alloc), 0);
    return alloc.out_ioas_id;
  };
  const std::uint32_t first = ioas(), second = ioas();
  const int one = open_node(0), two = open_node(1), alone = open_node(2);
  EXPECT_EQ(bind(one, iommufd), 0);
  EXPECT_EQ(bind(two, other), -EBUSY) << "the group is one iommufd's";
  EXPECT_EQ(bind(two, iommufd), 0);
  EXPECT_EQ(bind(alone, other), 0) << "of another group";
  const long table = attach(one, first);
  EXPECT_GT(table, 0);
  EXPECT_EQ(attach(two, second), -EINVAL) << "the group is attached elsewhere";
  EXPECT_EQ(attach(two, first), table);
  EXPECT_EQ(detach(one), 0);
  Destroy destroy{sizeof destroy, first};
  EXPECT_EQ(client.ioctl(iommufd, kDestroy, &destroy), -EBUSY) << "the other one is attached still";
  EXPECT_EQ(attach(one, second), -EINVAL) << "it is not attached itself";
  const long moved = attach(two, second);
  EXPECT_GT(moved, 0) << "takes the group with it";
  EXPECT_EQ(attach(one, second), moved);
  EXPECT_EQ(client.ioctl(iommufd, kDestroy, &destroy), 0);
  client.close(one);
  destroy.id = second;
  EXPECT_EQ(client.ioctl(iommufd, kDestroy, &destroy), -EBUSY);
  EXPECT_EQ(rig.engine->open_group(3).error().code, EBUSY);
  client.close(two);
  EXPECT_EQ(client.ioctl(iommufd, kDestroy, &destroy), 0);
  EXPECT_TRUE(rig.engine->open_group(3).ok());
}

}  // namespace
}  // namespace pviommu::vfio
