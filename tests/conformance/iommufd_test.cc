// SPDX-License-Identifier: LGPL-2.1-or-later
// /dev/iommu and the nodes of devices, by the raw interface.  Answers are those of the sources of
// Linux 7.x; Debian's kernels are built without it (CONFIG_IOMMUFD), so there it is skipped.
#include <dirent.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <fstream>

#include "declared.h"
#include "vfio-glue/iommufd_abi.h"
#include "vfio_client.h"

namespace conformance {
namespace {

using namespace pviommu::iommufd;

constexpr std::uint64_t kAll = ~std::uint64_t{0};
constexpr std::uint32_t kReadWrite = kMapReadable | kMapWriteable;

class Iommu {
 public:
  Iommu() : fd_(::open("/dev/iommu", O_RDWR | O_CLOEXEC)) {}
  int fd() const { return fd_.get(); }
  void close() { fd_.reset(); }
  template <class Structure>
  Outcome call(std::uint32_t request, Structure& structure) const {
    if (structure.size == 0) structure.size = sizeof structure;
    return outcome_of(::ioctl(fd_.get(), request, &structure));
  }
  std::uint32_t ioas() const {
    IoasAlloc alloc{};
    EXPECT_EQ(call(kIoasAlloc, alloc), ok());
    return alloc.out_ioas_id;
  }
  Outcome destroy(std::uint32_t id) const {
    Destroy destroy{sizeof destroy, id};
    return call(kDestroy, destroy);
  }
  /// At *iova, or somewhere, which it then says.
  Outcome map(std::uint32_t ioas, std::uint64_t memory, std::uint64_t length, std::uint64_t* iova,
              std::uint32_t flags = kMapFixedIova | kReadWrite) const {
    IoasMap map{};
    map.flags = flags;
    map.ioas_id = ioas;
    map.user_va = memory;
    map.length = length;
    map.iova = *iova;
    const Outcome outcome = call(kIoasMap, map);
    *iova = map.iova;
    return outcome;
  }
  Outcome map_at(std::uint32_t ioas, std::uint64_t memory, std::uint64_t length, std::uint64_t iova) const {
    return map(ioas, memory, length, &iova);
  }
  Mapped unmap(std::uint32_t ioas, std::uint64_t iova, std::uint64_t length) const {
    IoasUnmap unmap{0, ioas, iova, length};
    const Outcome outcome = call(kIoasUnmap, unmap);
    return {outcome, unmap.length};
  }
  std::vector<IovaSpan> ranges(std::uint32_t ioas, std::uint64_t* alignment = nullptr) const {
    std::vector<IovaSpan> spans(64);
    IovaRanges ranges{};
    ranges.ioas_id = ioas;
    ranges.num_iovas = static_cast<std::uint32_t>(spans.size());
    ranges.allowed_iovas = reinterpret_cast<std::uint64_t>(spans.data());
    EXPECT_EQ(call(kIoasIovaRanges, ranges), ok());
    spans.resize(ranges.num_iovas);
    if (alignment) *alignment = ranges.out_iova_alignment;
    return spans;
  }

 private:
  Fd fd_;
};

/// vfioN of the device; "": there is none, or no node belongs to it.
std::string node_of(const std::string& device) {
  DIR* folder = ::opendir(("/sys/bus/pci/devices/" + device + "/vfio-dev").c_str());
  if (!folder) return "";
  std::string found;
  while (const dirent* entry = ::readdir(folder))
    if (std::string(entry->d_name).starts_with("vfio")) found = entry->d_name;
  ::closedir(folder);
  return found;
}

struct Node : Device {
  explicit Node(const std::string& device)
      : Device(::open(("/dev/vfio/devices/" + node_of(device)).c_str(), O_RDWR | O_CLOEXEC)) {}
  Outcome bind(int iommufd, std::uint32_t* id = nullptr) const {
    DeviceBind bind{16, 0, iommufd, 0, 0};
    const Outcome outcome = ioctl(kDeviceBind, reinterpret_cast<std::uint64_t>(&bind));
    if (id) *id = bind.out_devid;
    return outcome;
  }
  Outcome attach(std::uint32_t target, std::uint32_t* table = nullptr) const {
    DeviceAttach attach{12, 0, target, 0};
    const Outcome outcome = ioctl(kDeviceAttach, reinterpret_cast<std::uint64_t>(&attach));
    if (table) *table = attach.pt_id;
    return outcome;
  }
  Outcome detach() const {
    DeviceDetach detach{8, 0, 0};
    return ioctl(kDeviceDetach, reinterpret_cast<std::uint64_t>(&detach));
  }
};

const std::string& edu() { return Machine::get().edu; }

class Iommufd : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::access("/dev/iommu", F_OK) != 0) GTEST_SKIP() << "no /dev/iommu: this kernel was built without CONFIG_IOMMUFD, as Debian's are";
  }
};
class Cdev : public Iommufd {};

