// SPDX-License-Identifier: LGPL-2.1-or-later
// Cases E: functions with PCI Express and MSI-X; hot reset; ROM and I/O ports.
#include <linux/pci_regs.h>

#include <array>
#include <vector>

#include "tests/conformance/answers/device.h"

namespace conformance::answers {
namespace {

constexpr std::uint32_t kIntx = VFIO_PCI_INTX_IRQ_INDEX, kMsi = VFIO_PCI_MSI_IRQ_INDEX, kMsix = VFIO_PCI_MSIX_IRQ_INDEX,
                        kErr = VFIO_PCI_ERR_IRQ_INDEX;

class Express {
 public:
  Express(const std::string& label, const std::string& name) : label_(label), session_(name) {
    msix_ = device_.capability(PCI_CAP_ID_MSIX);
    pm_ = device_.capability(PCI_CAP_ID_PM);
    express_ = device_.capability(PCI_CAP_ID_EXP);
    table_ = device_.config(msix_ + PCI_MSIX_TABLE, 4);
    for (Fd& event : events_) event = make_eventfd();
  }
  void run() {
    common(device_, label_);
    config_rows(device_, label_);
    config();
    capabilities();
    ranges();
    parts();
    others();
    decoding();
    hot_reset();
    if (device_.region(6).info.size) rom_and_ports();
  }

 private:
  void say(const char* name, Outcome outcome, const std::string& outputs = "-") {
    answer(label_ + " " + name, outcome, outputs);
  }
  void write(const char* name, std::size_t offset, unsigned width, std::uint32_t value, const char* form = "reads 0x%x") {
    write_and_read(device_, label_ + " " + name, offset, width, value, offset, width, form);
  }
  void power(const char* name, std::uint32_t state) {
    const Outcome outcome = device_.write(7, pm_ + PCI_PM_CTRL, &state, 2);
    say(name, outcome, format("reads 0x%x", device_.config(pm_ + PCI_PM_CTRL, 2) & PCI_PM_CTRL_STATE_MASK));
  }
  Outcome loopback(std::uint32_t start, std::uint32_t count) { return device_.set_irqs(kMsix, kNone | kTrigger, start, count); }
  Outcome fds(std::uint32_t start, const std::vector<int>& list) { return device_.eventfds(kMsix, start, list); }
  int fd(unsigned index) const { return events_[index].get(); }
  std::string flags() { return format("flags=0x%x", device_.config(msix_ + PCI_MSIX_FLAGS, 2)); }
  /// "e0=1 e1=0" of the eventfds with these numbers; waits for the first only.
  std::string counts(const std::vector<unsigned>& which, const std::vector<std::string>& names = {}) {
    std::string text;
    for (std::size_t i = 0; i < which.size(); ++i)
      text += (i ? " " : "") + (i < names.size() ? names[i] : format("e%u", which[i])) + format("=%lu", count_of(events_[which[i]], i == 0));
    return text;
  }
  void config();
  void capabilities();
  void ranges();
  void parts();
  void others();
  void decoding();
  void hot_reset();
  void rom_and_ports();

