// SPDX-License-Identifier: LGPL-2.1-or-later
// Cases D: a conventional PCI function with INTx, one MSI and a BAR, and what all
// devices have in common.
#include <linux/pci_regs.h>

#include <array>

#include "tests/conformance/answers/device.h"

namespace conformance::answers {
namespace {

constexpr std::uint32_t kIntx = VFIO_PCI_INTX_IRQ_INDEX, kMsi = VFIO_PCI_MSI_IRQ_INDEX, kMsix = VFIO_PCI_MSIX_IRQ_INDEX,
                        kErr = VFIO_PCI_ERR_IRQ_INDEX, kReq = VFIO_PCI_REQ_IRQ_INDEX;

void config(const Device& device) {
  std::array<std::uint8_t, 8192> page{};
  const auto read = [&](const std::string& name, std::uint64_t offset, std::size_t bytes, std::size_t shown) {
    page.fill(0xee);
    const Outcome outcome = device.read(7, offset, page.data(), bytes);
    answer(name, outcome, shown ? bytes_of(page.data(), shown) : "-");
  };
  for (std::size_t bytes : {1u, 2u, 3u, 4u, 8u, 16u}) read(format("D30 pread config 0 size=%zu", bytes), 0, bytes, 8);
  read("D31 pread config off=1 size=4", 1, 4, 4);
  read("D31b pread config off=3 size=3", 3, 3, 4);
  read("D32 pread config off=0xfc size=8", 0xfc, 8, 0);
  read("D33 pread config off=0x100 size=4", 0x100, 4, 0);
  read("D34 pread config size=0", 0, 0, 4);
  read("D35 pread config 256", 0, 256, 0);
  read("D35b pread config 4096", 0, 4096, 0);
  answer("D36 pwrite config off=0x100 size=4", device.write(7, 0x100, page.data(), 4));
  answer("D37 pread config bad buffer", device.read(7, 0, reinterpret_cast<void*>(8), 4));
  answer("D37b pwrite config bad buffer", device.write(7, PCI_CACHE_LINE_SIZE, reinterpret_cast<void*>(8), 1));
  std::uint32_t word = 0;
  const Outcome at_front = outcome_of(::read(device.fd(), &word, 4));
  answer("D38 read() with file position 0 (BAR0)", at_front, bytes_of(&word, 4));
  answer("D39 lseek on device", outcome_of(::lseek(device.fd(), 0, SEEK_SET)));
  iovec halves[] = {{page.data(), 2}, {page.data() + 2, 2}};
  const Outcome vectors = outcome_of(::preadv(device.fd(), halves, 2, static_cast<off_t>(std::uint64_t{7} << 40)));
  answer("D40 preadv config 2+2", vectors, bytes_of(page.data(), 4));
  answer("D42 pread ROM (none)", device.read(6, 0, &word, 4));
  answer("D43 pread VGA", device.read(8, 0, &word, 4));
  answer("D44 pread region 9", device.read(9, 0, &word, 4));
  answer("D44b pread BAR1 (none)", device.read(1, 0, &word, 4));
  answer("D45 pread negative offset", outcome_of(::pread(device.fd(), &word, 4, -4096)));

  const auto write = [&](const char* name, std::size_t offset, unsigned width, std::uint32_t value, const char* form = "reads 0x%x") {
    write_and_read(device, name, offset, width, value, offset, width, form);
  };
  write("D46 write vendor id", PCI_VENDOR_ID, 2, 0xffff);
  write("D47 write revision", PCI_REVISION_ID, 1, 0xff);
  write("D48 write header type", PCI_HEADER_TYPE, 1, 0xff);
  write("D49 write cache line size", PCI_CACHE_LINE_SIZE, 1, 0x10);
  write("D49b write latency timer", PCI_LATENCY_TIMER, 1, 0x40);
  write("D50 write interrupt line", PCI_INTERRUPT_LINE, 1, 0x55);
  write("D51 write interrupt pin", PCI_INTERRUPT_PIN, 1, 3);
  write("D52 write cap pointer", PCI_CAPABILITY_LIST, 1, 0x90);
  write("D53 write subsystem id", PCI_SUBSYSTEM_ID, 2, 0);
  write("D54 BAR0 sizing", PCI_BASE_ADDRESS_0, 4, ~0u, "reads 0x%08x");
  device.set_config(PCI_BASE_ADDRESS_0, 4, 0);
  write_and_read(device, "D55 BAR0 half written 0x12 in byte 3", PCI_BASE_ADDRESS_0 + 3, 1, 0x12, PCI_BASE_ADDRESS_0, 4, "reads 0x%08x");
  word = 0;
  const Outcome moved = device.read(0, 0, &word, 4);
  answer("D56 BAR0 MMIO still works after virtual BAR change", moved, bytes_of(&word, 4));
  write("D57 BAR1 (empty) sizing", PCI_BASE_ADDRESS_1, 4, ~0u, "reads 0x%08x");
  write("D58 ROM BAR sizing (no ROM)", PCI_ROM_ADDRESS, 4, ~0u, "reads 0x%08x");
}

void command(const Device& device) {
  const auto write = [&](std::uint32_t value, const char* name) {
    write_and_read(device, format("%s write command=0x%x", name, value), PCI_COMMAND, 2, value, PCI_COMMAND, 2, "reads 0x%x");
  };
  const std::uint32_t first = device.config(PCI_COMMAND, 2);
  answer("D60 command register after open", ok(first), format("0x%x", first));
  void* bar = ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, device.fd(), 0);
  std::uint32_t word = 0;
  write(0, "D61");
  answer("D62 pread BAR0 with memory disabled", device.read(0, 0, &word, 4));
  answer("D63 pwrite BAR0 with memory disabled", device.write(0, 4, &word, 4));
  if (bar != MAP_FAILED) {
    answer("D64 load with memory disabled", ok(), load(bar));
    void* late = ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, device.fd(), 0);
    answer("D65 load from a mapping made with memory disabled", ok(), load(late));
    ::munmap(late, kPage);
  }
  write(2, "D66");
  if (bar != MAP_FAILED) {
    answer("D67 load after enabling", ok(), load(bar));
    ::munmap(bar, kPage);
  }
  write(0xffff, "D68");
  write(2, "D69");
  const std::uint32_t status = device.config(PCI_STATUS, 2);
  answer("D70 status register", ok(status), format("0x%x", status));
  write_and_read(device, "D71 write status 0xffff", PCI_STATUS, 2, 0xffff, PCI_STATUS, 2, "reads 0x%x");
}

