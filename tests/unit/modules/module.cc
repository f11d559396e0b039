// SPDX-License-Identifier: LGPL-2.1-or-later
// What the modules of the registry's tests have behind their entries (entry.cc):
// a hypervisor that can do nothing, and rows.
#include "tests/unit/modules/module.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <utility>

#include "hypercall/hypervisor.h"
#include "hypercall/no_interrupts.h"

namespace {

using namespace pviommu;

constexpr Error kNo{EOPNOTSUPP, "test module"};

class NoHypervisor final : public Hypervisor, public Spaces {
 public:
  std::string_view name() const override { return test_module_name; }
  const Capabilities& capabilities() const override { return capabilities_; }
  Result<std::vector<PciDeviceInfo>> devices() override { return kNo; }
  Result<std::unique_ptr<PciDevice>> open_device(Sbdf) override { return kNo; }
  Result<std::unique_ptr<GuestBus>> guest_bus() override { return kNo; }
  Spaces& spaces() override { return *this; }
  Interrupts& interrupts() override { return interrupts_; }

  Result<SpaceId> create_space(const SpaceConfig&) override { return kNo; }
  Status destroy_space(SpaceId) override { return kNo; }
  Status attach(SpaceId, Sbdf) override { return kNo; }
  Status detach(SpaceId, Sbdf) override { return kNo; }
  BatchResult map(SpaceId, std::span<const MapRun>) override { return {0, kNo}; }
  BatchResult unmap(SpaceId, std::span<const UnmapRun>) override { return {0, kNo}; }
  Status flush(SpaceId) override { return kNo; }
  Status frames_of(PinnedMemory&, std::vector<FrameRun>&) override { return kNo; }
  void forget_frames(PinnedMemory&) noexcept override {}
  Status frames_of_mmio(Sbdf, unsigned, std::uint64_t, std::uint64_t, std::vector<FrameRun>&) override {
    return kNo;
  }

 private:
  Capabilities capabilities_;
  NoInterrupts interrupts_;
};

}  // namespace

void* test_module_open(const pviommu_open_args* args, int* error) {
  if (std::strcmp(args->conf, "silent") == 0) return nullptr;
  if (std::strcmp(args->conf, "fail") == 0) {
    *error = ENXIO;
    std::snprintf(args->message, args->message_size, "told to fail,\nsecond line");
    return nullptr;
  }
  return static_cast<pviommu::Hypervisor*>(new NoHypervisor);
}

int test_module_diagnose(const char* conf, const char* device, void (*row)(void*, const pviommu_check*), void* to) {
  const std::string seen = device;  // a row's strings need not outlive the call
  const pviommu_check check = {"device", PVIOMMU_CHECK_WARNING, seen.c_str(), "look"};
  const pviommu_check odd = {nullptr, 99, nullptr, nullptr};
  const int rows = std::strcmp(conf, "large") == 0 ? 10000 : 1;
  for (int i = 0; i < rows; ++i) row(to, std::strcmp(conf, "odd") == 0 ? &odd : &check);
  return std::strcmp(conf, "fail") == 0 ? -ENXIO : 0;
}

int test_module_reap(const char* conf, int dry_run, void (*row)(void*, const pviommu_reaped*), void* to) {
  static int calls = 0;
  ++calls;
  for (int i = 0; i < 2000; ++i) {
    const std::string what = "call " + std::to_string(calls) + ", carrier " + std::to_string(i) + " of process 4711";
    const pviommu_reaped reaped = {what.c_str(), dry_run != 0 ? PVIOMMU_REAPED_LEFT : PVIOMMU_REAPED_PUT_BACK};
    row(to, &reaped);
  }
  const pviommu_reaped odd = {nullptr, 99};
  row(to, &odd);
  return std::strcmp(conf, "fail") == 0 ? -EIO : 0;
}

namespace {

std::uint32_t kept = PVIOMMU_KEEPER_QUARANTINE;
char function_of(const char* device) { return device[std::strlen(device) - 1]; }

}  // namespace

int test_module_keeper(const char* conf, const char* device) {
  if (std::strcmp(conf, "fail") == 0) return -EIO;
  switch (function_of(device)) {
    case '1':
      return static_cast<int>(kept);
    case '2':
      return -ENODEV;
    case '3':
      return 99;
    default:
      return PVIOMMU_KEEPER_HOST;
  }
}

int test_module_set_keeper(const char* conf, const char* device, std::uint32_t keeper) {
  if (std::strcmp(conf, "fail") == 0) return -EIO;
  if (function_of(device) != '1') return -ENODEV;
  return std::exchange(kept, keeper) != keeper ? 1 : 0;
}