// ---- /dev/iommu alone -------------------------------------------------------

TEST_F(Iommufd, SizeOfStructures) {
  Iommu iommu;
  ASSERT_GE(iommu.fd(), 0);
  struct {
    Destroy destroy;
    std::uint32_t behind[2];
  } larger{{7, 0}, {0, 0}};
  const auto destroy = [&] { return outcome_of(::ioctl(iommu.fd(), kDestroy, &larger)); };
  EXPECT_EQ(destroy(), failed(EINVAL));
  larger.destroy.size = 8;
  EXPECT_EQ(destroy(), failed(ENOENT));
  larger.destroy.size = 16;
  EXPECT_EQ(destroy(), failed(ENOENT)) << "zero behind what is known";
  larger.behind[1] = 1;
  EXPECT_EQ(destroy(), failed(E2BIG));
  larger.destroy.size = 12;
  EXPECT_EQ(destroy(), failed(ENOENT)) << "not a part of the structure";
  EXPECT_EQ(outcome_of(::ioctl(iommu.fd(), kDestroy, nullptr)), failed(EFAULT));
  larger.destroy.size = 8;
  EXPECT_EQ(outcome_of(::ioctl(iommu.fd(), command(0x60), &larger)), failed(ENOTTY));
  EXPECT_EQ(outcome_of(::ioctl(iommu.fd(), _IOR(kType, 0x80, int), &larger)), failed(ENOTTY));
  char byte = 0;
  EXPECT_EQ(outcome_of(::read(iommu.fd(), &byte, 1)), failed(EINVAL));
  EXPECT_EQ(outcome_of(::write(iommu.fd(), &byte, 1)), failed(EINVAL));
}

TEST_F(Iommufd, ObjectsByNumber) {
  Iommu iommu, other;
  const std::uint32_t first = iommu.ioas(), second = iommu.ioas();
  EXPECT_NE(first, second);
  EXPECT_NE(first, 0u);
  EXPECT_EQ(other.destroy(second), failed(ENOENT)) << "another file's";
  EXPECT_EQ(iommu.destroy(first), ok());
  EXPECT_EQ(iommu.destroy(first), failed(ENOENT));
  EXPECT_EQ(iommu.destroy(0), failed(ENOENT));
  IoasAlloc flags{0, 1, 0};
  EXPECT_EQ(iommu.call(kIoasAlloc, flags), failed(EOPNOTSUPP));
}

TEST_F(Iommufd, MapsWithoutADevice) {
  Iommu iommu;
  const std::uint32_t ioas = iommu.ioas();
  Memory memory(16 * kPage);
  std::uint64_t alignment = 0;
  const auto ranges = iommu.ranges(ioas, &alignment);
  ASSERT_EQ(ranges.size(), 1u);
  EXPECT_EQ(ranges[0].start, 0u);
  EXPECT_EQ(ranges[0].last, kAll);
  EXPECT_EQ(alignment, 1u);
  IovaRanges none{};
  none.ioas_id = ioas;
  EXPECT_EQ(iommu.call(kIoasIovaRanges, none), failed(EMSGSIZE));
  EXPECT_EQ(none.num_iovas, 1u);

  EXPECT_EQ(iommu.map_at(ioas, memory.address(), 4 * kPage, 0x10000), ok());
  EXPECT_EQ(iommu.map_at(ioas, memory.address(), kPage, 0x12000), failed(EEXIST));
  EXPECT_EQ(iommu.map_at(ioas, memory.address(), 0, 0x20000), failed(EINVAL));
  EXPECT_EQ(iommu.map_at(ioas, memory.address(), 2 * kPage, kAll - kPage + 1), failed(EOVERFLOW));
  EXPECT_EQ(iommu.map_at(ioas, kAll - kPage + 1, 2 * kPage, 0x20000), failed(EOVERFLOW));
  EXPECT_EQ(iommu.map_at(9999, memory.address(), kPage, 0x20000), failed(ENOENT));
  std::uint64_t iova = 0x20000;
  EXPECT_EQ(iommu.map(ioas, memory.address(), kPage, &iova, kMapFixedIova), failed(EINVAL)) << "no right";
  EXPECT_EQ(iommu.map(ioas, memory.address(), kPage, &iova, kMapFixedIova | kReadWrite | 8), failed(EOPNOTSUPP));

  EXPECT_EQ(iommu.unmap(ioas, 0x10000, kPage).outcome, failed(ENOENT)) << "cuts";
  EXPECT_EQ(iommu.unmap(ioas, 0x40000, kPage).outcome, failed(ENOENT)) << "nothing there";
  EXPECT_EQ(iommu.unmap(ioas, 0x10000, 0).outcome, failed(EINVAL));
  EXPECT_EQ(iommu.unmap(ioas, kAll - kPage + 1, 2 * kPage).outcome, failed(EOVERFLOW));
  const Mapped more = iommu.unmap(ioas, 0x8000, 0x10000);
  EXPECT_EQ(more.outcome, ok()) << "a superset";
  EXPECT_EQ(more.size, 4 * kPage);
  const Mapped nothing = iommu.unmap(ioas, 0, kAll);
  EXPECT_EQ(nothing.outcome, ok());
  EXPECT_EQ(nothing.size, 0u);
}

