// SPDX-License-Identifier: LGPL-2.1-or-later
// vfio_notification.h as a program uses it, on the model: what is asked for and
// answered, each kind, errors, and a vector that moves while the device fires.
#include <fcntl.h>
#include <poll.h>

#include <atomic>
#include <thread>

#include "vfio-glue/engine/device.h"
#include "vfio-glue/vfio_notification.h"
#include "vfio_engine_rig.h"

namespace pviommu::vfio {
namespace {

constexpr std::uint16_t kGuest = 7;

struct Irqs {
  struct Header {  // vfio_irq_set without its array
    std::uint32_t argsz, flags, index, start, count;
  };
  struct Set {
    Header header;
    pviommu_notification data[4];
  };
  struct Info {
    pviommu_irq_info info;
    pviommu_irq_info_cap_notifications capability;
  };

  explicit Irqs(std::uint32_t which = VFIO_PCI_MSIX_IRQ_INDEX) : index(which) {
    int container = rig.open_container();
    const bool msix = index == VFIO_PCI_MSIX_IRQ_INDEX;
    const char* name = msix ? "0000:00:05.0" : "0000:00:06.0";
    int group = -1;
    for (const auto& info : *rig.engine->hypervisor().devices())
      if (to_string(info.sbdf) == name) group = rig.open_group(info.group);
    EXPECT_EQ(rig.client.ioctl(group, VFIO_GROUP_SET_CONTAINER, &container), 0);
    EXPECT_EQ(rig.client.ioctl(container, VFIO_SET_IOMMU, reinterpret_cast<void*>(VFIO_TYPE1_IOMMU)), 0);
    device = static_cast<int>(rig.client.ioctl(group, VFIO_GROUP_GET_DEVICE_FD, const_cast<char*>(name)));
    EXPECT_GE(device, 0);
    fd = ::eventfd(0, EFD_NONBLOCK);
  }
  ~Irqs() { ::close(fd); }

  long ask(std::uint32_t argsz = sizeof(Info), std::uint32_t flags = PVIOMMU_IRQ_INFO_FLAG_CAPS) {
    reply = {};
    reply.info.info = {.argsz = argsz, .flags = flags, .index = index, .count = 0};
    return rig.client.ioctl(device, VFIO_DEVICE_GET_IRQ_INFO, &reply);
  }
  long set(std::initializer_list<pviommu_notification> wanted, std::uint32_t start = 0,
           std::uint32_t action = VFIO_IRQ_SET_ACTION_TRIGGER) {
    sent = {};
    sent.header = {
        .argsz = static_cast<std::uint32_t>(sizeof sent.header + wanted.size() * sizeof sent.data[0]),
        .flags = action | PVIOMMU_IRQ_SET_DATA_NOTIFICATION,
        .index = index,
        .start = start,
        .count = static_cast<std::uint32_t>(wanted.size())};
    std::copy(wanted.begin(), wanted.end(), sent.data);
    return rig.client.ioctl(device, VFIO_DEVICE_SET_IRQS, &sent);
  }
  pviommu_notification eventfd() const { return {PVIOMMU_NOTIFY_EVENTFD, 0, {fd}, 0}; }
  static pviommu_notification none() { return {PVIOMMU_NOTIFY_NONE, 0, {0}, 0}; }
  static pviommu_notification channel(std::uint32_t port) {
    return {PVIOMMU_NOTIFY_EVENT_CHANNEL, PVIOMMU_DOMID_SELF, {static_cast<std::int32_t>(port)}, 0};
  }
  static pviommu_notification guest(std::uint8_t gvec, std::uint16_t domid = kGuest) {
    return {PVIOMMU_NOTIFY_GUEST_VECTOR, domid, {gvec}, 0};
  }
  long trigger(std::uint32_t vector) {
    vfio_irq_set trigger{.argsz = sizeof trigger,
                         .flags = VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_NONE,
                         .index = index,
                         .start = vector,
                         .count = 1};
    return rig.client.ioctl(device, VFIO_DEVICE_SET_IRQS, &trigger);
  }

  std::uint64_t eventfd_count() {
    std::uint64_t value = 0;
    return ::read(fd, &value, sizeof value) == sizeof value ? value : 0;
  }
  std::uint64_t guest_count(std::uint8_t gvec) {
    std::uint64_t sum = 0;
    for (const auto& interrupt : rig.model->guest_interrupts(Domid(kGuest)))
      if (interrupt.gvec == gvec) sum += interrupt.count;
    return sum;
  }
  /// Each port once: event channels are bits.
  std::vector<std::uint32_t> ports() {
    EventPort read[8];
    std::vector<std::uint32_t> numbers;
    const std::size_t taken = rig.model->read_events(read);
    for (std::size_t i = 0; i < taken; ++i) numbers.push_back(read[i].raw());
    return numbers;
  }

