// SPDX-License-Identifier: LGPL-2.1-or-later
// MSIs on their way to the processor: through XICS or XIVE, whichever the machine
// has.
#include "hypercall/papr/core/rtas_msi.h"
#include "hypercall/papr/core/xics.h"
#include "hypercall/papr/core/xive.h"
#include "tests/papr/checks.h"
#include "tests/papr/suite.h"

namespace papr_suite {
namespace {

constexpr std::uint32_t kServer = 0;
constexpr std::uint8_t kPriority = 5;
constexpr unsigned kQueueShift = 12;
constexpr std::uint32_t kQueueEntries = 1024;

/// What both controllers do for a source, so that the checks are the same.
class Sources {
 public:
  /// Ready to deliver.  False: a call was refused.
  virtual bool connect(unsigned index, Lisn lisn) = 0;
  virtual bool disconnect(unsigned index) = 0;
  virtual bool mask(unsigned index) = 0;
  virtual bool unmask(unsigned index) = 0;
  /// Takes the next interrupt; false: there is none.  eoi() ends it.
  virtual bool take(Lisn& lisn) = 0;
  virtual bool eoi(Lisn lisn) = 0;

 protected:
  ~Sources() = default;
};

class XicsSources final : public Sources {
 public:
  explicit XicsSources(Platform& platform) : xics(platform.port(), platform.rtas()) {}
  bool connect(unsigned index, Lisn lisn) override {
    lisns_[index] = lisn;
    return static_cast<bool>(xics.set(lisn, kServer, kPriority));
  }
  bool disconnect(unsigned index) override {
    return static_cast<bool>(xics.set(lisns_[index], kServer, kLeastFavored));
  }
  bool mask(unsigned index) override { return static_cast<bool>(xics.mask(lisns_[index])); }
  bool unmask(unsigned index) override { return static_cast<bool>(xics.unmask(lisns_[index])); }
  bool take(Lisn& lisn) override {
    if (xics.accept(xirr_) != kSuccess) return false;
    lisn = Xics::source_of(xirr_);
    return lisn.raw() != 0;
  }
  bool eoi(Lisn) override { return xics.eoi(xirr_) == kSuccess; }
  Xics xics;

 private:
  Lisn lisns_[2];
  std::uint32_t xirr_ = 0;
};

class XiveSources final : public Sources {
 public:
  explicit XiveSources(Platform& platform)
      : xive(platform.port()),
        source_{XiveSource(platform.port(), Lisn(0)), XiveSource(platform.port(), Lisn(0))},
        port_(platform.port()),
        memory_(platform.memory(std::size_t{1} << kQueueShift, std::size_t{1} << kQueueShift)),
        memory_at_(platform.real(memory_)),
        queue_(reinterpret_cast<const volatile std::uint32_t*>(memory_), kQueueShift) {}
  Rc open() { return xive.set_queue(kServer, kPriority, memory_at_, kQueueShift); }
  bool connect(unsigned index, Lisn lisn) override {
    source_[index] = XiveSource(port_, lisn);
    return xive.set_source(lisn, kServer, kPriority, number(index)) == kSuccess &&
           source_[index].enable() == kSuccess;
  }
  bool disconnect(unsigned index) override {
    return source_[index].disable() == kSuccess && xive.reset_source(source_[index].lisn()) == kSuccess;
  }
  bool mask(unsigned index) override { return source_[index].mask() == kSuccess; }
  bool unmask(unsigned index) override { return source_[index].unmask() == kSuccess; }
  bool take(Lisn& lisn) override {
    std::uint32_t found;
    if (!queue_.next(found)) return false;
    lisn = found == number(0) ? source_[0].lisn() : found == number(1) ? source_[1].lisn() : Lisn(0);
    return true;
  }
  bool eoi(Lisn lisn) override { return source_[lisn == source_[0].lisn() ? 0 : 1].eoi() == kSuccess; }
  /// Other than those of sources, so that one taken for the other shows.
  static std::uint32_t number(unsigned index) { return 0x40000123 + index; }
  Xive xive;