TEST_F(Iommufd, ChoosesAddresses) {
  Iommu iommu;
  const std::uint32_t ioas = iommu.ioas();
  Memory memory(16 * kPage);
  std::vector<std::uint64_t> found;
  for (unsigned i = 0; i < 8; ++i) {
    std::uint64_t iova = 0;
    ASSERT_EQ(iommu.map(ioas, memory.address() + i * kPage, kPage, &iova, kReadWrite), ok());
    EXPECT_NE(iova, 0u);
    EXPECT_EQ(iova % kPage, 0u);
    for (const std::uint64_t other : found) EXPECT_NE(iova, other);
    found.push_back(iova);
  }
  EXPECT_EQ(iommu.unmap(ioas, 0, kAll).size, 8 * kPage);

  IovaSpan allowed{0x100000, 0x101fff};
  AllowIovas allow{0, ioas, 1, 0, reinterpret_cast<std::uint64_t>(&allowed)};
  EXPECT_EQ(iommu.call(kIoasAllowIovas, allow), ok());
  std::uint64_t iova = 0;
  EXPECT_EQ(iommu.map(ioas, memory.address(), kPage, &iova, kReadWrite), ok());
  EXPECT_EQ(iova, 0x100000u);
  EXPECT_EQ(iommu.map(ioas, memory.address(), kPage, &iova, kReadWrite), ok());
  EXPECT_EQ(iova, 0x101000u);
  EXPECT_EQ(iommu.map(ioas, memory.address(), kPage, &iova, kReadWrite), failed(ENOSPC));
  EXPECT_EQ(iommu.map_at(ioas, memory.address(), kPage, 0x800000), ok()) << "a fixed one may lie elsewhere";
  allowed = {0x2000, 0x2000};
  EXPECT_EQ(iommu.call(kIoasAllowIovas, allow), failed(EINVAL));
  allow.reserved = 1;
  EXPECT_EQ(iommu.call(kIoasAllowIovas, allow), failed(EOPNOTSUPP));
}

TEST_F(Iommufd, CopiesMappings) {
  Iommu iommu;
  const std::uint32_t source = iommu.ioas(), target = iommu.ioas();
  Memory memory(4 * kPage);
  ASSERT_EQ(iommu.map_at(source, memory.address(), 2 * kPage, 0x10000), ok());
  ASSERT_EQ(iommu.map_at(source, memory.address(), 2 * kPage, 0x12000), ok());
  IoasCopy copy{0, kMapFixedIova | kReadWrite, target, source, 2 * kPage, 0x50000, 0x11000};
  EXPECT_EQ(iommu.call(kIoasCopy, copy), ok()) << "out of two";
  EXPECT_EQ(iommu.call(kIoasCopy, copy), failed(EEXIST));
  copy.src_iova = 0x13000;
  EXPECT_EQ(iommu.call(kIoasCopy, copy), failed(ENOENT)) << "ends in the middle";
  copy.length = 0;
  EXPECT_EQ(iommu.call(kIoasCopy, copy), failed(EINVAL));
  EXPECT_EQ(iommu.unmap(source, 0, kAll).size, 4 * kPage);
  EXPECT_EQ(iommu.unmap(target, 0, kAll).size, 2 * kPage) << "a mapping of its own";
}

