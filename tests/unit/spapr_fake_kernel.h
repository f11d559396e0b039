// SPDX-License-Identifier: LGPL-2.1-or-later
// The kernel's VFIO sPAPR driver in this process, v1 and v2: strict, and willing to
// fail at a given call.
//
//   Group --- Container --- Window: entries, iova -> address
//     |           |
//   Device     registrations, in `memory` counted over all containers
//
// What Linux 6.12 does is in drivers/vfio/vfio_iommu_spapr_tce.c and
// arch/powerpc/mm/book3s64/iommu_api.c.  What it would let pass and a caller should
// still never do (an entry over another one, a removal of nothing, memory that is
// given back under an entry) is a failure of the test at once.
#pragma once

#include <gtest/gtest.h>
#include <linux/vfio.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "hypercall/pci_device.h"
#include "spapr_fake_device.h"
#include "hypercall/papr/vfio/vfio_calls.h"

namespace pviommu::spapr {

class FakeKernel {
 public:
  struct Entry {
    std::uint64_t address = 0;
    std::uint32_t flags = 0;
    friend bool operator==(const Entry&, const Entry&) = default;
  };
  struct Window {
    std::uint64_t first = 0, bytes = 0;
    unsigned shift = kPageShift;
    std::map<std::uint64_t, Entry> entries = {};  ///< by bus address
  };
  using Piece = std::pair<std::uint64_t, std::uint64_t>;  ///< first address, bytes
  struct Group;
  struct Container {
    bool is_open = true, has_iommu = false, v2 = false, enabled = false;
    Group* group = nullptr;
    std::vector<Window> windows;
    std::set<Piece> registered;
  };
  struct Group {
    bool viable = true;
    std::uint64_t first = 0, bytes = std::uint64_t{1} << 30;  ///< the default window
    int set_iommu_error = 0;
    std::uint64_t page_sizes = 0x1011000;  ///< of dynamic windows; 0: there are none
    std::uint64_t second_window = std::uint64_t{1} << 59;
    bool is_open = false;
    Container* container = nullptr;
    unsigned devices_open = 0;
  };
  struct Device : FakeDevice {
    Group* group = nullptr;
    bool is_open = false;
  };
  struct Use {
    unsigned users = 0, mapped = 0;
  };

  explicit FakeKernel(std::uint64_t page = kPageSize) : page_(page) {}

  // ---- what the test says -------------------------------------------------------

  Group& add_group(unsigned number) { return groups[number]; }
  Device& add_device(Sbdf sbdf, unsigned group) {
    Device& device = devices[sbdf];
    device.group = &groups[group];
    return device;
  }
  /// The call `n` from now on (1: the next one) does nothing and fails, once only.
  void fail_at(unsigned n, int code = EIO) {
    const std::lock_guard guard(lock_);
    left_ = n;
    code_ = code;
  }
  /// The failure that was asked for has been.
  bool has_failed() {
    const std::lock_guard guard(lock_);
    return left_ == 0;
  }
  /// What it was that failed (0: open(), 1: an access).
  unsigned long failed_request() {
    const std::lock_guard guard(lock_);
    return failed_;
  }
  /// The next `times` calls of the request fail.
  void fail_request(unsigned long request, unsigned times, int code = EIO) {
    const std::lock_guard guard(lock_);
    failing_[request] = {times, code};
  }
  /// No memory that can be pinned, page aligned.
  void add_hole(std::uint64_t first, std::uint64_t bytes) { holes_.push_back({first, bytes}); }
  /// RLIMIT_MEMLOCK.
  std::uint64_t most_bytes = ~std::uint64_t{0};

