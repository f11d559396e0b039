// SPDX-License-Identifier: LGPL-2.1-or-later
// The modules that the registry's tests load: one good hypervisor and its
// spoilt variants, chosen with -D by hypercall.mk.
#include "hypercall/module.h"

#include <cstdio>
#include <cstring>
#include <string>

#include "hypercall/hypervisor.h"

#ifndef MODULE_SIZE
#define MODULE_SIZE sizeof(pviommu_module)
#endif
#ifndef MODULE_API_VERSION
#define MODULE_API_VERSION PVIOMMU_MODULE_API_VERSION
#endif
#ifndef MODULE_KIND
#define MODULE_KIND PVIOMMU_MODULE_HYPERVISOR
#endif
#ifndef MODULE_SYMBOL
#define MODULE_SYMBOL pviommu_module_entry
#endif

#ifdef MODULE_NEEDS_UNDEFINED
extern "C" int pviommu_test_nobody_has_this(void);
#endif

namespace {

using namespace pviommu;

constexpr Error kNo{EOPNOTSUPP, "test module"};

class NoHypervisor final : public Hypervisor {
 public:
  std::string_view name() const override { return MODULE_NAME; }
  const Capabilities& capabilities() const override { return capabilities_; }
  Result<std::vector<PciDeviceInfo>> devices() override { return kNo; }
  Result<std::unique_ptr<PciDevice>> open_device(Sbdf) override { return kNo; }
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
  Result<unsigned> allocate_vectors(Sbdf, VectorKind, unsigned) override { return kNo; }
  Status free_vectors(Sbdf, VectorKind) override { return kNo; }
  Status bind_vector(const Vector&, const Notification&) override { return kNo; }
  Status unbind_vector(const Vector&) override { return kNo; }
  Status mask_vector(const Vector&) override { return kNo; }
  Status unmask_vector(const Vector&) override { return kNo; }
  Status raise_vector(const Vector&) override { return kNo; }
  Result<std::unique_ptr<GuestBus>> guest_bus() override { return kNo; }
  Result<EventPort> event_port(const Vector&) override { return kNo; }
  Result<bool> vector_pending(const Vector&) override { return kNo; }
  int event_fd() const override { return -1; }
  Result<std::size_t> read_events(std::span<EventPort>) override { return kNo; }
  Result<std::size_t> read_faults(std::span<Fault>) override { return kNo; }

 private:
  Capabilities capabilities_;
};

/// CONF "fail": ENXIO with a message; "silent": fails without saying anything.
void* open(const pviommu_open_args* args, int* error) {
#ifdef MODULE_NEEDS_UNDEFINED
  if (pviommu_test_nobody_has_this() != 0) return nullptr;
#endif
  if (std::strcmp(args->conf, "silent") == 0) return nullptr;
  if (std::strcmp(args->conf, "fail") == 0) {
    *error = ENXIO;
    std::snprintf(args->message, args->message_size, "told to fail,\nsecond line");
    return nullptr;
  }
  return static_cast<Hypervisor*>(new NoHypervisor);
}

/// CONF "fail": ENXIO; "large": more than any first guess of room; "endless":
/// always more than there is room.
int diagnose(const char* conf, const char* device, char* json, std::size_t size) {
  if (std::strcmp(conf, "fail") == 0) return -ENXIO;
  if (std::strcmp(conf, "endless") == 0) return static_cast<int>(size) + 10;
  std::string text = "[{\"check\":\"device\",\"state\":\"ok\",\"detail\":\"" + std::string(device) +
                     "\",\"remedy\":\"\"}]";
  if (std::strcmp(conf, "large") == 0) text.append(200000, ' ');
  std::snprintf(json, size, "%s", text.c_str());
  return static_cast<int>(text.size());
}

}  // namespace

extern "C" __attribute__((visibility("default"))) const pviommu_module MODULE_SYMBOL = {
    MODULE_SIZE, MODULE_API_VERSION, MODULE_KIND, MODULE_NAME, "for the tests of the registry", open,
    diagnose, nullptr};