TEST_F(Iommufd, Options) {
  Iommu iommu;
  Option option{0, kOptionRlimitMode, kOptionGet, 0, 0, 7};
  EXPECT_EQ(iommu.call(kOption, option), ok());
  EXPECT_EQ(option.val64, 0u);
  option.object_id = 1;
  EXPECT_EQ(iommu.call(kOption, option), failed(EOPNOTSUPP));
  option = {0, kOptionHugePages, kOptionGet, 0, 0, 0};
  EXPECT_EQ(iommu.call(kOption, option), failed(ENOENT));
  option.object_id = iommu.ioas();
  EXPECT_EQ(iommu.call(kOption, option), ok());
  EXPECT_EQ(option.val64, 1u);
  option.op = kOptionSet;
  option.val64 = 0;
  EXPECT_EQ(iommu.call(kOption, option), ok());
  std::uint64_t alignment = 0;
  iommu.ranges(option.object_id, &alignment);
  EXPECT_EQ(alignment, kPage);
  option.val64 = 2;
  EXPECT_EQ(iommu.call(kOption, option), failed(EINVAL));
  option.op = 3;
  EXPECT_EQ(iommu.call(kOption, option), failed(EOPNOTSUPP));
  option.option_id = 99;
  EXPECT_EQ(iommu.call(kOption, option), failed(EOPNOTSUPP));
}

TEST_F(Iommufd, AnswersAsAContainer) {
  Iommu iommu;
  const auto call = [&](unsigned long request, std::uint64_t argument) {
    return outcome_of(::ioctl(iommu.fd(), request, argument));
  };
  EXPECT_EQ(call(VFIO_GET_API_VERSION, 0), ok(VFIO_API_VERSION));
  EXPECT_EQ(call(VFIO_CHECK_EXTENSION, VFIO_TYPE1_IOMMU), ok(1));
  EXPECT_EQ(call(VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU), ok(1));
  EXPECT_EQ(call(VFIO_CHECK_EXTENSION, VFIO_UPDATE_VADDR), ok(0));
  EXPECT_EQ(call(VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU), failed(ENODEV)) << "no IOAS";
  EXPECT_EQ(call(VFIO_SET_IOMMU, 99), failed(EINVAL));
  VfioIoas compat{0, 0, kVfioIoasGet, 0};
  EXPECT_EQ(iommu.call(kVfioIoas, compat), failed(ENODEV));
  compat.ioas_id = iommu.ioas();
  compat.op = kVfioIoasSet;
  EXPECT_EQ(iommu.call(kVfioIoas, compat), ok());
  const std::uint32_t ioas = compat.ioas_id;
  compat.op = kVfioIoasGet;
  compat.ioas_id = 0;
  EXPECT_EQ(iommu.call(kVfioIoas, compat), ok());
  EXPECT_EQ(compat.ioas_id, ioas);
  EXPECT_EQ(call(VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU), ok());

  Memory memory(2 * kPage);
  vfio_iommu_type1_dma_map map{sizeof map, VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE, memory.address(), 0x10000, 2 * kPage};
  EXPECT_EQ(call(VFIO_IOMMU_MAP_DMA, reinterpret_cast<std::uint64_t>(&map)), ok());
  EXPECT_EQ(call(VFIO_IOMMU_MAP_DMA, reinterpret_cast<std::uint64_t>(&map)), failed(EEXIST));
  alignas(8) std::uint8_t bytes[sizeof(vfio_iommu_type1_dma_unmap)] = {};
  auto& unmap = *reinterpret_cast<vfio_iommu_type1_dma_unmap*>(bytes);
  unmap.argsz = sizeof bytes;
  unmap.iova = 0x10000;
  unmap.size = 2 * kPage;
  EXPECT_EQ(call(VFIO_IOMMU_UNMAP_DMA, reinterpret_cast<std::uint64_t>(bytes)), ok());
  EXPECT_EQ(unmap.size, 2 * kPage);
  EXPECT_EQ(call(VFIO_IOMMU_UNMAP_DMA, reinterpret_cast<std::uint64_t>(bytes)), ok()) << "of nothing";
  EXPECT_EQ(unmap.size, 0u);
  EXPECT_EQ(call(VFIO_IOMMU_DIRTY_PAGES, reinterpret_cast<std::uint64_t>(bytes)), failed(ENOTTY));
  EXPECT_EQ(iommu.destroy(ioas), ok());
  compat.op = kVfioIoasGet;
  EXPECT_EQ(iommu.call(kVfioIoas, compat), failed(ENODEV)) << "goes with the object";
}

// ---- devices ----------------------------------------------------------------

