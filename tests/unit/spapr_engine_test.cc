// SPDX-License-Identifier: LGPL-2.1-or-later
// The engine on top: a program that knows type1 only, on a Power machine.
#include <gtest/gtest.h>
#include <linux/pci_regs.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "hypercall/backend.h"
#include "spapr_rig.h"
#include "vfio-glue/engine/engine.h"
#include "vfio_local_client.h"

namespace pviommu::spapr {
namespace {

/// What the backend "spaprtest" makes.
FakeKernel* the_kernel = nullptr;
SpaprHypervisor::Config the_config;

void* open_test(const pviommu_open_args*, int* error) {
  auto opened = SpaprHypervisor::open(the_config, the_kernel->make_calls());
  if (opened) return static_cast<Hypervisor*>(opened->release());
  *error = opened.error().code;
  return nullptr;
}

const pviommu_module kEntry = {sizeof(pviommu_module),
                               PVIOMMU_MODULE_API_VERSION,
                               PVIOMMU_MODULE_HYPERVISOR,
                               "spaprtest",
                               "for tests",
                               &open_test,
                               nullptr,
                               nullptr};

class SpaprEngineTest : public SpaprTest, public testing::WithParamInterface<ContainerType> {
 protected:
  void SetUp() override {
    static const bool registered = (register_builtin_module(&kEntry), true);
    ASSERT_TRUE(registered);
    config_.container = GetParam();
    the_kernel = &kernel_;
    the_config = config_;
    vfio::EngineConfig engine;
    engine.hypervisor = "spaprtest";
    engine_ = vfio::Engine::create(engine).value();
    memory_ = static_cast<std::byte*>(
        ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0));
    ASSERT_NE(memory_, MAP_FAILED);
  }
  void TearDown() override {
    client_.close_all();
    engine_.reset();
    ::munmap(memory_, kBytes);
    SpaprTest::TearDown();
  }
  bool is_v2() const { return GetParam() == ContainerType::v2; }
  int open_group(unsigned number) { return *client_.install(*engine_->open_group(number)); }
  int start(unsigned number) {
    container_ = *client_.install(*engine_->open_container());
    const int group = open_group(number);
    EXPECT_EQ(client_.ioctl(group, VFIO_GROUP_SET_CONTAINER, &container_), 0);
    EXPECT_EQ(set_type1(), 0);
    return group;
  }
  long set_type1() { return client_.file_of(container_)->ioctl(client_, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU); }
  int device_of(int group, Sbdf sbdf) {
    std::string name = to_string(sbdf);
    return static_cast<int>(client_.ioctl(group, VFIO_GROUP_GET_DEVICE_FD, name.data()));
  }