  /// The device raises an interrupt.
  void fire(Sbdf sbdf, unsigned index, unsigned vector = 0, std::uint64_t times = 1) {
    const std::lock_guard guard(lock_);
    Device& device = devices.at(sbdf);
    if (index == VFIO_PCI_INTX_IRQ_INDEX) {
      device.line = true;
      return device.look_at_line();
    }
    device.raise(index, vector, times);
  }
  void lower_line(Sbdf sbdf) {
    const std::lock_guard guard(lock_);
    devices.at(sbdf).line = false;
  }
  /// Where the group's devices get to; null: they cannot.
  std::byte* reach(unsigned group, std::uint64_t iova, std::uint32_t flags = VFIO_DMA_MAP_FLAG_READ) {
    const std::lock_guard guard(lock_);
    sweep();
    Container* container = groups.at(group).container;
    for (Window& window : container == nullptr ? no_windows_ : container->windows) {
      const std::uint64_t mask = (std::uint64_t{1} << window.shift) - 1;
      const auto found = window.entries.find(iova & ~mask);
      if (found != window.entries.end() && (found->second.flags & flags) == flags)
        return reinterpret_cast<std::byte*>(found->second.address + (iova & mask));
    }
    return nullptr;
  }
  /// The entries of a group's windows.
  std::map<std::uint64_t, Entry> entries(unsigned group) {
    const std::lock_guard guard(lock_);
    sweep();
    std::map<std::uint64_t, Entry> all;
    if (const Container* container = groups.at(group).container)
      for (const Window& window : container->windows)
        all.insert(window.entries.begin(), window.entries.end());
    return all;
  }
  std::size_t open_files() {
    const std::lock_guard guard(lock_);
    sweep();
    return files_.size();
  }
  std::size_t registrations() {
    const std::lock_guard guard(lock_);
    sweep();
    return memory_.size();
  }
  std::uint64_t registered_bytes() {
    const std::lock_guard guard(lock_);
    sweep();
    return registered_now();
  }
  /// Registered anywhere.
  bool is_registered(std::uint64_t address) {
    const std::lock_guard guard(lock_);
    sweep();
    return std::ranges::any_of(memory_, [&](const auto& one) {
      return one.first.first <= address && address - one.first.first < one.first.second;
    });
  }
  /// Nothing is open, mapped or registered.
  bool is_empty() {
    const std::lock_guard guard(lock_);
    sweep();
    return files_.empty() && containers_.empty() && memory_.empty();
  }
  unsigned count(unsigned long request) {
    const std::lock_guard guard(lock_);
    return counts_[request];
  }
  unsigned calls() {
    const std::lock_guard guard(lock_);
    return calls_;
  }
  /// A container with the group in it, as KernelGroup::open() makes one.
  UniqueFd container_of(VfioCalls& calls, unsigned group, UniqueFd& group_fd) {
    group_fd = calls.open("/dev/vfio/" + std::to_string(group)).value();
    UniqueFd fd = calls.open("/dev/vfio/vfio").value();
    int number = fd.get();
    EXPECT_TRUE(calls.ioctl(group_fd.get(), VFIO_GROUP_SET_CONTAINER, &number));
    EXPECT_TRUE(calls.ioctl(number, VFIO_SET_IOMMU, std::uintptr_t{VFIO_SPAPR_TCE_v2_IOMMU}));
    return fd;
  }

  // ---- what the code under test calls -------------------------------------------

  std::unique_ptr<VfioCalls> make_calls() { return std::make_unique<Calls>(*this); }

  bool has_vfio = true, has_spapr = true;
  std::map<unsigned, Group> groups;
  std::map<Sbdf, Device> devices;

 private:
  struct File {
    UniqueFd other_end;  ///< hangs up when the caller closes its own
    Container* container = nullptr;
    Group* group = nullptr;
    Device* device = nullptr;
  };