  const std::string label_;
  Session session_;
  Device& device_ = session_.device;
  unsigned msix_ = 0, pm_ = 0, express_ = 0;
  std::uint32_t table_ = 0;
  std::array<Fd, 8> events_;
};

void Express::config() {
  std::array<std::uint8_t, 4096> all;
  say("E01 pread config 4096", device_.read(7, 0, all.data(), all.size()));
  say("E02 pread config off=0x1000", device_.read(7, 0x1000, all.data(), 4));
  say("E02b pread config off=0xffe size=4", device_.read(7, 0xffe, all.data(), 4));
  std::uint32_t word = 0;
  const Outcome outcome = device_.read(7, 0x100, &word, 4);
  say("E03 pread config ext 0x100", outcome, format("0x%x", word));
  say("E04 caps", ok(), format("msix@%x %s table=0x%x pba=0x%x pm@%x pcie@%x msi@%x", msix_, flags().c_str(), table_,
                               device_.config(msix_ + PCI_MSIX_PBA, 4), pm_, express_, device_.capability(PCI_CAP_ID_MSI)));
  const std::uint32_t bar = table_ & 7, at = table_ & ~7u;
  std::array<std::uint32_t, 4> entry{};
  Outcome accessed = device_.read(bar, at, entry.data(), 16);
  say("E05 pread MSI-X table entry 0", accessed, format("%08x %08x %08x %08x", entry[0], entry[1], entry[2], entry[3]));
  entry.fill(0xfee00000);
  accessed = device_.write(bar, at, entry.data(), 16);
  (void)device_.read(bar, at, entry.data(), 16);
  say("E06 pwrite MSI-X table entry 0", accessed, format("reads 0x%x", entry[0]));
  if (!(device_.region(bar).info.flags & VFIO_REGION_INFO_FLAG_MMAP)) return;
  void* table = ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, device_.fd(), static_cast<off_t>(std::uint64_t{bar} << 40 | at));
  say("E07 mmap MSI-X table page", table == MAP_FAILED ? failed(errno) : ok());
  if (table == MAP_FAILED) return;
  say("E08 load entry 0 vector control by mmap", ok(), load(static_cast<const char*>(table) + 12));
  ::munmap(table, kPage);
}

void Express::capabilities() {
  write("E09 write MSI-X flags enable", msix_ + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE | device_.config(msix_ + PCI_MSIX_FLAGS, 2));
  void* bar = ::mmap(nullptr, kPage, PROT_READ, MAP_SHARED, device_.fd(), 0);
  if (pm_) {
    power("E10 PM: write D3hot", 3);
    std::uint32_t word = 0;
    say("E11 BAR access in D3", device_.read(0, 8, &word, 4));
    if (bar != MAP_FAILED) say("E11b load in D3", ok(), load(bar, false));
    power("E12 PM: back to D0", 0);
    if (bar != MAP_FAILED) say("E12b load in D0 again", ok(), load(bar, false));
    say("E12c command register after D3", ok(), format("cmd=0x%x", device_.config(PCI_COMMAND, 2)));
    write("E13 PM cap PME enable write", pm_ + PCI_PM_CTRL, 2, PCI_PM_CTRL_PME_ENABLE);
    say("E14 PMC register", ok(), format("0x%x", device_.config(pm_ + PCI_PM_PMC, 2)));
  }
  if (bar != MAP_FAILED) ::munmap(bar, kPage);
  write("E15 PCIe DEVCTL write payload/readrq 0x5000", express_ + PCI_EXP_DEVCTL, 2, 0x5000);
  say("E16 PCIe DEVCAP FLR bit", ok(), format("flr=%d", (device_.config(express_ + PCI_EXP_DEVCAP, 4) & PCI_EXP_DEVCAP_FLR) != 0));
  write("E16b write DEVCTL FLR bit (BCR_FLR)", express_ + PCI_EXP_DEVCTL, 2, PCI_EXP_DEVCTL_BCR_FLR);
  write("E16c LNKCTL write 0x3", express_ + PCI_EXP_LNKCTL, 2, 3);
}

void Express::ranges() {
  const std::uint32_t all = (device_.config(msix_ + PCI_MSIX_FLAGS, 2) & PCI_MSIX_FLAGS_QSIZE) + 1;
  Outcome outcome = fds(0, {fd(0), fd(1)});
  say("E20 msix enable 2 vectors", outcome, flags());
  outcome = loopback(0, 2);
  say("E21 loopback 0..1", outcome, counts({0, 1}));
  outcome = loopback(1, 2);
  say("E22 loopback 1..2 (beyond enabled)", outcome, counts({1}));
  say("E23 grow: start=2 count=2", fds(2, {fd(2), fd(3)}));
  outcome = loopback(2, 2);
  say("E24 loopback 2..3", outcome, counts({2, 3}));
  say("E24b re-set 0..1 within enabled", fds(0, {fd(4), fd(5)}));
  outcome = loopback(0, 2);
  const std::string old = format("old0=%lu ", count_of(events_[0], false));
  say("E24c loopback 0..1", outcome, old + counts({4, 5}, {"new0", "new1"}));
  outcome = device_.irqs_off(kMsix);
  say("E25 disable", outcome, flags());
  say("E25b NONE count=0 start=1 when off", device_.set_irqs(kMsix, kNone | kTrigger, 1, 0));

  std::vector<int> every(all, fd(2));
  every.front() = fd(0);
  every.back() = fd(1);
  say("E26 all vectors", fds(0, every));
  every.push_back(fd(2));
  say("E27 count+1", fds(0, every));
  outcome = loopback(0, all);
  say("E27b loopback all", outcome, counts({0, 1}, {"e0", "eN"}));
  (void)count_of(events_[2], false);
  say("E28 disable", device_.irqs_off(kMsix));
}

void Express::parts() {
  say("E28b enable 4", fds(0, {fd(0), fd(1), fd(2), fd(3)}));
  say("E28c shrink: start=0 count=2 with other fds", fds(0, {fd(4), fd(5)}));
  Outcome outcome = loopback(0, 4);
  say("E28d loopback 0..3", outcome, counts({4, 5, 2, 3}, {"new0", "new1"}));
  outcome = device_.set_irqs(kMsix, kNone | kTrigger, 2, 0);
  say("E28e NONE count=0 start=2 while enabled", outcome, flags());
  say("E28f disable", device_.irqs_off(kMsix));
  say("E29 sparse: first enable start=3 count=1", fds(3, {fd(3)}));
  outcome = loopback(0, 4);
  const std::string first = format("e0=%lu ", count_of(events_[0], false));
  say("E30 loopback 0..3", outcome, first + counts({3}));
  say("E31 assign vector 1", fds(1, {fd(1)}));
  outcome = loopback(1, 1);
  say("E31b loopback 1", outcome, counts({1}));
  say("E32 block with one bad fd at index 3", fds(0, {fd(0), fd(1), fd(2), 9999}));
  outcome = loopback(0, 4);
  say("E33 loopback 0..3 after the failed block", outcome, counts({0, 1, 2, 3}));
  say("E34 msi while msix enabled", device_.eventfds(kMsi, 0, {fd(0)}));
  say("E35 intx while msix enabled", device_.eventfds(kIntx, 0, {fd(0)}));
  say("E35b de-assign 0 with -1", fds(0, {-1}));
  say("E36a disable", device_.irqs_off(kMsix));
  outcome = fds(0, {fd(0), fd(1), fd(2), 9999});
  say("E36 first enable with a bad fd", outcome, flags());
  say("E37 afterwards intx allowed", device_.eventfds(kIntx, 0, {fd(0)}));
  say("E37b intx off", device_.irqs_off(kIntx));
}

void Express::others() {
  say("E38 ERR irq EVENTFD", device_.eventfds(kErr, 0, {fd(0)}));
  Outcome outcome = device_.set_irqs(kErr, kNone | kTrigger, 0, 1);
  say("E39 ERR loopback", outcome, counts({0}));
  say("E40 ERR off (fd -1)", device_.eventfds(kErr, 0, {-1}));
  say("E41 enable same eventfd on 2 vectors", fds(0, {fd(0), fd(0)}));
  outcome = loopback(0, 2);
  say("E42 loopback both", outcome, counts({0}));
  outcome = device_.ioctl(VFIO_DEVICE_RESET);
  say("E43 DEVICE_RESET with msix enabled", outcome, flags() + format(" cmd=0x%x", device_.config(PCI_COMMAND, 2)));
  outcome = loopback(0, 1);
  say("E44 loopback after reset", outcome, counts({0}));
  say("E45 disable after reset", device_.irqs_off(kMsix));
}

void Express::decoding() {
  const std::uint32_t command = device_.config(PCI_COMMAND, 2);
  void* bar = ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, device_.fd(), 0);
  if (bar == MAP_FAILED) return;
  device_.set_config(PCI_COMMAND, 2, command & ~std::uint32_t{PCI_COMMAND_MEMORY});
  say("E46 mmap access with memory disabled", ok(), load(bar, false));
  device_.set_config(PCI_COMMAND, 2, command);
  say("E47 after enabling", ok(), load(bar, false));
  (void)device_.ioctl(VFIO_DEVICE_RESET);
  say("E48 mmap access after a reset", ok(), load(bar, false));
  ::munmap(bar, kPage);
}