 private:
  XiveSource source_[2];
  Port& port_;
  std::uint8_t* memory_;
  RealAddress memory_at_;
  XiveQueue queue_;
};

/// What is waiting, taken and ended; the last source, 0 for none.
unsigned drain(Sources& sources, Lisn& last) {
  unsigned found = 0;
  last = Lisn(0);
  for (Lisn lisn; found < 8 && sources.take(lisn); ++found) {
    last = lisn;
    if (!sources.eoi(lisn)) return ~0u;
  }
  return found;
}

void one_source(Platform& platform, Sources& sources, Lisn lisn, Checks& check) {
  Device& device = platform.device(0);
  Lisn found;
  check.that(sources.connect(0, lisn), "the source is connected");
  device.enable_msi(true);
  check.equal(drain(sources, found), 0, "nothing comes by itself");
  device.raise();
  check.equal(drain(sources, found), 1, "one raised, one delivered");
  check.equal(found.raw(), lisn.raw(), "from the source that was granted");
  check.equal(drain(sources, found), 0, "and no second one");
  device.raise();
  check.equal(drain(sources, found), 1, "and again");

  check.that(sources.mask(0), "mask");
  device.raise();
  check.equal(drain(sources, found), 0, "masked: nothing is delivered");
  device.raise();
  check.equal(drain(sources, found), 0, "masked: nor a second one");
  check.that(sources.unmask(0), "unmask");
  check.equal(drain(sources, found), 1, "unmasked: the one held comes, once");
  check.equal(found.raw(), lisn.raw(), "unmasked: from that source");
  check.that(sources.mask(0) && sources.unmask(0), "mask and unmask of a quiet source");
  check.equal(drain(sources, found), 0, "no interrupt comes of it");
  device.raise();
  check.equal(drain(sources, found), 1, "delivery goes on after it");

  // Masked between arrival and its end, as a program may do in its handler.
  device.raise();
  check.that(sources.take(found) && sources.mask(0) && sources.eoi(found),
             "masked before the end of an interrupt");
  device.raise();
  Lisn none;
  check.that(!sources.take(none), "the next one is held", "it was delivered");
  check.that(sources.unmask(0), "unmask");
  check.equal(drain(sources, found), 1, "and comes at unmask");

  bool all = true;
  for (unsigned i = 0; i < kQueueEntries + 100; ++i) {
    device.raise();
    all = all && drain(sources, found) == 1 && found == lisn;
  }
  check.that(all, "1124 in a row", "one was lost or came twice");
}

void two_sources(Platform& platform, Sources& sources, Lisn first, Checks& check) {
  if (platform.devices() < 2) return check.skip("two sources", "one host bridge only");
  Device& other = platform.device(1);
  RtasMsi vectors(platform.rtas(), other.address());
  Lisn second, found;
  std::uint32_t granted = 0;
  check.done(vectors.grant(MsiFunction::msi, 1, &second, granted), "grant to a second device");
  check.that(second != first, "with a source of its own");
  check.that(sources.connect(1, second), "the second source is connected");
  other.enable_msi(true);
  other.raise();
  check.equal(drain(sources, found), 1, "the second device raises: one is delivered");
  check.equal(found.raw(), second.raw(), "from the second source");
  check.that(sources.mask(0), "mask of the first");
  platform.device(0).raise();
  other.raise();
  check.equal(drain(sources, found), 1, "both raise: one is delivered");
  check.equal(found.raw(), second.raw(), "from the one that is not masked");
  check.that(sources.unmask(0), "unmask of the first");
  check.equal(drain(sources, found), 1, "then the other comes");
  check.equal(found.raw(), first.raw(), "from the first source");
  other.enable_msi(false);
  check.that(sources.disconnect(1), "the second source is disconnected");
  check.done(vectors.release(MsiFunction::msi), "release of the second");
}

void xics_only(Platform& platform, XicsSources& sources, Lisn lisn, Checks& check) {
  Xics& xics = sources.xics;
  Device& device = platform.device(0);
  std::uint32_t server = 99, xirr = 0;
  std::uint8_t priority = 0;
  check.that(xics.get(lisn, server, priority) && server == kServer && priority == kPriority,
             "ibm,get-xive gives what ibm,set-xive took");
  check.that(xics.mask(lisn) && xics.get(lisn, server, priority) && priority == kLeastFavored,
             "masked: the priority is 0xff");
  check.that(xics.unmask(lisn) && xics.get(lisn, server, priority) && priority == kPriority,
             "unmasked: the priority is back");
  check.answer("ibm,set-xive, no such source", xics.set(Lisn(0xffffff), kServer, kPriority).status,
               kRtasParameter);
  check.answer("ibm,set-xive, no such server", xics.set(lisn, 4242, kPriority).status, kRtasParameter);
  check.answer("ibm,int-off, no such source", xics.mask(Lisn(0xffffff)).status, kRtasParameter);
  check.answer("ibm,int-on, no such source", xics.unmask(Lisn(0xffffff)).status, kRtasParameter);
  check.answer("ibm,get-xive, no such source", xics.get(Lisn(0xffffff), server, priority).status,
               kRtasParameter);

  check.answer("H_CPPR", xics.set_cppr(kPriority), kSuccess);
  device.raise();
  check.answer("H_IPOLL", xics.poll(kServer, xirr), kSuccess);
  check.equal(Xics::source_of(xirr).raw(), 0, "as urgent as the CPPR: it waits");
  check.answer("H_CPPR of all", xics.set_cppr(kLeastFavored), kSuccess);
  check.answer("H_IPOLL again", xics.poll(kServer, xirr), kSuccess);
  check.equal(Xics::source_of(xirr).raw(), lisn.raw(), "now it is presented");
  check.answer("H_IPOLL, no such server", xics.poll(4242, xirr), kParameter);
  check.answer("H_XIRR", xics.accept(xirr), kSuccess);
  check.equal(Xics::source_of(xirr).raw(), lisn.raw(), "H_XIRR gives the source");
  check.equal(xirr >> 24, kLeastFavored, "and the CPPR from before");
  std::uint32_t second = 0;
  check.that(xics.accept(second) == kSuccess && Xics::source_of(second).raw() == 0, "it is given once");
  check.answer("H_EOI", xics.eoi(xirr), kSuccess);
  Lisn found;
  check.equal(drain(sources, found), 0, "nothing is left");
}

void xive_only(Platform& platform, XiveSources& sources, Lisn lisn, Checks& check) {
  Xive& xive = sources.xive;
  Port& port = platform.port();
  XiveSourceInfo info;
  check.answer("H_INT_GET_SOURCE_INFO", xive.source_info(lisn, info), kSuccess);
  check.that(!info.level(), "the source is an edge");
  check.answer("H_INT_GET_SOURCE_INFO, no such source", xive.source_info(Lisn(0xfffffff), info), kP2);
  check.answer("H_INT_GET_SOURCE_INFO, unknown flag", call(port, Hcall::int_get_source_info, 8, lisn.raw()),
               kParameter);
  std::uint32_t server = 99, number = 0;
  std::uint8_t priority = 0;
  check.answer("H_INT_GET_SOURCE_CONFIG", xive.get_source(lisn, server, priority, number), kSuccess);
  check.that(server == kServer && priority == kPriority && number == XiveSources::number(0),
             "H_INT_GET_SOURCE_CONFIG gives what was set");
  check.answer("H_INT_SET_SOURCE_CONFIG, no such source",
               xive.set_source(Lisn(0xfffffff), kServer, kPriority, 1), kP2);
  check.answer("H_INT_SET_SOURCE_CONFIG, no such server", xive.set_source(lisn, 4242, kPriority, 1), kP3);
  check.answer("H_INT_SET_SOURCE_CONFIG, reserved priority", xive.set_source(lisn, kServer, 7, 1), kP4);
  check.answer("H_INT_SET_SOURCE_CONFIG, unknown flag",
               call(port, Hcall::int_set_source_config, 0x80, lisn.raw(), kServer, kPriority, 1), kParameter);

  const RealAddress memory = platform.real(platform.memory(0x2000, 0x1000));
  check.answer("H_INT_SET_QUEUE_CONFIG, not at its size", xive.set_queue(kServer, 4, memory + 0x800, 12),
               kP4);
  check.answer("H_INT_SET_QUEUE_CONFIG, a size there is not", xive.set_queue(kServer, 4, memory, 13), kP5);
  check.answer("H_INT_SET_QUEUE_CONFIG, reserved priority", xive.set_queue(kServer, 7, memory, 12), kP3);
  check.answer("H_INT_SET_QUEUE_CONFIG, no such server", xive.set_queue(4242, 4, memory, 12), kP2);
  check.answer("H_INT_SET_QUEUE_CONFIG, unknown flag",
               call(port, Hcall::int_set_queue_config, 0x80, kServer, 4, memory.raw(), 12), kParameter);
  check.answer("H_INT_SET_QUEUE_CONFIG of another priority", xive.set_queue(kServer, 4, memory, 12),
               kSuccess);
  const std::uint64_t in[kHcallRegisters] = {0, kServer, 4};
  std::uint64_t out[kHcallRegisters] = {};
  check.answer("H_INT_GET_QUEUE_CONFIG", call(port, Hcall::int_get_queue_config, in, out), kSuccess);
  check.that(out[1] == memory.raw() && out[2] == 12, "it gives the queue that was set");
  check.answer("H_INT_SET_QUEUE_CONFIG of size 0 takes it away", xive.reset_queue(kServer, 4), kSuccess);
  check.answer("H_INT_SYNC", xive.sync(lisn), kSuccess);
  check.answer("H_INT_SYNC, no such source", xive.sync(Lisn(0xfffffff)), kP2);
  const std::uint64_t no_source[kHcallRegisters] = {0, 0xfffffff, 0x800};
  check.answer("H_INT_ESB, no such source", call(port, Hcall::int_esb, no_source, out), kP2);
  const std::uint64_t far[kHcallRegisters] = {0, lisn.raw(), 0x100000};
  check.answer("H_INT_ESB, outside of the page", call(port, Hcall::int_esb, far, out), kP3);
  const std::uint64_t flag[kHcallRegisters] = {8, lisn.raw(), 0x800};
  check.answer("H_INT_ESB, unknown flag", call(port, Hcall::int_esb, flag, out), kParameter);

  const std::uint64_t bits[kHcallRegisters] = {0, lisn.raw(), 0x800};
  check.that(sources.mask(0), "mask to look at the bits");
  check.answer("H_INT_ESB, get", call(port, Hcall::int_esb, bits, out), kSuccess);
  check.bits("H_INT_ESB, get: the bits of a masked source", out[0], 2);
  check.that(sources.unmask(0), "unmask after it");

  // Two raised, of which the queue has one and the source the other.
  Lisn found, none;
  platform.device(0).raise();
  platform.device(0).raise();
  check.that(sources.take(found) && sources.mask(0) && sources.eoi(found), "masked with another one waiting");
  check.that(!sources.take(none), "that one is held");
  check.that(sources.unmask(0), "unmask");
  check.equal(drain(sources, found), 1, "and it comes at unmask");

  // Refusals changed nothing.
  platform.device(0).raise();
  check.equal(drain(sources, found), 1, "delivery goes on after the refusals");
}

void with(Platform& platform, Sources& sources, Checks& check, XicsSources* xics, XiveSources* xive) {
  Device& device = platform.device(0);
  RtasMsi vectors(platform.rtas(), device.address());
  Lisn lisn, found;
  std::uint32_t granted = 0;
  check.done(vectors.grant(MsiFunction::msi, 1, &lisn, granted), "grant");
  one_source(platform, sources, lisn, check);
  two_sources(platform, sources, lisn, check);
  if (xics != nullptr) xics_only(platform, *xics, lisn, check);
  if (xive != nullptr) xive_only(platform, *xive, lisn, check);

  device.enable_msi(false);
  check.that(sources.disconnect(0), "the source is disconnected");
  device.raise();
  check.equal(drain(sources, found), 0, "disabled: nothing is delivered");
  check.done(vectors.release(MsiFunction::msi), "release");
  device.raise();
  check.equal(drain(sources, found), 0, "released: nothing is delivered");

  check.done(vectors.grant(MsiFunction::msi, 1, &lisn, granted), "grant after the release");
  check.that(sources.connect(0, lisn), "connected again");
  device.enable_msi(true);
  device.raise();
  check.equal(drain(sources, found), 1, "and delivered again");
  device.enable_msi(false);
  check.that(sources.disconnect(0), "disconnected at the end");
  check.done(vectors.release(MsiFunction::msi), "released at the end");
}

}  // namespace

void delivery(Platform& platform) {
  if (platform.interrupts() == InterruptController::xics) {
    Checks check(platform, "xics");
    XicsSources sources(platform);
    check.answer("H_CPPR to accept all", sources.xics.set_cppr(kLeastFavored), kSuccess);
    with(platform, sources, check, &sources, nullptr);
  } else {
    Checks check(platform, "xive");
    XiveSources sources(platform);
    check.answer("H_INT_SET_QUEUE_CONFIG", sources.open(), kSuccess);
    with(platform, sources, check, nullptr, &sources);
    check.answer("H_INT_SET_QUEUE_CONFIG of size 0", sources.xive.reset_queue(kServer, kPriority), kSuccess);
  }
}

}  // namespace papr_suite
