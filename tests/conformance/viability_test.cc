// SPDX-License-Identifier: LGPL-2.1-or-later
// Groups whose members change drivers while a program has them; only where the program
// may bind drivers.  The letters name cases of the reference answers.
#include <gtest/gtest.h>
#include <linux/close_range.h>
#include <sys/wait.h>

#include <sstream>

#include "declared.h"
#include "vfio_client.h"

namespace conformance {
namespace {

Outcome write_to(const std::string& path, const std::string& text) {
  const Fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file) return failed(errno);
  const Outcome written = outcome_of(::write(file.get(), text.data(), text.size()));
  return written.error ? written : ok();
}
Outcome set_override(const std::string& device, const std::string& driver) {
  return write_to("/sys/bus/pci/devices/" + device + "/driver_override", driver + "\n");
}
Outcome give_driver(const std::string& device, const std::string& driver) {
  if (const Outcome outcome = set_override(device, driver); outcome != ok()) return outcome;
  return write_to("/sys/bus/pci/drivers/" + driver + "/bind", device);
}
Outcome take_driver(const std::string& device) { return write_to("/sys/bus/pci/devices/" + device + "/driver/unbind", device); }

/// CONFORMANCE_PAIR="one other driver": two functions of one group, on vfio-pci, and the
/// host's driver of the other.
TEST(Viability, EveryMemberCounts) {
  const std::string pair = extra_device("CONFORMANCE_PAIR");
  if (pair.empty()) GTEST_SKIP() << "this machine's drivers cannot be bound";
  std::string one, other, driver;
  std::istringstream(pair) >> one >> other >> driver;
  const std::string number = Machine::group_of(one);
  ASSERT_EQ(number, Machine::group_of(other));
  std::uint32_t flags = 0;
  {
    Group group(number);
    EXPECT_EQ(group.status(&flags), ok());
    EXPECT_EQ(flags, 1u) << "V01";
    EXPECT_EQ(take_driver(other), ok()) << "V02";
    Container container;
    EXPECT_EQ(group.set_container(container), ok()) << "V04: without a driver it does no harm";
    EXPECT_EQ(group.status(&flags), ok());
    EXPECT_EQ(flags, 3u) << "V05";
    ASSERT_EQ(container.ioctl(VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU), ok());
    EXPECT_EQ(group.device(other), failed(ENODEV)) << "V05b";
    EXPECT_NE(give_driver(other, driver), ok()) << "V06";
    EXPECT_NE(::access(("/sys/bus/pci/drivers/" + driver + "/" + other).c_str(), F_OK), 0) << "V06";
  }
  EXPECT_EQ(give_driver(other, driver), ok()) << "V07";
  {
    Group group(number);
    ASSERT_GE(group.fd(), 0) << "V08";
    EXPECT_EQ(group.status(&flags), ok());
    EXPECT_EQ(flags, 0u) << "V09";
    Container container;
    EXPECT_EQ(group.set_container(container), failed(EPERM)) << "V10";
  }
  EXPECT_EQ(take_driver(other), ok());
  EXPECT_EQ(give_driver(other, "vfio-pci"), ok()) << "V12";
  Group group(number);
  EXPECT_EQ(group.status(&flags), ok());
  EXPECT_EQ(flags, 1u) << "V12";
}

TEST(Viability, ADeviceIsAskedBack) {
  if (extra_device("CONFORMANCE_PAIR").empty()) GTEST_SKIP() << "this machine's drivers cannot be bound";
  const std::string edu = Machine::get().edu;
  {
    Session session(edu);
    const Fd request(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    ASSERT_EQ(session.device.eventfds(VFIO_PCI_REQ_IRQ_INDEX, 0, {request.get()}), ok());
    const pid_t child = ::fork();
    if (child == 0) {
      ::close_range(3, ~0u, 0);
      ::_exit(take_driver(edu) == ok() ? 0 : 1);
    }
    EXPECT_EQ(take(request.get(), 5000), 1u) << "V20";
    EXPECT_EQ(session.device.config(0, 4), 0x11e81234u) << "V21";
    int status = -1;
    EXPECT_EQ(::waitpid(child, &status, WNOHANG), 0) << "V22: it waits";
    const Outcome again = session.group.device(edu);
    EXPECT_EQ(again.error, linux_before(6, 12) ? 0 : ENODEV) << "V22b";
    if (again.error == 0) Device(static_cast<int>(again.value)).close();
    session.device.close();
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0) << "V23 V27";
    std::uint32_t flags = 0;
    EXPECT_EQ(session.group.status(&flags), failed(ENODEV)) << "V24";
    EXPECT_EQ(session.group.device(edu), failed(ENODEV)) << "V25";
  }
  EXPECT_EQ(give_driver(edu, "vfio-pci"), ok());
  Group group(Machine::group_of(edu));
  EXPECT_GE(group.fd(), 0) << "V30";
}

}  // namespace
}  // namespace conformance