void Express::hot_reset() {
  std::array<std::uint32_t, 64> words{};
  for (std::uint32_t argsz : {0u, 8u, 11u, 12u, 20u, 24u, 36u, 140u}) {
    words = {argsz};
    const Outcome outcome = device_.ioctl(VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, address_of(words));
    answer(format("%s E50 HOT_RESET_INFO argsz=%u", label_.c_str(), argsz), outcome, format("argsz=%u flags=%u count=%u", words[0], words[1], words[2]));
  }
  const auto reset = [&](const char* name, std::uint32_t count, int file, std::uint32_t flags = 0, std::uint32_t argsz = 256) {
    words = {argsz, flags, count, static_cast<std::uint32_t>(file), static_cast<std::uint32_t>(file)};
    say(name, device_.ioctl(VFIO_DEVICE_PCI_HOT_RESET, address_of(words)));
  };
  reset("E51 PCI_HOT_RESET count=0", 0, -1);
  reset("E52 PCI_HOT_RESET argsz=8", 0, -1, 0, 8);
  reset("E53 PCI_HOT_RESET flags=1", 1, -1, 1);
  reset("E54 PCI_HOT_RESET fd -1", 1, -1);
  reset("E54b PCI_HOT_RESET eventfd", 1, fd(0));
  reset("E54c PCI_HOT_RESET device fd", 1, device_.fd());
  reset("E55 PCI_HOT_RESET container fd", 1, session_.container.fd());
  reset("E56 PCI_HOT_RESET count=1000", 1000, -1);
  reset("E56b PCI_HOT_RESET count=2, own group twice", 2, session_.group.fd());
  reset("E56c PCI_HOT_RESET argsz without room for the group", 1, session_.group.fd(), 0, 12);
  reset("E57 PCI_HOT_RESET own group", 1, session_.group.fd());
  say("E58 the device after it", ok(), format("id=0x%x cmd=0x%x", device_.config(0, 4), device_.config(PCI_COMMAND, 2)));
}

