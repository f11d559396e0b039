// SPDX-License-Identifier: LGPL-2.1-or-later
// Every hypercall of a program that goes by iommufd fails once, as in vfio_failures_test.cc; and
// groups of several devices.
#include "vfio-glue/iommufd_abi.h"
#include "vfio_life.h"

namespace pviommu::vfio {
namespace {

using namespace pviommu::iommufd;

constexpr std::uint32_t kFixed = kMapFixedIova | kMapReadable | kMapWriteable;

class IommufdLife : Life {
 public:
  explicit IommufdLife(EngineRig& rig) : Life(rig) {}

  /// Runs all steps; returns how many met a failure.
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
  long map(std::uint32_t ioas, std::uint64_t iova, std::uint64_t length) {
    IoasMap map{sizeof map, kFixed, ioas, 0, reinterpret_cast<std::uint64_t>(memory_), length, iova};
    return rig_.client.ioctl(iommu_, kIoasMap, &map);
  }
  long attach(std::uint32_t target) {
    DeviceAttach attach{12, 0, target, 0};
    return rig_.client.ioctl(node_, kDeviceAttach, &attach);
  }

  int iommu_ = -1, node_ = -1;
};

class IommufdFailures : public testing::TestWithParam<const char*> {};

TEST_P(IommufdFailures, EveryHypercallOnce) {
  fail_every_hypercall_once<IommufdLife>(std::string("model:") + GetParam() + "edu,addr=0000:00:06.0");
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