void bar(const Session& session) {
  const Device& device = session.device;
  std::array<std::uint8_t, 16> bytes{};
  const auto read = [&](const char* name, std::uint64_t offset, std::size_t size, std::size_t shown = 0) {
    const Outcome outcome = device.read(0, offset, bytes.data(), size);
    answer(name, outcome, shown ? bytes_of(bytes.data(), shown) : "-");
  };
  read("D72 pread BAR0 size=1", 0, 1, 1);
  read("D73 pread BAR0 size=2", 0, 2, 2);
  read("D73b pread BAR0 off=1 size=4", 1, 4);
  read("D74 pread BAR0 size=8", 0, 8);
  read("D75 pread BAR0 end-4 size=4", 0xffffc, 4);
  read("D76 pread BAR0 end-4 size=8", 0xffffc, 8);
  read("D78 pread BAR0 beyond end", 0x100000, 4);
  std::uint32_t word = 0x12345678;
  const Outcome written = device.write(0, 4, &word, 4);
  answer("D79 pwrite BAR0+4 (liveness)", written, format("reads 0x%x", device.bar0(4)));
  if (!(device.region(0).info.flags & VFIO_REGION_INFO_FLAG_MMAP)) return;
  const auto map = [&](const char* name, std::size_t size, std::uint64_t offset, int prot = PROT_READ | PROT_WRITE, int flags = MAP_SHARED) {
    answer_mapped(name, ::mmap(nullptr, size, prot, flags, device.fd(), static_cast<off_t>(offset)), size);
  };
  constexpr std::uint64_t kRegion = std::uint64_t{1} << 40;
  map("D80 mmap BAR0 1 MiB RW SHARED", 0x100000, 0);
  map("D81 mmap BAR0 MAP_PRIVATE", kPage, 0, PROT_READ | PROT_WRITE, MAP_PRIVATE);
  map("D82 mmap BAR0 larger than BAR", 0x101000, 0);
  map("D83 mmap BAR0 last page", kPage, 0xff000);
  map("D84 mmap BAR0 behind its end", kPage, 0x100000);
  map("D85 mmap empty BAR1", kPage, kRegion);
  map("D86 mmap config region", kPage, 7 * kRegion);
  map("D87 mmap ROM region", kPage, 6 * kRegion);
  map("D88 mmap VGA region", kPage, 8 * kRegion);
  map("D89 mmap region 9", kPage, 9 * kRegion);
  map("D90 mmap BAR0 PROT_READ", kPage, 0, PROT_READ);
  map("D91 mmap BAR0 PROT_EXEC", kPage, 0, PROT_READ | PROT_EXEC);
  map("D92 mmap BAR0 PROT_NONE", kPage, 0, PROT_NONE);
  void* at = ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, device.fd(), 0);
  const Said said = child_says([&] { return Said{ok(), *static_cast<volatile std::uint32_t*>(at)}; });
  answer("D93 fork: child access to mmap", said.outcome);
  answer("D94 child load", said.outcome, format("0x%lx", said.number));
  const Outcome mapped = session.container.map(0x10000, reinterpret_cast<std::uint64_t>(at), kPage);
  answer("D95 MAP_DMA of own BAR mmap", mapped, format("maps=%ld", session.container.live()));
  const Mapped done = session.container.unmap(0x10000, kPage);
  answer("D96 UNMAP_DMA of it", done.outcome, format("size=0x%lx maps=%ld", done.size, session.container.live()));
  ::munmap(at, kPage);
}