  EngineRig rig;
  const std::uint32_t index;
  int device = -1, fd = -1;
  Info reply{};
  Set sent{};
};

TEST(Notifications, AreInvisibleToWhoDoesNotAsk) {
  Irqs irqs;
  // The answers of a kernel, whatever is behind the structure.
  for (const auto& [argsz, flags] :
       {std::pair{16u, PVIOMMU_IRQ_INFO_FLAG_CAPS}, std::pair{23u, PVIOMMU_IRQ_INFO_FLAG_CAPS},
        std::pair{40u, 0u}, std::pair{40u, 0x7fffffffu}}) {
    ASSERT_EQ(irqs.ask(argsz, flags), 0);
    EXPECT_EQ(irqs.reply.info.info.argsz, argsz);
    EXPECT_EQ(irqs.reply.info.info.flags, 1u);
    EXPECT_EQ(irqs.reply.info.cap_offset, 0u);
    EXPECT_EQ(irqs.set({irqs.eventfd()}), -EINVAL);
  }
  // To know that the chain is longer is not to have read it.
  ASSERT_EQ(irqs.ask(sizeof(pviommu_irq_info)), 0);
  EXPECT_EQ(irqs.reply.info.info.argsz, sizeof(Irqs::Info));
  EXPECT_EQ(irqs.reply.info.info.flags, 1u | PVIOMMU_IRQ_INFO_FLAG_CAPS);
  EXPECT_EQ(irqs.reply.info.cap_offset, 0u);
  EXPECT_EQ(irqs.set({irqs.eventfd()}), -EINVAL);

  ASSERT_EQ(irqs.ask(), 0);
  EXPECT_EQ(irqs.reply.info.cap_offset, sizeof(pviommu_irq_info));
  EXPECT_EQ(irqs.reply.capability.header.id, PVIOMMU_IRQ_INFO_CAP_NOTIFICATIONS);
  EXPECT_EQ(irqs.reply.capability.header.version, 1u);
  EXPECT_EQ(irqs.reply.capability.header.next, 0u);
  EXPECT_EQ(irqs.reply.capability.kinds,
            PVIOMMU_NOTIFY_EVENTFD | PVIOMMU_NOTIFY_EVENT_CHANNEL | PVIOMMU_NOTIFY_GUEST_VECTOR);
  EXPECT_EQ(irqs.reply.capability.event_fd, irqs.rig.model->event_fd());
  EXPECT_EQ(irqs.set({irqs.eventfd()}), 0);
}

TEST(Notifications, OfTheOtherIndexes) {
  Irqs irqs;
  ASSERT_EQ(irqs.ask(), 0);
  for (const std::uint32_t other : {VFIO_PCI_INTX_IRQ_INDEX, VFIO_PCI_REQ_IRQ_INDEX}) {
    Irqs::Info info{};
    info.info.info = {.argsz = sizeof info, .flags = PVIOMMU_IRQ_INFO_FLAG_CAPS, .index = other, .count = 0};
    ASSERT_EQ(irqs.rig.client.ioctl(irqs.device, VFIO_DEVICE_GET_IRQ_INFO, &info), 0);
    EXPECT_EQ(info.capability.kinds, PVIOMMU_NOTIFY_EVENTFD);
    EXPECT_EQ(info.capability.event_fd, -1);
    Irqs::Set set{{sizeof set, VFIO_IRQ_SET_ACTION_TRIGGER | PVIOMMU_IRQ_SET_DATA_NOTIFICATION, other, 0, 1},
                  {}};
    EXPECT_EQ(irqs.rig.client.ioctl(irqs.device, VFIO_DEVICE_SET_IRQS, &set), -ENOTTY);
  }
}

TEST(Notifications, EachKindAndBack) {
  Irqs irqs;
  ASSERT_EQ(irqs.ask(), 0);
  ASSERT_EQ(irqs.set({irqs.eventfd(), Irqs::channel(21), Irqs::guest(0x50), Irqs::none()}), 0);
  for (std::uint32_t vector = 0; vector < 4; ++vector) EXPECT_EQ(irqs.trigger(vector), 0);
  EXPECT_EQ(irqs.eventfd_count(), 1u);
  EXPECT_EQ(irqs.ports(), std::vector<std::uint32_t>{21});
  EXPECT_EQ(irqs.guest_count(0x50), 1u);

  // In the middle of the range, and the port is the hypervisor's to choose.
  ASSERT_EQ(irqs.set({Irqs::channel(0)}, 2), 0);
  EXPECT_NE(irqs.sent.data[0].port, 0u);
  EXPECT_EQ(irqs.trigger(2), 0);
  EXPECT_EQ(irqs.ports(), std::vector<std::uint32_t>{irqs.sent.data[0].port});

  // An old SET_IRQS takes them back.
  struct {
    Irqs::Header header;
    std::int32_t fds[4];
  } old{{sizeof old, VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_EVENTFD, irqs.index, 0, 4},
        {irqs.fd, irqs.fd, irqs.fd, irqs.fd}};
  ASSERT_EQ(irqs.rig.client.ioctl(irqs.device, VFIO_DEVICE_SET_IRQS, &old), 0);
  for (std::uint32_t vector = 0; vector < 4; ++vector) EXPECT_EQ(irqs.trigger(vector), 0);
  EXPECT_EQ(irqs.eventfd_count(), 4u);
  EXPECT_EQ(irqs.guest_count(0x50), 1u);
  EXPECT_TRUE(irqs.ports().empty());
}

// As a program takes them, with nothing but this interface: read, poll, write back.
TEST(Notifications, PortsAreReadOnTheDescriptorThatIsTold) {
  Irqs irqs;
  ASSERT_EQ(irqs.ask(), 0);
  const UniqueFd events(::fcntl(irqs.reply.capability.event_fd, F_DUPFD_CLOEXEC, 0));
  ASSERT_TRUE(events);
  const auto readable = [&] {
    pollfd wait{events.get(), POLLIN, 0};
    return ::poll(&wait, 1, 0) == 1;
  };
  ASSERT_EQ(irqs.set({Irqs::channel(0), Irqs::channel(0), irqs.eventfd()}), 0);
  const std::uint32_t ports[] = {irqs.sent.data[0].port, irqs.sent.data[1].port};
  ASSERT_NE(ports[0], ports[1]);
  std::uint32_t read[4];
  EXPECT_FALSE(readable());
  EXPECT_EQ(::read(events.get(), read, sizeof read), -1);
  EXPECT_EQ(errno, EAGAIN);
  for (unsigned round = 0; round < 1000; ++round) {
    for (const std::uint32_t vector : {1, 0, 1}) ASSERT_EQ(irqs.trigger(vector), 0);
    ASSERT_TRUE(readable());
    ASSERT_EQ(::read(events.get(), read, sizeof read), 8) << "event channels are bits";
    ASSERT_EQ(read[0], ports[1]);
    ASSERT_EQ(read[1], ports[0]);
    ASSERT_EQ(::write(events.get(), read, 8), 8);
    ASSERT_FALSE(readable());
  }
  // Of the eventfd's vector and of one that was taken back nothing is read.
  ASSERT_EQ(irqs.set({Irqs::none()}, 1), 0);
  for (const std::uint32_t vector : {0, 2}) ASSERT_EQ(irqs.trigger(vector), 0);
  ASSERT_EQ(::read(events.get(), read, sizeof read), 4);
  EXPECT_EQ(read[0], ports[0]);
}

TEST(Notifications, BadOnesChangeNothing) {
  Irqs irqs;
  ASSERT_EQ(irqs.ask(), 0);
  ASSERT_EQ(irqs.set({Irqs::guest(0x50), Irqs::guest(0x51)}), 0);
  const auto refused = [&](pviommu_notification bad, int error) {
    EXPECT_EQ(irqs.set({Irqs::guest(0x60), bad}), -error);
  };
  refused({8, 0, {0}, 0}, EINVAL);  // no kind
  refused({PVIOMMU_NOTIFY_EVENTFD | PVIOMMU_NOTIFY_GUEST_VECTOR, 0, {0}, 0}, EINVAL);
  refused({PVIOMMU_NOTIFY_NONE, 0, {1}, 0}, EINVAL);
  refused({PVIOMMU_NOTIFY_NONE, 1, {0}, 0}, EINVAL);
  refused({PVIOMMU_NOTIFY_EVENTFD, 0, {-1}, 0}, EBADF);
  refused({PVIOMMU_NOTIFY_EVENTFD, 0, {9999}, 0}, EBADF);
  refused({PVIOMMU_NOTIFY_EVENTFD, 0, {irqs.fd}, 1}, EINVAL);  // gflags
  refused({PVIOMMU_NOTIFY_EVENT_CHANNEL, 7, {0}, 0}, EINVAL);  // a port of another domain cannot be made
  refused({PVIOMMU_NOTIFY_EVENT_CHANNEL, 0x10000, {1}, 0}, EINVAL);
  refused(Irqs::guest(15), EINVAL);
  refused(Irqs::guest(0), EINVAL);  // of no pirq
  refused({PVIOMMU_NOTIFY_GUEST_VECTOR, kGuest, {256}, 0}, EINVAL);
  refused(Irqs::guest(0x50, PVIOMMU_DOMID_SELF), EINVAL);
  EXPECT_EQ(irqs.set({Irqs::guest(0x60)}, 1000), -EINVAL);  // the device has fewer
  EXPECT_EQ(irqs.set({Irqs::guest(0x60)}, 0, VFIO_IRQ_SET_ACTION_MASK), -ENOTTY);
  EXPECT_EQ(irqs.set({Irqs::guest(0x60)}, 0, VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_NONE), -EINVAL);
  irqs.sent.header.argsz -= 1;
  irqs.sent.header.flags = VFIO_IRQ_SET_ACTION_TRIGGER | PVIOMMU_IRQ_SET_DATA_NOTIFICATION;
  EXPECT_EQ(irqs.rig.client.ioctl(irqs.device, VFIO_DEVICE_SET_IRQS, &irqs.sent), -EINVAL);
  EXPECT_EQ(irqs.trigger(0), 0);
  EXPECT_EQ(irqs.trigger(1), 0);
  EXPECT_EQ(irqs.guest_count(0x50), 1u);
  EXPECT_EQ(irqs.guest_count(0x51), 1u);
  EXPECT_EQ(irqs.guest_count(0x60), 0u);
}

TEST(Notifications, MoreOfThemAreAddedToThoseThatRun) {
  Irqs irqs;
  ASSERT_EQ(irqs.ask(), 0);
  ASSERT_EQ(irqs.set({Irqs::guest(0x50)}), 0);
  ASSERT_EQ(irqs.set({Irqs::guest(0x52), Irqs::guest(0x53)}, 2), 0);
  for (const std::uint32_t vector : {0, 1, 2, 3}) EXPECT_EQ(irqs.trigger(vector), 0);
  for (const unsigned gvec : {0x50, 0x52, 0x53}) EXPECT_EQ(irqs.guest_count(gvec), 1u) << gvec;
}

TEST(Notifications, AFailedFirstSetLeavesTheVectorsOff) {
  Irqs irqs;
  ASSERT_EQ(irqs.ask(), 0);
  EXPECT_EQ(irqs.set({irqs.eventfd(), Irqs::guest(3)}), -EINVAL);
  EXPECT_EQ(irqs.trigger(0), -EINVAL) << "not enabled";
  EXPECT_EQ(irqs.set({}), -ERANGE);
}

// edu's MSI has no mask bits, so nothing but the order holds an arrival back.
TEST(Notifications, AVectorMovesWhileTheDeviceFires) {
  Irqs irqs(VFIO_PCI_MSI_IRQ_INDEX);
  ASSERT_EQ(irqs.ask(), 0);
  ASSERT_EQ(irqs.set({irqs.eventfd()}), 0);
  const FileRef device = irqs.rig.client.file_of(irqs.device);
  // Memory decoding and bus mastering on.
  const std::uint16_t command = 6;
  ASSERT_EQ(device->pwrite(irqs.rig.client, reinterpret_cast<std::uint64_t>(&command), 2,
                           static_cast<std::int64_t>(region_offset(VFIO_PCI_CONFIG_REGION_INDEX) + 4)),
            2);
  constexpr unsigned kArrivals = 3000;
  std::atomic<unsigned> fired{0};
  std::uint64_t events = 0;
  std::thread firing([&] {
    LocalClient client;
    const std::uint32_t value = 1;
    for (; fired < kArrivals; ++fired) {
      for (const std::int64_t offset : {0x60, 0x64})  // raise, acknowledge
        ASSERT_EQ(device->pwrite(client, reinterpret_cast<std::uint64_t>(&value), 4, offset), 4);
    }
  });
  do {
    ASSERT_EQ(irqs.set({Irqs::guest(0x50)}), 0);
    ASSERT_EQ(irqs.set({Irqs::guest(0x51)}), 0);
    ASSERT_EQ(irqs.set({irqs.eventfd()}), 0);
    events += irqs.eventfd_count();
  } while (fired < kArrivals);
  firing.join();
  events += irqs.eventfd_count();
  EXPECT_EQ(events + irqs.guest_count(0x50) + irqs.guest_count(0x51), kArrivals);
}

}  // namespace
}  // namespace pviommu::vfio