  class Calls final : public VfioCalls {
   public:
    explicit Calls(FakeKernel& kernel) : kernel_(kernel) {}
    Result<UniqueFd> open(const std::string& path) override { return kernel_.open(path); }
    Result<int> ioctl(int fd, unsigned long request, std::uintptr_t argument) override {
      return kernel_.ioctl(fd, request, argument);
    }
    Status read(int fd, std::span<std::byte> bytes, std::uint64_t offset) override {
      return kernel_.access(fd, bytes.size(), offset,
                            [&](std::byte* at) { std::copy_n(at, bytes.size(), bytes.begin()); });
    }
    Status write(int fd, std::span<const std::byte> bytes, std::uint64_t offset) override {
      return kernel_.access(fd, bytes.size(), offset, [&](std::byte* at) { std::ranges::copy(bytes, at); });
    }

   private:
    FakeKernel& kernel_;
  };

  bool fails(unsigned long request) {
    ++calls_;
    ++counts_[request];
    if (left_ != 0 && --left_ == 0) {
      failed_ = request;
      return true;
    }
    const auto found = failing_.find(request);
    if (found == failing_.end() || found->second.first == 0) return false;
    --found->second.first;
    code_ = found->second.second;
    return true;
  }

  // ---- files ----

  UniqueFd new_file(File file) {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    file.other_end.reset(ends[1]);
    files_[ends[0]] = std::move(file);
    return UniqueFd(ends[0]);
  }
  /// Sees what was closed since the last call.
  void sweep() {
    for (auto at = files_.begin(); at != files_.end();) {
      pollfd about{at->second.other_end.get(), POLLIN, 0};
      if (::poll(&about, 1, 0) == 0) {
        ++at;
        continue;
      }
      const File file = std::move(at->second);
      at = files_.erase(at);
      if (file.device != nullptr) {
        file.device->is_open = false;
        for (auto& irqs : file.device->irqs) irqs.eventfds.clear();
        --file.device->group->devices_open;
        leave_container(*file.device->group);
      }
      if (file.group != nullptr) {
        file.group->is_open = false;
        leave_container(*file.group);
      }
      if (file.container != nullptr) {
        file.container->is_open = false;
        end(*file.container);
      }
    }
  }
  /// A device that is open keeps its group's file.
  void leave_container(Group& group) {
    if (group.is_open || group.devices_open != 0 || group.container == nullptr) return;
    Container& container = *group.container;
    group.container = nullptr;
    container.group = nullptr;
    for (Window& window : container.windows)
      while (!window.entries.empty()) forget_entry(container, window, window.entries.begin());
    container.windows.clear();
    container.has_iommu = container.enabled = false;
    while (!container.registered.empty()) unregister(container, *container.registered.begin());
    end(container);
  }
  void end(Container& container) {
    if (container.is_open || container.group != nullptr) return;
    std::erase_if(containers_, [&](const auto& one) { return one.get() == &container; });
  }
  Result<UniqueFd> open(const std::string& path) {
    const std::lock_guard guard(lock_);
    sweep();
    if (fails(0)) return refuse(code_);
    if (path == "/dev/vfio/vfio") {
      if (!has_vfio) return refuse(ENOENT);
      containers_.push_back(std::make_unique<Container>());
      return new_file({{}, containers_.back().get(), nullptr, nullptr});
    }
    const std::string_view folder = "/dev/vfio/";
    if (!path.starts_with(folder)) return refuse(ENOENT, path.c_str());
    const auto found = groups.find(static_cast<unsigned>(std::stoul(path.substr(folder.size()))));
    if (found == groups.end()) return refuse(ENOENT);
    if (found->second.is_open || found->second.devices_open != 0) return refuse(EBUSY);
    found->second.is_open = true;
    return new_file({{}, nullptr, &found->second, nullptr});
  }

  Result<int> ioctl(int fd, unsigned long request, std::uintptr_t argument) {
    const std::lock_guard guard(lock_);
    sweep();
    if (fails(request)) return refuse(code_);
    const auto found = files_.find(fd);
    if (found == files_.end()) return refuse(EBADF, "no file of VFIO");
    File& file = found->second;
    if (file.container != nullptr) return container_ioctl(*file.container, request, argument);
    if (file.group != nullptr) return group_ioctl(*file.group, request, argument);
    return file.device->ioctl(request, argument);
  }

