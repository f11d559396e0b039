// SPDX-License-Identifier: LGPL-2.1-or-later
// Cases A and B: a container without a group, groups, the orders of closing.
#include <sys/stat.h>

#include "tests/conformance/answers/answers.h"

namespace conformance::answers {
namespace {

constexpr std::uint64_t kNowhere = 8;
constexpr unsigned long kUnknown = _IO(VFIO_TYPE, 255), kTcgets = 0x5401;
constexpr unsigned kExtensions = 13;

std::string node_of(const std::string& device) { return "/dev/vfio/" + Machine::group_of(device); }
long open_node(const std::string& path, int flags = O_RDWR | O_CLOEXEC) { return ::open(path.c_str(), flags); }
Outcome map_one(const Container& container, Memory& memory, std::uint64_t iova = 0x10000) {
  return container.map(iova, memory.address(), kPage);
}
/// MAP of one page, and how many mappings there are then.
void answer_map(const std::string& name, const Container& container, Memory& memory) {
  const Outcome outcome = map_one(container, memory);
  answer(name, outcome, format("maps=%ld", container.live()));
}
std::string flags_of(const Group& group, Outcome* outcome) {
  std::uint32_t flags = 0;
  *outcome = group.status(&flags);
  return format("flags=0x%x", flags);
}
void answer_status(const std::string& name, const Group& group) {
  Outcome outcome;
  const std::string outputs = flags_of(group, &outcome);
  answer(name, outcome, outputs);
}
void answer_device(const std::string& name, const Group& group, const std::string& device) {
  const Outcome opened = group.device(device);
  if (opened.error)
    answer(name, opened);
  else
    answer_opened(name, opened.value);
}

}  // namespace

void container_without_group() {
  Container container;
  answer("A01 open container", container.fd() < 0 ? failed(errno) : ok());
  answer_opened("A02 open container a second time", open_node("/dev/vfio/vfio"));
  {
    const Fd read_only(::open("/dev/vfio/vfio", O_RDONLY | O_CLOEXEC));
    answer("A03 open container O_RDONLY", read_only ? ok() : failed(errno));
    answer("A04 API_VERSION on O_RDONLY", outcome_of(::ioctl(read_only.get(), VFIO_GET_API_VERSION)));
  }
  answer("A05 API_VERSION", container.ioctl(VFIO_GET_API_VERSION));
  for (unsigned number = 0; number < kExtensions; ++number)
    answer(format("A07 CHECK_EXTENSION %u no group", number), container.ioctl(VFIO_CHECK_EXTENSION, number));
  for (unsigned long type = 0; type < 10; ++type)
    answer(format("A09 SET_IOMMU %lu no group", type), container.ioctl(VFIO_SET_IOMMU, type));
  Memory memory(kPage);
  answer("A11 MAP_DMA no group", map_one(container, memory));
  answer("A12 UNMAP_DMA no group", container.unmap(0x10000, kPage).outcome);
  vfio_iommu_type1_dirty_bitmap dirty{.argsz = sizeof dirty, .flags = 1};
  answer("A13 DIRTY_PAGES no group", container.ioctl(VFIO_IOMMU_DIRTY_PAGES, address_of(dirty)));
  answer("A14 GET_INFO no group", container.ioctl(VFIO_IOMMU_GET_INFO, address_of(dirty)));
  answer("A15 foreign ioctl TCGETS no group", container.ioctl(kTcgets, kNowhere));
  answer("A15 unknown ioctl no group", container.ioctl(kUnknown));
  char byte = 0;
  answer("A16 read container", outcome_of(::read(container.fd(), &byte, 1)));
  answer("A17 write container", outcome_of(::write(container.fd(), &byte, 1)));
  answer("A18 pread container", outcome_of(::pread(container.fd(), &byte, 1, 0)));
  answer("A18b pwrite container", outcome_of(::pwrite(container.fd(), &byte, 1, 0)));
  answer("A18c lseek container", outcome_of(::lseek(container.fd(), 0, SEEK_SET)));
  answer_mapped("A19 mmap container", ::mmap(nullptr, kPage, PROT_READ, MAP_SHARED, container.fd(), 0), kPage);
  std::uint32_t words[4] = {sizeof words};
  answer("A21 GROUP ioctl on container (GET_STATUS)", container.ioctl(VFIO_GROUP_GET_STATUS, address_of(words)));
  answer("A22 DEVICE ioctl on container (GET_INFO)", container.ioctl(VFIO_DEVICE_GET_INFO, address_of(words)));
  const int fd = container.fd();
  answer("A23 close container", outcome_of(::close(::dup(fd))));
}

void group() {
  const std::string edu = Machine::get().edu, node = node_of(edu);
  answer_opened("B01 open missing group /dev/vfio/9999", open_node("/dev/vfio/9999"));
  answer_opened("B02 open group O_RDONLY", open_node(node, O_RDONLY | O_CLOEXEC));
  Group group(Machine::group_of(edu));
  answer("B03 open group", group.fd() < 0 ? failed(errno) : ok());
  answer_opened("B04 second open of the same group", open_node(node));
  answer("B05 second open from another process",
         child_says([&] { return Said{outcome_of(open_node(node)), 0}; }).outcome);
  for (std::uint32_t argsz : {0u, 4u, 7u, 8u, 12u, 16u}) {
    vfio_group_status status{.argsz = argsz, .flags = 0};
    const Outcome outcome = outcome_of(::ioctl(group.fd(), VFIO_GROUP_GET_STATUS, &status));
    answer(format("B07 GET_STATUS argsz=%u", argsz), outcome, format("argsz=%u flags=0x%x", status.argsz, status.flags));
  }
  const auto call = [&](unsigned long request, std::uint64_t argument = 0) {
    return outcome_of(::ioctl(group.fd(), request, argument));
  };
  answer("B10 GET_STATUS bad pointer", call(VFIO_GROUP_GET_STATUS, kNowhere));
  answer("B11 GET_DEVICE_FD before SET_CONTAINER", group.device(edu));
  answer("B12 GET_DEVICE_FD wrong name before SET_CONTAINER", group.device("0000:ff:1f.7"));
  answer("B13 UNSET_CONTAINER before SET_CONTAINER", group.unset_container());
  answer("B14 unknown ioctl on group", call(kUnknown));
  answer("B14b foreign ioctl TCGETS on group", call(kTcgets, kNowhere));
  answer("B15 container ioctl on group (API_VERSION)", call(VFIO_GET_API_VERSION));
  vfio_iommu_type1_dma_map map{.argsz = sizeof map, .flags = 3, .vaddr = 0, .iova = 0, .size = kPage};
  answer("B16 MAP_DMA on group", call(VFIO_IOMMU_MAP_DMA, address_of(map)));
  const auto set = [&](int fd) { return call(VFIO_GROUP_SET_CONTAINER, address_of(fd)); };
  answer("B17 SET_CONTAINER fd -1", set(-1));
  answer("B18 SET_CONTAINER fd 9999", set(9999));
  const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC)), event = make_eventfd();
  answer("B19 SET_CONTAINER fd of /dev/null", set(null.get()));
  answer("B20 SET_CONTAINER eventfd", set(event.get()));
  answer("B21 SET_CONTAINER its own fd", set(group.fd()));
  answer("B22 SET_CONTAINER NULL", call(VFIO_GROUP_SET_CONTAINER));
  char byte = 0;
  answer("B23 read group", outcome_of(::read(group.fd(), &byte, 1)));
  answer("B24 write group", outcome_of(::write(group.fd(), &byte, 1)));
  answer("B24b lseek group", outcome_of(::lseek(group.fd(), 0, SEEK_SET)));
  answer_mapped("B25 mmap group", ::mmap(nullptr, kPage, PROT_READ, MAP_SHARED, group.fd(), 0), kPage);

  Container container, other;
  answer("B26 SET_CONTAINER", set(container.fd()));
  answer("B27 SET_CONTAINER again same container", set(container.fd()));
  answer("B28 SET_CONTAINER again other container", set(other.fd()));
  answer_status("B29 GET_STATUS after SET_CONTAINER", group);
  answer("B30 GET_DEVICE_FD after SET_CONTAINER before SET_IOMMU", group.device(edu));
  vfio_iommu_type1_info info{};
  info.argsz = sizeof info;
  answer("B31 IOMMU_GET_INFO before SET_IOMMU", container.ioctl(VFIO_IOMMU_GET_INFO, address_of(info)));
  Memory memory(kPage);
  answer("B32 MAP_DMA before SET_IOMMU", map_one(container, memory));
  answer("B34 unknown ioctl on container before SET_IOMMU", container.ioctl(kUnknown));
  for (unsigned number = 0; number < kExtensions; ++number)
    answer(format("B35 CHECK_EXTENSION %u group set, no iommu", number), container.ioctl(VFIO_CHECK_EXTENSION, number));
  for (long type : {0l, 2l, 4l, 5l, 7l, 8l, 9l, 10l, 99l, -1l})
    answer(format("B36 SET_IOMMU %ld", type), container.ioctl(VFIO_SET_IOMMU, static_cast<std::uint64_t>(type)));
  answer("B37 SET_IOMMU 1", container.ioctl(VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU));
  answer("B38 SET_IOMMU 1 again", container.ioctl(VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU));
  answer("B39 SET_IOMMU 3 after 1", container.ioctl(VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU));
  for (unsigned number = 0; number < kExtensions; ++number)
    answer(format("B40 CHECK_EXTENSION %u after SET_IOMMU 1", number), container.ioctl(VFIO_CHECK_EXTENSION, number));
  answer("B41 GET_DEVICE_FD wrong name", group.device("0000:ff:1f.7"));
  answer("B42 GET_DEVICE_FD a device of another group", group.device(Machine::get().nvme));
  answer("B43 GET_DEVICE_FD empty name", group.device(""));
  answer("B44 GET_DEVICE_FD NULL", call(VFIO_GROUP_GET_DEVICE_FD));
  answer("B45 GET_DEVICE_FD name of 8999 bytes", group.device(std::string(8999, 'x')));
  answer("B46 GET_DEVICE_FD short name", group.device(edu.substr(5)));
  answer_device("B47 GET_DEVICE_FD name with trailing space", group, edu + " ");
  answer("B48 GET_DEVICE_FD name with an option", group.device(edu + " vf_token=0"));
  {
    const Outcome opened = group.device(edu);
    Device device(static_cast<int>(opened.value));
    answer("B49 GET_DEVICE_FD", opened.error ? opened : ok(), format("cloexec=%d", ::fcntl(device.fd(), F_GETFD)));
    answer_device("B50 GET_DEVICE_FD a second time", group, edu);
    answer("B52 UNSET_CONTAINER with one device fd open", group.unset_container());
    answer_map("B53 MAP_DMA while device open", container, memory);
  }
  answer("B56 last UNSET", group.unset_container());
  answer("B57 MAP_DMA after the last UNSET", map_one(container, memory));
  answer("B58 GET_INFO after the last UNSET", container.ioctl(VFIO_IOMMU_GET_INFO, address_of(info)));
  answer("B60 SET_CONTAINER again", set(container.fd()));
  answer("B61 SET_IOMMU 3 (other type than before)", container.ioctl(VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU));
  answer_map("B62 old mapping gone: MAP same iova", container, memory);
  Group second(Machine::group_of(Machine::get().nvme));
  answer("B63 second group into the same container", second.set_container(container));
  answer_device("B64 device fd in second group", second, Machine::get().nvme);
  answer("B65 UNSET of the first group", group.unset_container());
  const Mapped unmapped = container.unmap(0x10000, kPage);
  answer("B66 unmap after first group left", unmapped.outcome,
         format("size=0x%lx maps=%ld", unmapped.size, container.live()));
}