TEST_F(Cdev, LooksAsSysfsSays) {
  const std::string name = node_of(edu());
  ASSERT_NE(name, "");
  unsigned major = 0, minor = 0;
  char colon = 0;
  std::ifstream("/sys/bus/pci/devices/" + edu() + "/vfio-dev/" + name + "/dev") >> major >> colon >> minor;
  struct stat st {};
  ASSERT_EQ(::stat(("/dev/vfio/devices/" + name).c_str(), &st), 0);
  EXPECT_TRUE(S_ISCHR(st.st_mode));
  EXPECT_EQ(st.st_rdev, makedev(major, minor));
  Node node(edu());
  ASSERT_EQ(::fstat(node.fd(), &st), 0);
  EXPECT_TRUE(S_ISCHR(st.st_mode));
  EXPECT_EQ(st.st_rdev, makedev(major, minor));
  ASSERT_EQ(::stat("/dev/iommu", &st), 0);
  EXPECT_TRUE(S_ISCHR(st.st_mode));
  EXPECT_EQ(outcome_of(::open("/dev/vfio/devices/vfio9999", O_RDWR)), failed(ENOENT));
  EXPECT_EQ(outcome_of(::open("/dev/vfio/devices/", O_RDWR)), failed(EISDIR));
}

TEST_F(Cdev, NothingWorksBeforeItIsBound) {
  Node node(edu()), again(edu());
  ASSERT_GE(node.fd(), 0);
  ASSERT_GE(again.fd(), 0) << "it can be open any number of times";
  vfio_device_info info{};
  info.argsz = sizeof info;
  const auto get_info = [&](const Node& of) { return of.ioctl(VFIO_DEVICE_GET_INFO, reinterpret_cast<std::uint64_t>(&info)); };
  EXPECT_EQ(get_info(node), failed(EINVAL));
  EXPECT_EQ(node.ioctl(_IO(VFIO_TYPE, 250)), failed(EINVAL));
  EXPECT_EQ(node.attach(1), failed(EINVAL));
  char bytes[4];
  EXPECT_EQ(outcome_of(::pread(node.fd(), bytes, 4, VFIO_PCI_CONFIG_REGION_INDEX * (1ll << 40))), failed(EINVAL));
  EXPECT_EQ(::mmap(nullptr, kPage, PROT_READ, MAP_SHARED, node.fd(), 0), MAP_FAILED);
  EXPECT_EQ(errno, EINVAL);

  Iommu iommu;
  EXPECT_EQ(node.bind(-1), failed(EINVAL));
  EXPECT_EQ(node.bind(9999), failed(EBADF));
  const Fd null(::open("/dev/null", O_RDWR));
  EXPECT_EQ(node.bind(null.get()), failed(EBADFD));
  std::uint32_t id = 0;
  EXPECT_EQ(node.bind(iommu.fd(), &id), ok());
  EXPECT_NE(id, 0u);
  EXPECT_EQ(get_info(node), ok());
  EXPECT_EQ(node.config(0, 2), kEduVendor);
  EXPECT_EQ(node.bind(iommu.fd()), failed(EINVAL)) << "twice";
  EXPECT_EQ(get_info(again), failed(EINVAL)) << "each descriptor for itself";
  EXPECT_EQ(again.bind(iommu.fd()), failed(EINVAL)) << "the device is bound";
  EXPECT_EQ(iommu.destroy(id), failed(EBUSY));
  node.close();
  EXPECT_EQ(iommu.destroy(id), failed(ENOENT)) << "unbound by its close";
  EXPECT_EQ(again.bind(iommu.fd()), ok());
}

TEST_F(Cdev, GroupAndNodeExcludeEachOther) {
  Iommu iommu;
  Node node(edu());
  {
    Group group(Machine::group_of(edu()));
    ASSERT_GE(group.fd(), 0);
    EXPECT_EQ(node.bind(iommu.fd()), failed(EBUSY));
  }
  EXPECT_EQ(node.bind(iommu.fd()), ok());
  EXPECT_EQ(outcome_of(::open(("/dev/vfio/" + Machine::group_of(edu())).c_str(), O_RDWR)), failed(EBUSY));
  node.close();
  EXPECT_GE(Group(Machine::group_of(edu())).fd(), 0);
}