  // ---- groups ----

  Result<int> group_ioctl(Group& group, unsigned long request, std::uintptr_t argument) {
    switch (request) {
      case VFIO_GROUP_GET_STATUS:
        structure<vfio_group_status>(argument)->flags =
            (group.viable ? VFIO_GROUP_FLAGS_VIABLE : 0) |
            (group.container != nullptr ? VFIO_GROUP_FLAGS_CONTAINER_SET : 0);
        return 0;
      case VFIO_GROUP_SET_CONTAINER: {
        const auto found = files_.find(*reinterpret_cast<int*>(argument));
        if (found == files_.end() || found->second.container == nullptr) return refuse(EBADF, "no container");
        if (group.container != nullptr) return refuse(EINVAL, "the group has a container");
        if (!group.viable) return refuse(EPERM);
        if (found->second.container->group != nullptr) return refuse(EBUSY, "a second group");
        group.container = found->second.container;
        group.container->group = &group;
        return 0;
      }
      case VFIO_GROUP_GET_DEVICE_FD: {
        if (group.container == nullptr || !group.container->has_iommu) return refuse(EINVAL, "no IOMMU yet");
        const auto sbdf = parse_sbdf(reinterpret_cast<const char*>(argument));
        const auto found = sbdf ? devices.find(*sbdf) : devices.end();
        if (found == devices.end() || found->second.group != &group) return refuse(ENODEV);
        if (found->second.is_open) return refuse(EBUSY, "the device is open");
        found->second.is_open = true;
        ++group.devices_open;
        return new_file({{}, nullptr, nullptr, &found->second}).release();
      }
    }
    return refuse(ENOTTY, "request of a group");
  }

  // ---- containers ----

  Result<int> container_ioctl(Container& container, unsigned long request, std::uintptr_t argument) {
    const bool spapr = argument == VFIO_SPAPR_TCE_v2_IOMMU || argument == VFIO_SPAPR_TCE_IOMMU;
    if (request == VFIO_CHECK_EXTENSION) return has_spapr && spapr ? 1 : 0;
    if (container.group == nullptr) return refuse(EINVAL, "a container without a group");
    if (request == VFIO_SET_IOMMU) {
      if (!spapr) return refuse(ENODEV, "another IOMMU");
      if (container.group->set_iommu_error != 0) return refuse(container.group->set_iommu_error);
      container.has_iommu = true;
      container.v2 = argument == VFIO_SPAPR_TCE_v2_IOMMU;
      container.windows.push_back({container.group->first, container.group->bytes, kPageShift});
      return 0;
    }
    if (!container.has_iommu) return refuse(EINVAL, "a container without an IOMMU");
    switch (request) {
      case VFIO_IOMMU_SPAPR_TCE_GET_INFO: {
        auto* info = structure<vfio_iommu_spapr_tce_info>(argument);
        info->dma32_window_start = static_cast<std::uint32_t>(container.group->first);
        info->dma32_window_size = static_cast<std::uint32_t>(container.group->bytes);
        const bool dynamic = container.v2 && container.group->page_sizes != 0;
        info->flags = dynamic ? VFIO_IOMMU_SPAPR_INFO_DDW : 0;
        if (dynamic) info->ddw = {container.group->page_sizes, 1, 1};
        return 0;
      }
      case VFIO_IOMMU_ENABLE:
        if (container.v2 || container.enabled)
          return refuse(container.v2 ? ENOTTY : EBUSY, "enables a container");
        if (container.group->bytes > most_bytes) return refuse(ENOMEM);
        container.enabled = true;
        return 0;
      case VFIO_IOMMU_MAP_DMA:
        return map(container, *structure<vfio_iommu_type1_dma_map>(argument));
      case VFIO_IOMMU_UNMAP_DMA:
        return unmap(container, *structure<vfio_iommu_type1_dma_unmap>(argument));
    }
    if (!container.v2) return refuse(ENOTTY, "request of a v1 container");
    switch (request) {
      case VFIO_IOMMU_SPAPR_TCE_CREATE:
        return create_window(container, *structure<vfio_iommu_spapr_tce_create>(argument));
      case VFIO_IOMMU_SPAPR_REGISTER_MEMORY:
        return register_memory(container, *structure<vfio_iommu_spapr_register_memory>(argument));
      case VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY: {
        const auto* what = structure<vfio_iommu_spapr_register_memory>(argument);
        const Piece piece{what->vaddr, what->size};
        if (!container.registered.contains(piece))
          return refuse(ENOENT, "unregisters what is not registered");
        for (const Window& window : container.windows)
          for (const auto& [iova, entry] : window.entries)
            if (entry.address - piece.first < piece.second)
              return refuse(EBUSY, "unregisters what is mapped");
        unregister(container, piece);
        return 0;
      }
    }
    return refuse(ENOTTY, "request of a container");
  }
  Result<int> create_window(Container& container, vfio_iommu_spapr_tce_create& create) {
    if (create.flags != 0 || create.levels != 1) return refuse(EINVAL, "flags or levels of a window");
    if ((container.group->page_sizes >> create.page_shift & 1) == 0)
      return refuse(EINVAL, "page size of a window");
    if (container.windows.size() > 1) return refuse(ENOSPC, "a third window");
    create.start_addr = container.group->second_window;
    container.windows.push_back({create.start_addr, create.window_size, create.page_shift});
    return 0;
  }

