// SPDX-License-Identifier: LGPL-2.1-or-later
// Guest mode and the kinds of notification as a VFIO program meets them.  Part of
// xen_guest; see guest.cc.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/vfio.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "edu.h"
#include "hypercall/unique_fd.h"
#include "tiny_guest.h"
#include "vfio-glue/engine/engine.h"
#include "vfio-glue/vfio_notification.h"
#include "vfio_local_client.h"

using namespace pviommu;

namespace {

struct Program {
  explicit Program(const std::string& hypervisor) {
    vfio::EngineConfig config;
    config.hypervisor = hypervisor;
    config.quiet = true;
    auto created = vfio::Engine::create(config);
    EXPECT_TRUE(created) << to_string(created.error());
    if (!created) return;
    engine = std::move(*created);
    container = *client.install(*engine->open_container());
    auto opened = engine->open_group(kFirstEdu.raw());
    EXPECT_TRUE(opened);
    if (!opened) return;
    group = *client.install(std::move(*opened));
    EXPECT_EQ(client.ioctl(group, VFIO_GROUP_SET_CONTAINER, &container), 0);
    EXPECT_EQ(client.ioctl(container, VFIO_SET_IOMMU, reinterpret_cast<void*>(VFIO_TYPE1v2_IOMMU)), 0);
    char name[] = "0000:00:06.0";
    device = static_cast<int>(client.ioctl(group, VFIO_GROUP_GET_DEVICE_FD, name));
    EXPECT_GT(device, 0);
    const std::uint16_t command = 6;
    write(VFIO_PCI_CONFIG_REGION_INDEX, 4, command);
  }
  ~Program() { client.close_all(); }

  template <class T>
  void write(unsigned region, std::uint64_t at, T value) {
    EXPECT_EQ(client.file_of(device)->pwrite(client, reinterpret_cast<std::uint64_t>(&value), sizeof value,
                                             (std::uint64_t{region} << 40) + at),
              static_cast<long>(sizeof value));
  }
  void raise() { write<std::uint32_t>(0, 0x60, 1); }
  /// What is told of MSI.
  pviommu_irq_info_cap_notifications ask() {
    struct {
      pviommu_irq_info info;
      pviommu_irq_info_cap_notifications notifications;
    } asked{};
    asked.info.info.argsz = sizeof asked;
    asked.info.info.flags = PVIOMMU_IRQ_INFO_FLAG_CAPS;
    asked.info.info.index = VFIO_PCI_MSI_IRQ_INDEX;
    EXPECT_EQ(client.ioctl(device, VFIO_DEVICE_GET_IRQ_INFO, &asked), 0);
    EXPECT_EQ(asked.notifications.header.id, PVIOMMU_IRQ_INFO_CAP_NOTIFICATIONS);
    return asked.notifications;
  }
  long notify(pviommu_notification& wanted) {
    struct {  // vfio_irq_set and its data
      std::uint32_t argsz, flags, index, start, count;
      pviommu_notification wanted;
    } call{sizeof call,
           PVIOMMU_IRQ_SET_DATA_NOTIFICATION | VFIO_IRQ_SET_ACTION_TRIGGER,
           VFIO_PCI_MSI_IRQ_INDEX,
           0,
           1,
           wanted};
    const long result = client.ioctl(device, VFIO_DEVICE_SET_IRQS, &call);
    wanted = call.wanted;
    return result;
  }
  long to_guest(std::uint32_t domid, std::uint32_t gvec) {
    pviommu_notification wanted{};
    wanted.kind = PVIOMMU_NOTIFY_GUEST_VECTOR;
    wanted.domid = domid;
    wanted.gvec = gvec;
    return notify(wanted);
  }
  long to_eventfd(int fd) {
    pviommu_notification wanted{};
    wanted.kind = PVIOMMU_NOTIFY_EVENTFD;
    wanted.eventfd = fd;
    return notify(wanted);
  }