class Irqs {
 public:
  explicit Irqs(Device& device) : device_(device) {}
  ~Irqs() { edu_.acknowledge(); }
  void rules();
  void msi();
  void intx();
  void others();

 private:
  void say(const char* name, Outcome outcome, const std::string& outputs = "-") { answer(name, outcome, outputs); }
  Outcome set(std::uint32_t index, std::uint32_t flags, std::uint32_t start, std::uint32_t count) {
    return device_.set_irqs(index, flags, start, count);
  }
  Outcome set_fd(std::uint32_t index, std::uint32_t action, int fd, std::uint32_t argsz = 24) {
    return device_.set_irqs(index, kEventfd | action, 0, 1, &fd, sizeof fd, argsz);
  }
  Outcome set_bool(std::uint32_t index, std::uint32_t action, std::uint8_t value) {
    return device_.set_irqs(index, kBool | action, 0, 1, &value, 1);
  }
  Outcome raise() {
    const std::uint32_t one = 1;
    return device_.write(0, 0x60, &one, 4);
  }
  std::string count(const Fd& event, bool expected = true) { return format("eventfd=%lu", count_of(event, expected)); }

  Device& device_;
  Edu edu_{device_};
  Fd event_ = make_eventfd();
  int fd_ = event_.get();
};

void Irqs::rules() {
  for (std::uint32_t argsz : {0u, 4u, 12u, 19u})
    answer(format("D100 SET_IRQS argsz=%u NONE+TRIGGER msi count 0", argsz), device_.set_irqs(kMsi, kNone | kTrigger, 0, 0, nullptr, 0, argsz));
  say("D101 index 5", set(5, kNone | kTrigger, 0, 1));
  say("D102 index 99", set(99, kNone | kTrigger, 0, 1));
  say("D103 unknown flag", set(kMsi, kNone | kTrigger | 0x40, 0, 1));
  say("D104 no action", set(kMsi, kNone, 0, 1));
  say("D105 no data type", set(kMsi, kTrigger, 0, 1));
  say("D106 two data types NONE+BOOL", set(kMsi, kNone | kBool | kTrigger, 0, 1));
  say("D107 two data types NONE+EVENTFD", set(kMsi, kNone | kEventfd | kTrigger, 0, 1));
  say("D108 two actions MASK+TRIGGER", set(kMsi, kNone | kMask | kTrigger, 0, 1));
  say("D110 start=1 count=0", set(kMsi, kNone | kTrigger, 1, 0));
  say("D111 start=0 count=2", set(kMsi, kNone | kTrigger, 0, 2));
  say("D112 start=0 count=0xffffffff", set(kMsi, kNone | kTrigger, 0, ~0u));
  say("D113 start=1 count=0xffffffff", set(kMsi, kNone | kTrigger, 1, ~0u));
  say("D114 msi count=0 NONE before enable", set(kMsi, kNone | kTrigger, 0, 0));
  say("D115 msi count=0 BOOL before enable", set(kMsi, kBool | kTrigger, 0, 0));
  say("D116 msi count=0 EVENTFD before enable", set(kMsi, kEventfd | kTrigger, 0, 0));
  say("D117 msi NONE+TRIGGER count=1 before enable", set(kMsi, kNone | kTrigger, 0, 1));
  say("D118 msi BOOL before enable", set_bool(kMsi, kTrigger, 1));
  say("D119 msi EVENTFD argsz without data", set_fd(kMsi, kTrigger, fd_, 20));
  say("D119b msi EVENTFD argsz 22", set_fd(kMsi, kTrigger, fd_, 22));
  say("D120 msi EVENTFD fd 9999", set_fd(kMsi, kTrigger, 9999));
  const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  say("D121 msi EVENTFD fd of /dev/null", set_fd(kMsi, kTrigger, null.get()));
  say("D122 msi EVENTFD fd -2", set_fd(kMsi, kTrigger, -2));
  say("D122b disable", device_.irqs_off(kMsi));
}

