// SPDX-License-Identifier: LGPL-2.1-or-later
// Cases F and V: peer-to-peer maps; groups whose members change drivers.
#include <linux/close_range.h>
#include <linux/pci_regs.h>
#include <sys/wait.h>

#include <sstream>

#include "tests/conformance/answers/answers.h"

namespace conformance::answers {
namespace {

Outcome write_to(const std::string& path, const std::string& text) {
  const Fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file) return failed(errno);
  const Outcome written = outcome_of(::write(file.get(), text.data(), text.size()));
  return written.error ? written : ok();
}
Outcome give_driver(const std::string& device, const std::string& driver) {
  if (const Outcome outcome = write_to("/sys/bus/pci/devices/" + device + "/driver_override", driver + "\n"); outcome != ok()) return outcome;
  return write_to("/sys/bus/pci/drivers/" + driver + "/bind", device);
}
Outcome take_driver(const std::string& device) { return write_to("/sys/bus/pci/devices/" + device + "/driver/unbind", device); }

void say_status(const char* name, const Group& group) {
  std::uint32_t flags = 0;
  const Outcome outcome = group.status(&flags);
  answer(name, outcome, format("flags=0x%x", flags));
}

void viability() {
  std::string one, other, driver;
  std::istringstream(extra_device("CONFORMANCE_PAIR")) >> one >> other >> driver;
  const std::string number = Machine::group_of(one);
  {
    Group group(number);
    say_status("V01 status, both devices on vfio-pci", group);
    answer("V02 unbind one member from vfio-pci", take_driver(other));
    Container container;
    answer("V04 SET_CONTAINER, one member without driver", group.set_container(container));
    say_status("V05 status", group);
    (void)container.ioctl(VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU);
    answer("V05b GET_DEVICE_FD of the unbound member", group.device(other));
    answer("V06 bind the other member to a host driver while the group is in use", give_driver(other, driver));
  }
  answer("V07 bind it to a host driver, group free", give_driver(other, driver));
  {
    Group group(number);
    answer("V08 open group with a host driver in it", group.fd() < 0 ? failed(errno) : ok());
    say_status("V09 status", group);
    Container container;
    answer("V10 SET_CONTAINER", group.set_container(container));
  }
  (void)take_driver(other);
  answer("V12 rebind to vfio-pci", give_driver(other, "vfio-pci"));
}

void request() {
  const std::string edu = Machine::get().edu;
  {
    Session session(edu);
    const Fd asked = make_eventfd();
    (void)session.device.eventfds(VFIO_PCI_REQ_IRQ_INDEX, 0, {asked.get()});
    const pid_t child = ::fork();
    if (child == 0) {
      ::close_range(3, ~0u, 0);
      ::_exit(take_driver(edu) == ok() ? 0 : 1);
    }
    answer("V20 REQ eventfd after unbind request while open", ok(), format("signalled=%d", take(asked.get(), 5000) > 0));
    std::uint32_t word = 0;
    const Outcome usable = session.device.read(7, 0, &word, 4);
    answer("V21 device still usable", usable, format("0x%x", word));
    int status = -1;
    answer("V22 unbind still blocked", ok(), format("blocked=%d", ::waitpid(child, &status, WNOHANG) == 0));
    const Outcome again = session.group.device(edu);
    answer("V22b GET_DEVICE_FD while removal is pending", again.error ? again : ok());
    Device(static_cast<int>(again.value)).close();
    session.device.close();
    const bool finished = ::waitpid(child, &status, 0) == child;
    answer("V23 after closing the device fd: unbind finished", ok(), format("finished=%d status=%d", finished, status));
    say_status("V24 status of the open group fd after removal", session.group);
    answer("V25 GET_DEVICE_FD after removal", session.group.device(edu));
    answer("V27 waiting for unbind", status == 0 ? ok() : failed(EIO));
  }
  answer("V28 rebind to vfio-pci", give_driver(edu, "vfio-pci"));
  Group group(Machine::group_of(edu));
  answer("V30 open group again", group.fd() < 0 ? failed(errno) : ok());
}

}  // namespace

void peer_to_peer() {
  Session session(Machine::get().edu);
  const Container& container = session.container;
  const std::uint64_t size = session.device.region(0).info.size;
  void* bar = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, session.device.fd(), 0);
  if (bar == MAP_FAILED) return;
  const auto address = reinterpret_cast<std::uint64_t>(bar);
  const auto maps = [&] { return format("maps=%ld", container.live()); };
  const auto say_unmapped = [&](const char* name, std::uint64_t iova, std::uint64_t bytes) {
    const Mapped done = container.unmap(iova, bytes);
    answer(name, done.outcome, format("size=0x%lx ", done.size) + maps());
  };
  const auto say_mapped = [&](const char* name, std::uint64_t iova, std::uint64_t bytes, std::uint32_t flags = 3) {
    const Outcome outcome = container.map(iova, address, bytes, flags);
    answer(name, outcome, maps());
  };
  say_mapped("F02 MAP_DMA of the whole BAR", 0x10000000, size);
  say_unmapped("F03 UNMAP_DMA", 0x10000000, size);
  say_mapped("F04 MAP_DMA READ of 1 page of the BAR", 0x10000, kPage, VFIO_DMA_MAP_FLAG_READ);
  const std::uint32_t command = session.device.config(PCI_COMMAND, 2), off = command & ~std::uint32_t{PCI_COMMAND_MEMORY};
  const Outcome disabled = session.device.write(7, PCI_COMMAND, &off, 2);
  answer("F05 disable memory while mapped for DMA", disabled, maps());
  say_mapped("F06 MAP_DMA with memory disabled", 0x20000, kPage);
  session.device.set_config(PCI_COMMAND, 2, command);
  say_mapped("F07 MAP_DMA after enabling", 0x20000, kPage);
  ::munmap(bar, size);
  say_unmapped("F08 munmap BAR then UNMAP_DMA", 0x20000, kPage);
}

void drivers() {
  viability();
  request();
}

}  // namespace conformance::answers