  std::unique_ptr<vfio::Engine> engine;
  vfio::LocalClient client;
  int container = -1, group = -1, device = -1;
};

std::uint64_t take(int fd) {
  eventfd_t count = 0;
  for (int i = 0; i < 2000 && ::eventfd_read(fd, &count) != 0; ++i) ::usleep(1000);
  return count;
}

/// The next port on what the interface has told, ready for its next arrival; 0: none came.
std::uint32_t take_port(int events) {
  pollfd wait{events, POLLIN, 0};
  std::uint32_t ports[4];
  if (::poll(&wait, 1, 2000) != 1 || ::read(events, ports, sizeof ports) != 4) return 0;
  return ::write(events, ports, 4) == 4 ? ports[0] : 0;
}

TEST(GuestVfio, AProgramInGuestMode) {
  const std::uint32_t domid = tiny::Guest::make({});
  {
    const tiny::Guest guest(domid);
    Program program("xen:domain=" + std::to_string(domid));
    ASSERT_GT(program.device, 0);
    // An identity, seen through a foreign mapping; what is no RAM, and what is not the guest's.
    EXPECT_EQ(program.client.map(program.container, 0, guest.memory(), tiny::kPages * 4096), 0);
    EXPECT_EQ(program.client.map(program.container, tiny::kPages * 4096, guest.memory(), 4096), -EFAULT);
    void* own =
        ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    EXPECT_EQ(program.client.unmap(program.container, 0, tiny::kPages * 4096), 0);
    EXPECT_EQ(program.client.map(program.container, 0, own, 4096), -EFAULT);
    ::munmap(own, 4096);

    EXPECT_EQ(program.ask().kinds, PVIOMMU_NOTIFY_GUEST_VECTOR);
    EXPECT_EQ(program.ask().event_fd, -1);
    ASSERT_EQ(program.to_guest(domid, 0x50), 0);
    for (unsigned i = 1; i <= 100; ++i) {
      program.raise();
      ASSERT_EQ(guest.await(0x50, i), i);
    }
    const UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    EXPECT_EQ(program.to_eventfd(event.get()), -EOPNOTSUPP);
    program.raise();
    EXPECT_EQ(guest.await(0x50, 101), 101u) << "as before";
  }
  EXPECT_TRUE(tiny::Guest::alive(domid));
  tiny::Guest::destroy(domid);
}

TEST(NotifyVfio, KindsAreExchangedWhileTheDeviceSends) {
  const std::uint32_t domid = tiny::Guest::make({});
  {
    const tiny::Guest guest(domid);
    Program program("xen");
    ASSERT_GT(program.device, 0);
    const auto told = program.ask();
    EXPECT_EQ(told.kinds,
              PVIOMMU_NOTIFY_EVENTFD | PVIOMMU_NOTIFY_EVENT_CHANNEL | PVIOMMU_NOTIFY_GUEST_VECTOR);
    const UniqueFd events(::fcntl(told.event_fd, F_DUPFD_CLOEXEC, 0));
    ASSERT_TRUE(events);
    const UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    unsigned in_guest = 0;
    for (unsigned round = 0; round < 50; ++round) {
      ASSERT_EQ(program.to_guest(domid, 0x50), 0);
      program.raise();
      ASSERT_EQ(guest.await(0x50, ++in_guest), in_guest);
      pviommu_notification channel{};
      channel.kind = PVIOMMU_NOTIFY_EVENT_CHANNEL;
      channel.domid = PVIOMMU_DOMID_SELF;
      ASSERT_EQ(program.notify(channel), 0);
      EXPECT_NE(channel.port, 0u);
      for (int i = 0; i < 3; ++i) {
        program.raise();
        ASSERT_EQ(take_port(events.get()), channel.port);
      }
      ASSERT_EQ(program.to_eventfd(event.get()), 0);
      program.raise();
      ASSERT_EQ(take(event.get()), 1u);
    }
    EXPECT_EQ(guest.count(0x50), in_guest);
  }
  tiny::Guest::destroy(domid);
}

}  // namespace