  // ---- registered memory ----

  bool in_hole(std::uint64_t address) const {
    return std::ranges::any_of(holes_, [&](const Piece& hole) { return address - hole.first < hole.second; });
  }
  std::uint64_t registered_now() const {
    std::uint64_t all = 0;
    for (const auto& [piece, use] : memory_) all += piece.second;
    return all;
  }
  Result<int> register_memory(Container& container, const vfio_iommu_spapr_register_memory& what) {
    const Piece piece{what.vaddr, what.size};
    if (what.flags != 0 || ((what.vaddr | what.size) & (page_ - 1)) != 0 || what.size == 0 ||
        what.vaddr + (what.size - 1) < what.vaddr)
      return refuse(EINVAL, "a registration that is not made of pages");
    if (container.registered.contains(piece)) return refuse(EBUSY, "registers twice");
    const auto known = memory_.find(piece);
    if (known == memory_.end()) {
      for (const auto& [other, use] : memory_)
        if (what.vaddr - other.first < other.second || other.first - what.vaddr < what.size)
          return refuse(EINVAL, "registrations overlap");
      if (what.size > most_bytes - std::min(most_bytes, registered_now())) return refuse(ENOMEM);
      // pin_user_pages() gives what it got before the hole.
      for (std::uint64_t at = what.vaddr; at - what.vaddr < what.size; at += page_) {
        if (!in_hole(at)) continue;
        if (at == what.vaddr) return refuse(EFAULT);
        return static_cast<int>((at - what.vaddr) / page_);
      }
    }
    ++memory_[piece].users;
    container.registered.insert(piece);
    container.enabled = true;
    return 0;
  }
  void unregister(Container& container, const Piece piece) {
    container.registered.erase(piece);
    Use& use = memory_.at(piece);
    if (--use.users != 0) return;
    EXPECT_EQ(use.mapped, 0u) << "memory is given back that another container maps";
    memory_.erase(piece);
  }

  // ---- entries ----

