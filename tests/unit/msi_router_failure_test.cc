// SPDX-License-Identifier: LGPL-2.1-or-later
// The n-th access fails, for every n: the errno comes back, all is as before,
// and the same operation works afterwards.
#include <functional>

#include "msi/vector_router.h"
#include "tests/unit/msi_fake.h"

namespace pviommu::msi::test {
namespace {

struct Machine {
  Script script;
  FakeDevice device{script};
  FakeInterrupts hypervisor{script, device};
  std::unique_ptr<VectorRouter> router;
  Eventfd target;

  explicit Machine(bool memory = true) {
    device.add_msi(0x40, 3, true, true);
    device.add_msix(0x60, 65, 0x2000, 0x3000);
    device.put16(4, memory ? 0x0003 : 0x0001);
    router = std::make_unique<VectorRouter>(hypervisor, hypervisor.limits(), device, *read_capabilities(device));
  }
};

struct Operation {
  const char* name;
  std::function<void(Machine&)> prepare;
  std::function<Status(Machine&)> run;
};

Status status(const Result<unsigned>& result) { return result ? Status() : Status(result.error()); }

VectorRouter::Target guest(std::uint8_t gvec) {
  VectorRouter::Target target;
  target.notification = {.kind = NotificationKind::guest_vector, .domid = Domid(7), .gvec = gvec};
  return target;
}
template <std::size_t N>
Status set(Machine& s, unsigned start, VectorRouter::Target (&&targets)[N]) {
  return s.router->set_targets(start, targets);
}

std::vector<Operation> operations() {
  std::vector<Operation> all;
  for (const VectorKind kind : {VectorKind::intx, VectorKind::msi, VectorKind::msix}) {
    const unsigned count = kind == VectorKind::intx ? 1 : 3;
    const auto nothing = [](Machine&) {};
    const auto enable = [=](Machine& s) { return status(s.router->enable(kind, count)); };
    const auto reserve = [=](Machine& s) { return status(s.router->reserve(kind, count)); };
    const auto enabled = [=](Machine& s) {
      EXPECT_TRUE(enable(s));
      EXPECT_TRUE(s.router->set_eventfd(count - 1, s.target.duplicate()));
    };
    const auto reserved = [=](Machine& s) { EXPECT_TRUE(reserve(s)); };
    const auto disable = [](Machine& s) { return s.router->disable(); };
    all.push_back({"enable", nothing, enable});
    all.push_back({"disable", enabled, disable});
    all.push_back({"reserve", nothing, reserve});
    all.push_back({"enable reserved", reserved, enable});
    all.push_back({"disable reserved", [=](Machine& s) { reserved(s), enabled(s); }, disable});
    all.push_back({"release", reserved, [](Machine& s) { return s.router->release_reservation(); }});
  }
  all.push_back({"short grant", [](Machine& s) { s.hypervisor.most = 2; },
                 [](Machine& s) {
                   const auto granted = s.router->enable(VectorKind::msix, 3);
                   EXPECT_TRUE(!granted || *granted == 2);
                   return status(granted);
                 }});
  all.push_back({"delivery off",
                 [](Machine& s) { EXPECT_TRUE(status(s.router->enable(VectorKind::msi, 1))); },
                 [](Machine& s) { return s.router->set_delivery(false); }});
  // A vector of each kind before, one masked, one with an arrival that waits; each to another kind.
  all.push_back({"targets",
                 [](Machine& s) {
                   EXPECT_TRUE(status(s.router->enable(VectorKind::msi, 6)));
                   EXPECT_TRUE(s.router->set_eventfd(0, s.target.duplicate()));
                   EXPECT_TRUE(set(s, 2, {guest(1), guest(2)}));
                   EXPECT_TRUE(s.router->set_eventfd(4, s.target.duplicate()));
                   EXPECT_TRUE(s.router->set_eventfd(5, s.target.duplicate()));
                   s.router->set_mask_bits(1 << 3 | 1 << 4);
                   EXPECT_TRUE(s.hypervisor.raise(VectorKind::msi, 1));
                 },
                 [](Machine& s) {
                   return set(s, 0, {guest(3), guest(4), {{}, s.target.duplicate()}, {{}, s.target.duplicate()}, guest(5)});
                 }});
  return all;
}

/// What the program can notice, the device and the hypervisor.
struct Seen {
  FakeInterrupts::State state;
  std::optional<VectorKind> active;
  unsigned count, reserved_msix, reserved_msi, reserved_intx;
  friend bool operator==(const Seen&, const Seen&) = default;
};
Seen see(Machine& s) {
  return {s.hypervisor.state(),
          s.router->active(),
          s.router->count(),
          s.router->reserved(VectorKind::msix),
          s.router->reserved(VectorKind::msi),
          s.router->reserved(VectorKind::intx)};
}

TEST(RouterFailure, EveryStepOfEveryOperation) {
  unsigned injected = 0;
  for (const Operation& operation : operations()) {
    for (const bool memory : {true, false}) {
      for (unsigned n = 1;; ++n) {
        SCOPED_TRACE(std::string(operation.name) + ", access " + std::to_string(n));
        Machine s(memory);
        operation.prepare(s);
        const Seen before = see(s);
        s.script.fail_at(n);
        s.script.take();
        const Status result = operation.run(s);
        if (!s.script.failed()) {
          EXPECT_TRUE(result);
          EXPECT_GT(n, 1u);
          break;
        }
        ++injected;
        EXPECT_FALSE(result);
        EXPECT_EQ(result.error().code, EIO);
        EXPECT_EQ(see(s), before);
        if (before.active && before.count > 0) {
          const VectorKind kind = *before.active;
          if (kind == VectorKind::intx)
            s.hypervisor.line(true);
          else
            EXPECT_TRUE(s.hypervisor.raise(kind, before.count - 1));
          const std::string name = operation.name;
          EXPECT_EQ(s.target.take(), name.starts_with("disable") || name == "targets" ? 1u : 0u);
        }
        s.script.fail_at(0);
        EXPECT_TRUE(operation.run(s));
      }
    }
  }
  EXPECT_GT(injected, 150u);
}

TEST(RouterFailure, CloseTriesAgain) {
  for (const bool reserved : {false, true}) {
    for (unsigned n = 1;; ++n) {
      SCOPED_TRACE(n);
      Machine s;
      const auto before = s.hypervisor.state();
      if (reserved) {
        EXPECT_TRUE(s.router->reserve(VectorKind::msix, 3));
      }
      EXPECT_TRUE(s.router->enable(VectorKind::msix, 3));
      s.script.fail_at(n);
      EXPECT_TRUE(s.router->close());
      EXPECT_EQ(s.hypervisor.state(), before);
      EXPECT_FALSE(s.router->active());
      if (!s.script.failed()) break;
    }
  }
}

TEST(RouterFailure, CloseGivesBackAllButWhatFailsForGood) {
  for (const bool reserved : {false, true}) {
    Machine s;
    s.hypervisor.expect_leak = true;
    if (reserved) {
      EXPECT_TRUE(s.router->reserve(VectorKind::msix, 3));
    }
    EXPECT_TRUE(s.router->enable(VectorKind::msix, 3));
    UniqueFd copy = s.target.duplicate();
    const int number = copy.get();
    EXPECT_TRUE(s.router->set_eventfd(0, std::move(copy)));
    s.script.fail_always("free");
    EXPECT_EQ(s.router->close().error().code, EIO);
    EXPECT_FALSE(s.device.msix_enabled());
    EXPECT_TRUE(s.hypervisor.state().sinks.empty());
    EXPECT_FALSE(s.router->active());
    EXPECT_EQ(s.router->reserved(VectorKind::msix), 0u);
    EXPECT_FALSE(s.device.intx_disabled());
    EXPECT_FALSE(is_internal_fd(number));
  }
}

TEST(RouterFailure, DestructorGivesBack) {
  Machine s;
  const auto before = s.hypervisor.state();
  EXPECT_TRUE(s.router->reserve(VectorKind::msi, 4));
  EXPECT_TRUE(s.router->enable(VectorKind::msi, 2));
  s.router.reset();
  EXPECT_EQ(s.hypervisor.state(), before);
}

TEST(RouterFailure, ResetReportsWhatItCouldNotRestore) {
  for (unsigned n = 1; n <= 3; ++n) {
    Machine s;
    EXPECT_TRUE(s.router->enable(VectorKind::msix, 2));
    EXPECT_TRUE(s.device.reset());
    s.script.fail_at(n);
    EXPECT_EQ(s.router->reset_happened().error().code, EIO) << n;
    EXPECT_TRUE(s.router->reset_happened());
    EXPECT_TRUE(s.device.msix_enabled());
    EXPECT_TRUE(s.device.intx_disabled());
  }
}

}  // namespace
}  // namespace pviommu::msi::test