TEST_F(Cdev, AttachMakesAPageTable) {
  Iommu iommu;
  const std::uint32_t ioas = iommu.ioas(), other = iommu.ioas();
  Node node(edu());
  std::uint32_t device = 0, table = 0, again = 0;
  ASSERT_EQ(node.bind(iommu.fd(), &device), ok());
  EXPECT_EQ(node.detach(), ok()) << "nothing to do";
  EXPECT_EQ(node.attach(9999), failed(ENOENT));
  EXPECT_EQ(node.attach(device), failed(EINVAL));
  ASSERT_EQ(node.attach(ioas, &table), ok());
  EXPECT_NE(table, ioas);
  EXPECT_EQ(iommu.destroy(ioas), failed(EBUSY));
  EXPECT_EQ(iommu.destroy(table), failed(EBUSY));
  EXPECT_EQ(node.attach(ioas, &again), ok()) << "again";
  EXPECT_EQ(again, table);
  std::uint64_t alignment = 0;
  const auto ranges = iommu.ranges(ioas, &alignment);
  EXPECT_GE(ranges.size(), 1u);
  EXPECT_EQ(alignment, kPage);
  EXPECT_EQ(node.attach(other, &again), ok()) << "from one to another";
  EXPECT_EQ(iommu.destroy(table), failed(ENOENT)) << "went with its device";
  EXPECT_EQ(iommu.destroy(ioas), ok());
  EXPECT_EQ(node.detach(), ok());
  EXPECT_EQ(node.detach(), ok());
  EXPECT_EQ(iommu.destroy(other), ok());
}

TEST_F(Cdev, PageTablesOfItsOwn) {
  Iommu iommu;
  const std::uint32_t ioas = iommu.ioas();
  Node node(edu());
  std::uint32_t device = 0;
  ASSERT_EQ(node.bind(iommu.fd(), &device), ok());
  HwptAlloc alloc{};
  alloc.dev_id = device;
  alloc.pt_id = ioas;
  ASSERT_EQ(iommu.call(kHwptAlloc, alloc), ok());
  const std::uint32_t table = alloc.out_hwpt_id;
  EXPECT_EQ(iommu.destroy(ioas), failed(EBUSY));
  std::uint32_t told = 0;
  EXPECT_EQ(node.attach(table, &told), ok());
  EXPECT_EQ(told, table);
  EXPECT_EQ(iommu.destroy(table), failed(EBUSY));
  EXPECT_EQ(node.detach(), ok());
  EXPECT_EQ(iommu.destroy(table), ok()) << "stays without devices, until it is destroyed";
  EXPECT_EQ(iommu.destroy(ioas), ok());
  alloc = {};
  alloc.dev_id = device;
  alloc.pt_id = 9999;
  EXPECT_EQ(iommu.call(kHwptAlloc, alloc), failed(EINVAL));
  alloc.dev_id = 9999;
  EXPECT_EQ(iommu.call(kHwptAlloc, alloc), failed(ENOENT));
}

TEST_F(Cdev, HardwareInfo) {
  Iommu iommu;
  Node node(edu());
  HwInfo info{};
  EXPECT_EQ(iommu.call(kGetHwInfo, info), failed(ENOENT));
  ASSERT_EQ(node.bind(iommu.fd(), &info.dev_id), ok());
  EXPECT_EQ(iommu.call(kGetHwInfo, info), ok());
  info.flags = 0x80;
  EXPECT_EQ(iommu.call(kGetHwInfo, info), failed(EOPNOTSUPP));
}

/// DMA of edu to `iova` and back, and whether it came through.
bool dma_works(Node& node, std::uint8_t* memory, std::uint64_t iova) {
  Edu device(node);
  std::memset(memory, 0x5a, 64);
  if (!device.to_device(iova, 64)) return false;
  std::memset(memory, 0, 64);
  if (!device.from_device(iova, 64)) return false;
  return memory[0] == 0x5a && memory[63] == 0x5a;
}

TEST_F(Cdev, DmaFollowsTheAddressSpace) {
  Iommu iommu;
  const std::uint32_t ioas = iommu.ioas(), empty = iommu.ioas();
  Memory memory(4 * kPage);
  constexpr std::uint64_t kIova = 0x200000;
  ASSERT_EQ(iommu.map_at(ioas, memory.address(), 2 * kPage, kIova), ok()) << "before there is a device";
  Node node(edu());
  ASSERT_EQ(node.bind(iommu.fd()), ok());
  node.set_bus_master(true);
  EXPECT_FALSE(dma_works(node, memory.data(), kIova)) << "bound, and attached to nothing";
  ASSERT_EQ(node.attach(ioas), ok());
  EXPECT_TRUE(dma_works(node, memory.data(), kIova));
  ASSERT_EQ(iommu.map_at(ioas, memory.address() + 2 * kPage, kPage, kIova + 0x10000), ok());
  EXPECT_TRUE(dma_works(node, memory.data() + 2 * kPage, kIova + 0x10000));
  EXPECT_EQ(iommu.map_at(ioas, memory.address() + 8, kPage, kIova + 0x20000), failed(EINVAL)) << "alignment";
  ASSERT_EQ(iommu.unmap(ioas, kIova + 0x10000, kPage).outcome, ok());
  EXPECT_FALSE(dma_works(node, memory.data() + 2 * kPage, kIova + 0x10000));
  ASSERT_EQ(node.attach(empty), ok());
  EXPECT_FALSE(dma_works(node, memory.data(), kIova));
  ASSERT_EQ(node.attach(ioas), ok());
  EXPECT_TRUE(dma_works(node, memory.data(), kIova));
  ASSERT_EQ(node.detach(), ok());
  EXPECT_FALSE(dma_works(node, memory.data(), kIova));
}