void Irqs::msi() {
  const unsigned msi = device_.capability(PCI_CAP_ID_MSI);
  const auto flags = [&] { return device_.config(msi + PCI_MSI_FLAGS, 2); };
  const auto write_flags = [&](const char* name, std::uint32_t value, std::uint32_t shown) {
    const Outcome outcome = device_.write(7, msi + PCI_MSI_FLAGS, &value, 2);
    say(name, outcome, format("reads 0x%x", flags() & shown));
  };
  say("D123 msi EVENTFD fd -1 before enable", set_fd(kMsi, kTrigger, -1));
  say("D124 MSI enable bit after enabling with fd -1", ok(), format("flags=0x%x", flags()));
  say("D125 intx while msi is enabled", set_fd(kIntx, kTrigger, fd_));
  say("D126 msi disable (NONE count 0)", device_.irqs_off(kMsi));
  say("D127 msi disable again", device_.irqs_off(kMsi));
  say("D128 msi EVENTFD enable", set_fd(kMsi, kTrigger, fd_));
  say("D129 msi MASK", set(kMsi, kNone | kMask, 0, 1));
  say("D130 msi UNMASK", set(kMsi, kNone | kUnmask, 0, 1));
  Outcome outcome = set(kMsi, kNone | kTrigger, 0, 1);
  say("D131 msi loopback NONE+TRIGGER", outcome, count(event_));
  outcome = set_bool(kMsi, kTrigger, 1);
  say("D132 msi loopback BOOL 1", outcome, count(event_));
  outcome = set_bool(kMsi, kTrigger, 0);
  say("D133 msi loopback BOOL 0", outcome, count(event_, false));
  device_.set_bus_master(true);
  outcome = raise();
  const std::string raised = count(event_);
  say("D134 device raises MSI (edu 0x60)", outcome, raised + format(" status=0x%x", device_.bar0(0x24)));
  edu_.acknowledge();
  say("D137 de-assign with fd -1", set_fd(kMsi, kTrigger, -1));
  outcome = raise();
  say("D138 raise after de-assign", outcome, format("new=%lu", count_of(event_, false)));
  edu_.acknowledge();
  outcome = set(kMsi, kNone | kTrigger, 0, 1);
  say("D139 loopback on de-assigned vector", outcome, format("new=%lu", count_of(event_, false)));
  say("D140 bad fd while enabled", set_fd(kMsi, kTrigger, 9999));
  say("D141 re-assign", set_fd(kMsi, kTrigger, fd_));
  (void)count_of(event_, false);
  outcome = raise();
  say("D142 raise after re-assign", outcome, count(event_));
  edu_.acknowledge();
  say("D143 MSI cap as seen by user", ok(),
      format("flags=0x%x addr=0x%x data_nonzero=%d", flags(), device_.config(msi + PCI_MSI_ADDRESS_LO, 4),
             device_.config(msi + PCI_MSI_DATA_64, 2) != 0));
  write_flags("D145 write MSI flags enable=0 while enabled", 0, 1);
  outcome = raise();
  say("D146 raise after it", outcome, count(event_, false));
  edu_.acknowledge();
  std::uint32_t data = 0x4041;
  outcome = device_.write(7, msi + PCI_MSI_DATA_64, &data, 2);
  say("D148 write MSI data", outcome, format("reads 0x%x", device_.config(msi + PCI_MSI_DATA_64, 2)));
  write_flags("D149 write MSI flags 0xffff", 0xffff, 0xffff);
  (void)count_of(event_, false);
  outcome = raise();
  say("D150 raise: eventfd still delivered", outcome, count(event_));
  edu_.acknowledge();
  outcome = device_.irqs_off(kMsi);
  say("D151 disable", outcome, format("flags=0x%x", flags()));
  write_flags("D152 write MSI enable=1 while irqs disabled", 1, 1);
}