void closing_orders() {
  const std::string edu = Machine::get().edu, number = Machine::group_of(edu), node = node_of(edu);
  Memory memory(kPage);
  {
    Session session(edu);
    session.container.close();
    answer_status("B72 GET_STATUS after container close", session.group);
    answer_device("B73 GET_DEVICE_FD after container close", session.group, edu);
    session.group.close();
    answer("B74 close group, device still open", session.device.read(7, 0, memory.data(), 4) == ok(4) ? ok() : failed(EIO));
    answer_opened("B76 reopen group while old device fd open", open_node(node));
  }
  answer_opened("B78 reopen group after all closed", open_node(node));
  {
    Session session(edu);
    session.group.close();
    answer("B79 close group first", session.device.read(7, 0, memory.data(), 4) == ok(4) ? ok() : failed(EIO));
    answer_map("B80 MAP_DMA with only device and container open", session.container, memory);
    session.device.close();
    answer("B82 MAP_DMA after the device closed too", map_one(session.container, memory, 0x20000));
    Group again(number);
    answer("B83 reopen group, container still open", again.fd() < 0 ? failed(errno) : ok());
    answer("B84 SET_CONTAINER to old container", again.set_container(session.container));
    answer("B85 SET_IOMMU", session.container.ioctl(VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU));
    answer_map("B86 map same iova is free", session.container, memory);
  }
  {
    Session session(edu);
    session.device.close();
    answer("B87 close device first", session.group.fd() >= 0 ? ok() : failed(EBADF));
    answer_device("B88 GET_DEVICE_FD again after close", session.group, edu);
    session.container.close();
    answer("B90 UNSET_CONTAINER after container fd closed", session.group.unset_container());
    Container fresh;
    answer("B91 SET_CONTAINER new container", session.group.set_container(fresh));
    answer("B92 CHECK_EXTENSION 1 on new container", fresh.ioctl(VFIO_CHECK_EXTENSION, VFIO_TYPE1_IOMMU));
    session.group.close();
    answer_opened("B93 reopen group after group close, container open", open_node(node));
  }
  {
    Container container;
    Group group(number);
    (void)group.set_container(container);
    answer("B95 SET_IOMMU 6 (nesting)", container.ioctl(VFIO_SET_IOMMU, VFIO_TYPE1_NESTING_IOMMU));
  }
  void* bar = MAP_FAILED;
  {
    Session session(edu);
    struct stat about {};
    const Outcome examined = outcome_of(::fstat(session.device.fd(), &about));
    answer("B100 fstat device fd", examined,
           format("mode=0%o nlink=%lu", about.st_mode & 07777u, static_cast<unsigned long>(about.st_nlink)));
    char target[64] = {};
    const std::string link = format("/proc/self/fd/%d", session.device.fd());
    const Outcome followed = outcome_of(::readlink(link.c_str(), target, sizeof target - 1));
    answer("B101 readlink of /proc/self/fd of the device", followed.error ? followed : ok(), target);
    answer("B102 F_GETFL device", outcome_of(::fcntl(session.device.fd(), F_GETFL)));
    answer("B102b F_GETFL group", outcome_of(::fcntl(session.group.fd(), F_GETFL)));
    answer("B102c F_GETFL container", outcome_of(::fcntl(session.container.fd(), F_GETFL)));
    const Said said = child_says([&] {
      Said inherited;
      std::uint32_t word = 0;
      inherited.outcome = session.device.read(7, 0, &word, 4);
      inherited.number = word;
      return inherited;
    });
    answer("B94 child: pread config through inherited device fd", said.outcome, format("0x%lx", said.number));
    bar = ::mmap(nullptr, kPage, PROT_READ, MAP_SHARED, session.device.fd(), 0);
  }
  if (bar != MAP_FAILED) {
    answer("B103 load from a BAR mmap after closing all fds", ok(), load(bar));
    answer_opened("B104 reopen group while only the BAR mmap lives", open_node(node));
    ::munmap(bar, kPage);
  }
  answer_opened("B105 reopen group after its munmap", open_node(node));
}

}  // namespace conformance::answers