TEST_F(Cdev, MapsAtTheEdgesOfTheRanges) {
  Iommu iommu;
  const std::uint32_t ioas = iommu.ioas();
  Node node(edu());
  ASSERT_EQ(node.bind(iommu.fd()), ok());
  ASSERT_EQ(node.attach(ioas), ok());
  Memory memory(2 * kPage);
  for (const IovaSpan& span : iommu.ranges(ioas)) {
    ASSERT_LT(span.start, span.last);
    const std::uint64_t last_page = span.last & ~(kPage - 1);
    ASSERT_EQ(iommu.map_at(ioas, memory.address(), kPage, last_page), ok());
    if (last_page + kPage != 0) {
      EXPECT_EQ(iommu.map_at(ioas, memory.address(), kPage, last_page + kPage), failed(EINVAL)) << "behind it";
    }
    ASSERT_EQ(iommu.map_at(ioas, memory.address() + kPage, kPage, span.start), ok());
    EXPECT_EQ(iommu.unmap(ioas, last_page, kPage).size, kPage);
    EXPECT_EQ(iommu.unmap(ioas, 0, kAll).size, kPage);
  }
  EXPECT_EQ(iommu.map_at(ioas, memory.address(), 2 * kPage, kAll - kPage + 1), failed(EOVERFLOW));
  EXPECT_EQ(iommu.unmap(ioas, kAll - kPage + 1, 2 * kPage).outcome, failed(EOVERFLOW));
  IovaSpan beyond{0, kAll};
  AllowIovas allow{0, ioas, 1, 0, reinterpret_cast<std::uint64_t>(&beyond)};
  EXPECT_EQ(iommu.call(kIoasAllowIovas, allow), failed(EADDRINUSE));
}

TEST_F(Cdev, WhatIsMappedMustFitTheDevice) {
  Iommu iommu;
  const std::uint32_t far = iommu.ioas(), odd = iommu.ioas(), wanted = iommu.ioas(), gone = iommu.ioas();
  Memory memory(2 * kPage);
  Node node(edu());
  ASSERT_EQ(node.bind(iommu.fd()), ok());
  ASSERT_EQ(iommu.map_at(far, memory.address(), kPage, kAll - 2 * kPage + 1), ok());
  EXPECT_EQ(node.attach(far), failed(EADDRINUSE));
  ASSERT_EQ(iommu.map_at(odd, memory.address() + 1, 77, 0x200003), ok()) << "any address will do before that";
  EXPECT_EQ(node.attach(odd), failed(EADDRINUSE));
  IovaSpan beyond{0, kAll};
  AllowIovas allow{0, wanted, 1, 0, reinterpret_cast<std::uint64_t>(&beyond)};
  ASSERT_EQ(iommu.call(kIoasAllowIovas, allow), ok());
  EXPECT_EQ(node.attach(wanted), failed(EADDRINUSE));
  {
    Memory freed(kPage, PROT_NONE);
    ASSERT_EQ(iommu.map_at(gone, freed.address(), kPage, 0x200000), ok()) << "it is looked at when it is pinned";
    EXPECT_EQ(node.attach(gone), failed(EFAULT));
  }
  EXPECT_EQ(iommu.unmap(gone, 0, kAll).size, kPage);
  EXPECT_EQ(node.attach(gone), ok()) << "nothing of the failures is left";
  for (const std::uint32_t ioas : {far, odd, wanted}) EXPECT_EQ(iommu.destroy(ioas), ok());
}