  Window* find_window(Container& container, std::uint64_t iova) {
    for (Window& window : container.windows)
      if (iova - window.first < window.bytes) return &window;
    return nullptr;
  }
  /// The one registration that holds all of [address, + bytes).
  std::map<Piece, Use>::iterator registration(std::uint64_t address, std::uint64_t bytes) {
    return std::ranges::find_if(memory_, [&](const auto& one) {
      const auto& [first, size] = one.first;
      return address >= first && address - first < size && bytes <= size - (address - first);
    });
  }
  Result<int> map(Container& container, const vfio_iommu_type1_dma_map& what) {
    const std::uint32_t rights = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
    if ((what.flags & ~rights) != 0 || (what.flags & rights) == 0) return refuse(EINVAL, "rights of a map");
    if (!container.enabled) return refuse(EPERM, "maps before it registers or enables");
    Window* window = find_window(container, what.iova);
    if (window == nullptr) return refuse(ENXIO);
    const std::uint64_t page = std::uint64_t{1} << window->shift;
    if (what.size == 0 || ((what.iova | what.vaddr | what.size) & (page - 1)) != 0) return refuse(EINVAL);
    if (what.size > window->bytes - (what.iova - window->first)) return refuse(EINVAL);
    for (std::uint64_t at = 0; at < what.size; at += page) {
      if (container.v2) {
        const auto found = registration(what.vaddr + at, page);
        if (found == memory_.end()) return refuse(EINVAL, "maps memory that is not registered");
        if (!container.registered.contains(found->first))
          return refuse(EPERM, "maps what another container registered");
      } else if (in_hole(what.vaddr + at)) {
        return refuse(EFAULT);
      }
      if (window->entries.contains(what.iova + at)) return refuse(EEXIST, "an entry over another one");
    }
    for (std::uint64_t at = 0; at < what.size; at += page) {
      window->entries[what.iova + at] = {what.vaddr + at, what.flags};
      if (container.v2) ++registration(what.vaddr + at, page)->second.mapped;
    }
    return 0;
  }
  Result<int> unmap(Container& container, const vfio_iommu_type1_dma_unmap& what) {
    if (what.flags != 0) return refuse(EINVAL, "flags of an unmap");
    Window* window = find_window(container, what.iova);
    if (window == nullptr) return refuse(ENXIO);
    const std::uint64_t page = std::uint64_t{1} << window->shift;
    if (((what.iova | what.size) & (page - 1)) != 0) return refuse(EINVAL);
    for (std::uint64_t at = 0; at < what.size; at += page)
      if (!window->entries.contains(what.iova + at)) return refuse(EINVAL, "removes what is not there");
    for (std::uint64_t at = 0; at < what.size; at += page)
      forget_entry(container, *window, window->entries.find(what.iova + at));
    return 0;
  }
  void forget_entry(Container& container, Window& window, std::map<std::uint64_t, Entry>::iterator entry) {
    if (container.v2) --registration(entry->second.address, std::uint64_t{1} << window.shift)->second.mapped;
    window.entries.erase(entry);
  }

  // ---- devices ----

  Status access(int fd, std::size_t bytes, std::uint64_t offset,
                const std::function<void(std::byte*)>& copy) {
    const std::lock_guard guard(lock_);
    sweep();
    if (fails(1)) return refuse(code_);
    const auto found = files_.find(fd);
    if (found == files_.end() || found->second.device == nullptr) return refuse(EBADF, "no device");
    return found->second.device->access(bytes, offset, copy);
  }

  const std::uint64_t page_;
  std::mutex lock_;
  std::map<int, File> files_;
  std::vector<std::unique_ptr<Container>> containers_;
  std::map<Piece, Use> memory_;
  std::vector<Piece> holes_;
  std::vector<Window> no_windows_;
  std::map<unsigned long, unsigned> counts_;
  std::map<unsigned long, std::pair<unsigned, int>> failing_;
  unsigned calls_ = 0, left_ = 0;
  unsigned long failed_ = 0;
  int code_ = 0;
};

}  // namespace pviommu::spapr