void Irqs::intx() {
  say("D160 intx NONE+TRIGGER before enable", set(kIntx, kNone | kTrigger, 0, 1));
  say("D161 intx MASK before enable", set(kIntx, kNone | kMask, 0, 1));
  say("D161b intx UNMASK before enable", set(kIntx, kNone | kUnmask, 0, 1));
  say("D162 intx count=0 before enable", device_.irqs_off(kIntx));
  const int two[] = {fd_, fd_};
  say("D163 intx EVENTFD count=2", device_.set_irqs(kIntx, kEventfd | kTrigger, 0, 2, two, sizeof two));
  say("D164 intx EVENTFD fd 9999", set_fd(kIntx, kTrigger, 9999));
  say("D165 intx EVENTFD enable", set_fd(kIntx, kTrigger, fd_));
  say("D166 msi count=0 NONE while intx enabled", device_.irqs_off(kMsi));
  say("D166b msi EVENTFD while intx enabled", set_fd(kMsi, kTrigger, fd_));
  Outcome outcome = set(kIntx, kNone | kTrigger, 0, 1);
  say("D167 intx loopback NONE", outcome, count(event_));
  device_.set_config(PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
  outcome = raise();
  say("D168 device raises INTx", outcome, count(event_));
  say("D169 masked by its arrival", ok(), count(event_, false));
  outcome = set(kIntx, kNone | kUnmask, 0, 1);
  say("D170 UNMASK without ack: fires again", outcome, count(event_));
  edu_.acknowledge();
  outcome = set(kIntx, kNone | kUnmask, 0, 1);
  say("D171 UNMASK after ack", outcome, count(event_, false));
  outcome = set(kIntx, kNone | kMask, 0, 1);
  say("D172 MASK", outcome, format("cmd=0x%x", device_.config(PCI_COMMAND, 2)));
  outcome = raise();
  say("D173 raise while masked", outcome, count(event_, false));
  outcome = set_bool(kIntx, kUnmask, 1);
  say("D174 UNMASK BOOL 1", outcome, count(event_));
  edu_.acknowledge();
  (void)set(kIntx, kNone | kUnmask, 0, 1);
  const Fd unmask = make_eventfd();
  say("D175 MASK EVENTFD", set_fd(kIntx, kMask, unmask.get()));
  say("D176 UNMASK EVENTFD", set_fd(kIntx, kUnmask, unmask.get()));
  say("D176b UNMASK EVENTFD again", set_fd(kIntx, kUnmask, unmask.get()));
  (void)raise();
  (void)count_of(event_);
  edu_.acknowledge();
  (void)!::eventfd_write(unmask.get(), 1);
  ::usleep(50'000);
  std::uint64_t value = 0;
  outcome = outcome_of(::read(unmask.get(), &value, sizeof value));
  say("D177 eventfd write consumed by unmask handler", outcome, format("value=%lu", value));
  outcome = raise();
  say("D178 raise after eventfd unmask", outcome, count(event_));
  edu_.acknowledge();
  say("D179 UNMASK EVENTFD -1 removes", set_fd(kIntx, kUnmask, -1));
  say("D180 intx EVENTFD -1 while enabled", set_fd(kIntx, kTrigger, -1));
  say("D180b intx state: MASK still allowed", set(kIntx, kNone | kMask, 0, 1));
  say("D181 intx disable count=0", device_.irqs_off(kIntx));
  say("D181b intx disable again", device_.irqs_off(kIntx));
  say("D182 intx EVENTFD -1 when disabled", set_fd(kIntx, kTrigger, -1));
  say("D182b disable", device_.irqs_off(kIntx));
}

void Irqs::others() {
  say("D183 msix on edu (no msix)", set_fd(kMsix, kTrigger, fd_));
  say("D184 msix count=0 on edu", device_.irqs_off(kMsix));
  say("D185 ERR irq on edu (not PCIe)", set_fd(kErr, kTrigger, fd_));
  say("D186 REQ EVENTFD", set_fd(kReq, kTrigger, fd_));
  Outcome outcome = set(kReq, kNone | kTrigger, 0, 1);
  say("D187 REQ loopback NONE", outcome, count(event_));
  outcome = set_bool(kReq, kTrigger, 1);
  say("D187b REQ loopback BOOL", outcome, count(event_));
  say("D188 REQ count=0 NONE", device_.irqs_off(kReq));
  say("D188b REQ count=0 NONE again", device_.irqs_off(kReq));
  say("D188c REQ loopback without one", set(kReq, kNone | kTrigger, 0, 1));
  say("D189 REQ MASK", set(kReq, kNone | kMask, 0, 1));
}

void other_calls(const Device& device) {
  constexpr std::uint32_t kGet = 1 << 16, kSet = 1 << 17, kProbe = 1 << 18;
  const auto feature = [&](const std::string& name, std::uint32_t flags) {
    std::uint32_t words[4] = {sizeof words, flags};
    const Outcome outcome = device.ioctl(VFIO_DEVICE_FEATURE, address_of(words));
    answer(name, outcome, format("flags_out=0x%x data=0x%x", words[1], words[2]));
  };
  for (std::uint32_t number = 0; number < 10; ++number) {
    feature(format("D201 FEATURE %u PROBE+GET", number), kProbe | kGet | number);
    feature(format("D202 FEATURE %u PROBE+SET", number), kProbe | kSet | number);
    feature(format("D203 FEATURE %u PROBE only", number), kProbe | number);
  }
  feature("D204 FEATURE 1 GET", kGet | 1);
  feature("D205 FEATURE 3 GET", kGet | 3);
  feature("D206 FEATURE no op bits", 0);
  feature("D207 FEATURE 3 no op bits", 3);
  feature("D208 FEATURE unknown high flag", 0x80010001);
  feature("D209 FEATURE 3 LOW_POWER_ENTRY SET", kSet | 3);
  feature("D210 FEATURE 5 LOW_POWER_EXIT SET", kSet | 5);

  const Fd event = make_eventfd();
  const auto ioeventfd = [&](const char* name, std::uint32_t flags, std::uint64_t offset, std::uint64_t data, int fd) {
    vfio_device_ioeventfd request{};
    request.argsz = sizeof request;
    request.flags = flags;
    request.offset = offset;
    request.data = data;
    request.fd = fd;
    answer(name, device.ioctl(VFIO_DEVICE_IOEVENTFD, address_of(request)));
  };
  ioeventfd("D211 IOEVENTFD 32-bit BAR0+4", VFIO_DEVICE_IOEVENTFD_32, 4, 0x5a, event.get());
  (void)!::eventfd_write(event.get(), 1);
  for (int i = 0; i < 100 && device.bar0(4) != 0xffffffa5u; ++i) ::usleep(1000);
  answer("D212 ioeventfd wrote the register", ok(), format("0x%x", device.bar0(4)));
  ioeventfd("D213 IOEVENTFD again", VFIO_DEVICE_IOEVENTFD_32, 4, 0x5a, event.get());
  ioeventfd("D214 IOEVENTFD remove", VFIO_DEVICE_IOEVENTFD_32, 4, 0x5a, -1);
  ioeventfd("D215 IOEVENTFD remove missing", VFIO_DEVICE_IOEVENTFD_32, 4, 0x5a, -1);
  ioeventfd("D216 IOEVENTFD two sizes", VFIO_DEVICE_IOEVENTFD_32 | VFIO_DEVICE_IOEVENTFD_16, 4, 0, event.get());
  ioeventfd("D217 IOEVENTFD misaligned", VFIO_DEVICE_IOEVENTFD_32, 5, 0, event.get());
  ioeventfd("D218 IOEVENTFD remove it", VFIO_DEVICE_IOEVENTFD_32, 5, 0, -1);
}

void dma(Session& session) {
  Device& device = session.device;
  Edu edu(device);
  Memory source(kPage), destination(kPage);
  std::strcpy(reinterpret_cast<char*>(source.data()), "hello-dma");
  (void)session.container.map(0x10000, source.address(), kPage);
  (void)session.container.map(0x20000, destination.address(), kPage);
  const auto copy = [&](const char* name, std::uint64_t to = 0x20000) {
    std::memset(destination.data(), 0, kPage);
    const bool done = edu.to_device(0x10000, 64) && edu.from_device(to, 64);
    answer(name, done ? ok() : failed(ETIME), format("dst=\"%s\"", reinterpret_cast<const char*>(destination.data())));
  };
  device.set_bus_master(true);
  copy("D220 DMA page to page through the device");
  (void)session.container.unmap(0x20000, kPage);
  (void)session.container.map(0x20000, destination.address(), kPage, VFIO_DMA_MAP_FLAG_READ);
  copy("D221 DMA write to a READ-only mapping");
  (void)session.container.unmap(0x20000, kPage);
  copy("D222 DMA write after UNMAP");
  (void)session.container.map(0x20000, destination.address(), kPage);
  device.set_bus_master(false);
  copy("D223 DMA with bus master off");
}

}  // namespace

void edu() {
  Session session(Machine::get().edu);
  Device& device = session.device;
  common(device, "edu");
  vfio_iommu_type1_dma_map map{.argsz = sizeof map, .flags = 3, .vaddr = 0, .iova = 0, .size = kPage};
  answer("D06 container ioctl on device (MAP_DMA number)", device.ioctl(VFIO_IOMMU_MAP_DMA, address_of(map)));
  answer("D06b API_VERSION on device", device.ioctl(VFIO_GET_API_VERSION));
  answer("D07 unknown ioctl on device", device.ioctl(_IO(VFIO_TYPE, 255)));
  answer("D08 DEVICE_RESET edu", device.ioctl(VFIO_DEVICE_RESET));
  config_rows(device, "edu");
  config(device);
  command(device);
  bar(session);
  {
    Irqs irqs(device);
    irqs.rules();
    irqs.msi();
    irqs.intx();
    irqs.others();
  }
  other_calls(device);
  dma(session);
}

}  // namespace conformance::answers