TEST_F(Cdev, MapOfAFile) {
  Iommu iommu;
  const std::uint32_t ioas = iommu.ioas();
  const Fd file(::memfd_create("memory", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(file.get(), 4 * kPage), 0);
  Memory memory(4 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, file.get());
  Node node(edu());
  ASSERT_EQ(node.bind(iommu.fd()), ok());
  ASSERT_EQ(node.attach(ioas), ok());
  node.set_bus_master(true);
  IoasMapFile map{0, kMapFixedIova | kReadWrite, ioas, file.get(), kPage, 2 * kPage, 0x300000};
  ASSERT_EQ(iommu.call(kIoasMapFile, map), ok());
  EXPECT_TRUE(dma_works(node, memory.data() + kPage, 0x300000));
  map.fd = 9999;
  EXPECT_EQ(iommu.call(kIoasMapFile, map), failed(EBADF));
  map.fd = file.get();
  map.iova = 0x400000;
  map.length = 8 * kPage;
  EXPECT_EQ(iommu.call(kIoasMapFile, map), failed(EINVAL)) << "beyond its end";
  EXPECT_EQ(iommu.unmap(ioas, 0, kAll).size, 2 * kPage);
}

TEST_F(Cdev, DirtyTrackingIsNotThere) {
  Iommu iommu;
  const std::uint32_t ioas = iommu.ioas();
  Node node(edu());
  std::uint32_t table = 0;
  ASSERT_EQ(node.bind(iommu.fd()), ok());
  ASSERT_EQ(node.attach(ioas, &table), ok());
  if (std::getenv("CONFORMANCE_LINUX")) GTEST_SKIP() << "an IOMMU may have it";
  SetDirtyTracking set{0, kDirtyTrackingEnable, table, 0};
  EXPECT_EQ(iommu.call(kSetDirtyTracking, set), failed(EOPNOTSUPP));
  std::uint64_t bits = 0;
  GetDirtyBitmap get{0, table, 0, 0, 0, kPage, kPage, reinterpret_cast<std::uint64_t>(&bits)};
  EXPECT_EQ(iommu.call(kGetDirtyBitmap, get), failed(EOPNOTSUPP));
  get.page_size = 0;
  EXPECT_EQ(iommu.call(kGetDirtyBitmap, get), failed(EINVAL));
  get.hwpt_id = ioas;
  EXPECT_EQ(iommu.call(kGetDirtyBitmap, get), failed(ENOENT));
}

TEST_F(Cdev, AnyOrderOfClosing) {
  Memory memory(kPage);
  Node node(edu());
  {
    Iommu iommu;
    const std::uint32_t ioas = iommu.ioas();
    ASSERT_EQ(node.bind(iommu.fd()), ok());
    ASSERT_EQ(node.attach(ioas), ok());
    ASSERT_EQ(iommu.map_at(ioas, memory.address(), kPage, 0x200000), ok());
  }
  node.set_bus_master(true);
  EXPECT_TRUE(dma_works(node, memory.data(), 0x200000)) << "the device keeps what it is attached to";
  node.close();
  Node next(edu());
  Iommu iommu;
  EXPECT_EQ(next.bind(iommu.fd()), ok()) << "all of it went with the device";
}

TEST_F(Cdev, InTheRoleOfAContainer) {
  for (const unsigned long type : {VFIO_TYPE1_IOMMU, VFIO_TYPE1v2_IOMMU}) {
    Iommu iommu;
    Group group(Machine::group_of(edu()));
    const int fd = iommu.fd();
    ASSERT_EQ(outcome_of(::ioctl(group.fd(), VFIO_GROUP_SET_CONTAINER, &fd)), ok());
    std::uint32_t flags = 0;
    EXPECT_EQ(group.status(&flags), ok());
    EXPECT_EQ(flags, 3u);
    EXPECT_EQ(outcome_of(::ioctl(fd, VFIO_SET_IOMMU, type)), ok());
    const Outcome opened = group.device(edu());
    ASSERT_EQ(opened.error, 0);
    Device device(static_cast<int>(opened.value));
    device.set_bus_master(true);
    DeviceBind bind{16, 0, fd, 0, 0};
    EXPECT_EQ(device.ioctl(kDeviceBind, reinterpret_cast<std::uint64_t>(&bind)), failed(EINVAL));
    Memory memory(kPage);
    vfio_iommu_type1_dma_map map{sizeof map, VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE, memory.address(), 0x200000, kPage};
    ASSERT_EQ(outcome_of(::ioctl(fd, VFIO_IOMMU_MAP_DMA, &map)), ok());
    std::memset(memory.data(), 0x42, 64);
    Edu dma(device);
    EXPECT_TRUE(dma.to_device(0x200000, 64));
    std::memset(memory.data(), 0, 64);
    EXPECT_TRUE(dma.from_device(0x200000, 64));
    EXPECT_EQ(memory.data()[63], 0x42);
    EXPECT_EQ(group.unset_container(), ok());
  }
}

}  // namespace
}  // namespace conformance