void Express::rom_and_ports() {
  std::array<std::uint8_t, 16> bytes{};
  say("E60 ROM read", device_.read(6, 0, bytes.data(), 2), "-");
  say("E61 ROM write", device_.write(6, 0, bytes.data(), 4));
  const auto map = [&](const char* name, std::uint64_t region) {
    answer_mapped(label_ + " " + name, ::mmap(nullptr, kPage, PROT_READ, MAP_SHARED, device_.fd(), static_cast<off_t>(region << 40)), kPage);
  };
  map("E62 ROM mmap", 6);
  map("E63 IO BAR mmap", 2);
  say("E64 IO BAR read size 8", device_.read(2, 0, bytes.data(), 8));
  say("E65 IO BAR read beyond end", device_.read(2, 0x20, bytes.data(), 4));
  const std::uint32_t command = device_.config(PCI_COMMAND, 2);
  device_.set_config(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
  say("E67 IO BAR read with IO disabled", device_.read(2, 0, bytes.data(), 4));
  device_.set_config(PCI_COMMAND, 2, command);
  write("E68 ROM BAR sizing", PCI_ROM_ADDRESS, 4, ~0u, "reads 0x%08x");
  write("E69 ROM BAR enable bit", PCI_ROM_ADDRESS, 4, 1, "reads 0x%08x");
  write("E70 IO BAR sizing", PCI_BASE_ADDRESS_2, 4, ~0u, "reads 0x%08x");
}

}  // namespace

void express(const std::string& label, const std::string& name) { Express(label, name).run(); }

}  // namespace conformance::answers