  static constexpr std::size_t kBytes = 16 * kPageSize;
  std::unique_ptr<vfio::Engine> engine_;
  vfio::LocalClient client_;
  int container_ = -1;
  std::byte* memory_ = nullptr;
};
INSTANTIATE_TEST_SUITE_P(Containers, SpaprEngineTest, testing::Values(ContainerType::v1, ContainerType::v2),
                         [](const auto& info) { return info.param == ContainerType::v1 ? "v1" : "v2"; });

TEST_P(SpaprEngineTest, MemoryIsPinnedFromItsMapOn) {
  const int group = start(1);
  ASSERT_EQ(client_.map(container_, 0x100000, memory_, kBytes), 0);
  EXPECT_EQ(kernel_.registered_bytes(), is_v2() ? kBytes : 0) << "before there is a device";
  EXPECT_EQ(kernel_.reach(1, 0x100000 + 0x2345), memory_ + 0x2345);
  const int device = device_of(group, kFirst);
  ASSERT_GE(device, 0);
  EXPECT_EQ(kernel_.reach(1, 0x100000 + 0x2345), memory_ + 0x2345);
  *kernel_.reach(1, 0x100010) = std::byte{0x5a};
  EXPECT_EQ(memory_[0x10], std::byte{0x5a});
  EXPECT_EQ(client_.map(container_, 0x100000, memory_, kPageSize), -EEXIST);
  ASSERT_EQ(client_.unmap(container_, 0x100000, kBytes), 0);
  EXPECT_EQ(kernel_.reach(1, 0x100000), nullptr);
  EXPECT_EQ(kernel_.registrations(), 0u);
}

TEST_P(SpaprEngineTest, TwoGroupsAndOverlappingMemory) {
  const int first = start(1), second = open_group(2);
  ASSERT_EQ(client_.map(container_, 0x10000, memory_, 8 * kPageSize), 0);
  ASSERT_EQ(client_.map(container_, 0x40000, memory_ + 4 * kPageSize, 8 * kPageSize), 0);
  ASSERT_GE(device_of(first, kFirst), 0);
  ASSERT_EQ(client_.ioctl(second, VFIO_GROUP_SET_CONTAINER, &container_), 0);
  ASSERT_GE(device_of(second, kOther), 0);
  EXPECT_EQ(kernel_.entries(1), kernel_.entries(2));
  EXPECT_EQ(kernel_.entries(2).size(), 16u);
  ASSERT_EQ(client_.unmap(container_, 0x10000, 8 * kPageSize), 0);
  EXPECT_EQ(kernel_.reach(2, 0x40000), memory_ + 4 * kPageSize);
  EXPECT_EQ(kernel_.entries(1), kernel_.entries(2));
  // The program goes away without a word.
}

TEST_P(SpaprEngineTest, InterruptsReachTheProgram) {
  auto& config = kernel_.devices.at(kFirst).config;
  config[PCI_STATUS] = PCI_STATUS_CAP_LIST;
  config[PCI_CAPABILITY_LIST] = 0x50;
  config[0x50] = PCI_CAP_ID_MSI;
  config[0x52] = 1 << 1;  // two vectors
  config[PCI_INTERRUPT_PIN] = 1;
  const int group = start(1), device = device_of(group, kFirst);
  ASSERT_GE(device, 0);
  const UniqueFd eventfd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  std::uint64_t all = 0;
  const auto arrived = [&](std::uint64_t wanted) {
    return eventually([&] {
      std::uint64_t count = 0;
      if (::read(eventfd.get(), &count, sizeof count) == sizeof count) all += count;
      return all == wanted;
    });
  };
  ASSERT_EQ(client_.set_irqs(device, VFIO_PCI_MSI_IRQ_INDEX, true, eventfd.get()), 0);
  kernel_.fire(kFirst, VFIO_PCI_MSI_IRQ_INDEX, 0, 2);
  EXPECT_TRUE(arrived(2)) << all;
  ASSERT_EQ(client_.set_irqs(device, VFIO_PCI_MSI_IRQ_INDEX, false, -1), 0);
  EXPECT_TRUE(kernel_.devices.at(kFirst).irqs[VFIO_PCI_MSI_IRQ_INDEX].eventfds.empty());

  ASSERT_EQ(client_.set_irqs(device, VFIO_PCI_INTX_IRQ_INDEX, true, eventfd.get()), 0);
  kernel_.fire(kFirst, VFIO_PCI_INTX_IRQ_INDEX);
  EXPECT_TRUE(arrived(3)) << all;
  struct {
    std::uint32_t argsz, flags, index, start, count;
  } unmask{sizeof unmask, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK, VFIO_PCI_INTX_IRQ_INDEX, 0, 1};
  ASSERT_EQ(client_.ioctl(device, VFIO_DEVICE_SET_IRQS, &unmask), 0);
  EXPECT_TRUE(arrived(4)) << "the line is still up: " << all;
  kernel_.lower_line(kFirst);
  ASSERT_EQ(client_.set_irqs(device, VFIO_PCI_INTX_IRQ_INDEX, false, -1), 0);
}

/// Told once in a process, so the tests of both types share it.
TEST_P(SpaprEngineTest, AddressesOutsideTheWindows) {
  static bool first = true;
  start(1);
  testing::internal::CaptureStderr();
  EXPECT_EQ(client_.map(container_, kGiB, memory_, kPageSize), -EINVAL);
  EXPECT_EQ(client_.map(container_, kGiB - kPageSize, memory_, 2 * kPageSize), -EINVAL);
  EXPECT_EQ(client_.map(container_, std::uint64_t{1} << 40, memory_, kPageSize), -EINVAL);
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::ranges::count(text, '\n'), first ? 1 : 0) << text;
  if (first) {
    EXPECT_NE(text.find("0x40000000 to 0x40000fff"), std::string::npos) << text;
    EXPECT_NE(text.find("theirs are 0x0 to 0x3fffffff"), std::string::npos) << text;
  }
  first = false;
  EXPECT_EQ(kernel_.registrations(), 0u);
  EXPECT_EQ(client_.map(container_, kGiB - kPageSize, memory_, kPageSize), 0);
}

TEST_P(SpaprEngineTest, MemoryThatCannotBePinned) {
  start(1);
  kernel_.add_hole(reinterpret_cast<std::uint64_t>(memory_) + 2 * kPageSize, kPageSize);
  EXPECT_EQ(client_.map(container_, 0x10000, memory_, 4 * kPageSize), -EFAULT);
  EXPECT_TRUE(kernel_.entries(1).empty());
  EXPECT_EQ(kernel_.registrations(), 0u);
  EXPECT_EQ(client_.map(container_, 0x10000, memory_, 2 * kPageSize), 0);
}

/// The whole of a program's life, a call of the kernel failing at every place.
TEST_P(SpaprEngineTest, AFailureAtEveryCall) {
  testing::internal::CaptureStderr();
  unsigned n = 1;
  for (;; ++n) {
    kernel_.fail_at(n, ENOMEM);
    container_ = *client_.install(*engine_->open_container());
    const int group = open_group(1);
    EXPECT_EQ(client_.ioctl(group, VFIO_GROUP_SET_CONTAINER, &container_), 0);
    if (set_type1() == 0) {
      const long mapped = client_.map(container_, 0x10000, memory_, 4 * kPageSize);
      EXPECT_TRUE(mapped == 0 || mapped == -ENOMEM) << mapped;
      const int device = device_of(group, kFirst);
      const long again = client_.map(container_, 0x20000, memory_ + 2 * kPageSize, 4 * kPageSize);
      if (device >= 0) {
        EXPECT_EQ(kernel_.entries(1).size(), (mapped == 0 ? 4u : 0u) + (again == 0 ? 4u : 0u)) << n;
      }
      if (mapped == 0) (void)client_.unmap(container_, 0x10000, 4 * kPageSize);
    }
    client_.close_all();
    EXPECT_TRUE(kernel_.is_empty()) << n;
    if (!kernel_.has_failed() || HasFailure()) break;
  }
  kernel_.fail_at(0);
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_EQ(text.find("left behind"), std::string::npos) << text;
  EXPECT_GT(n, 25u);
}

}  // namespace
}  // namespace pviommu::spapr
