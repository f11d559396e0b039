// SPDX-License-Identifier: LGPL-2.1-or-later
// The suite's platform over the model.
#pragma once

#include <string>
#include <vector>

#include "tests/papr/model.h"
#include "tests/papr/platform.h"

namespace papr_model {

/// edu, without its registers.
class ModelDevice final : public papr_suite::Device {
 public:
  ModelDevice(Model& model, unsigned bridge)
      : model_(model), bridge_(bridge), window_(model.default_window(bridge)), buffer_(kBufferBytes) {}
  PciAddress address() const override { return model_.function(bridge_).address; }
  const WindowGeometry& window() const override { return window_; }
  void read_memory(Ioba from, std::size_t offset, std::size_t bytes) override {
    (void)model_.dma(address().buid, from.raw(), buffer_.data() + offset, bytes, false);
  }
  void write_memory(Ioba to, std::size_t offset, std::size_t bytes) override {
    (void)model_.dma(address().buid, to.raw(), buffer_.data() + offset, bytes, true);
  }
  void raise() override {
    if (msi_ && model_.function(bridge_).message_address != 0)
      model_.message(model_.function(bridge_).message_data);
  }
  void enable_msi(bool on) override { msi_ = on; }
  void msi_message(std::uint64_t& message_address, std::uint32_t& data) override {
    message_address = model_.function(bridge_).message_address;
    data = model_.function(bridge_).message_data;
  }

 private:
  Model& model_;
  const unsigned bridge_;
  const WindowGeometry window_;
  std::vector<std::uint8_t> buffer_;
  bool msi_ = false;
};

class ModelPlatform : public papr_suite::Platform {
 public:
  /// `port` and `rtas` may be decorators of the model's.
  ModelPlatform(Model& model, Port& port, RtasPort& rtas) : model_(model), port_(port), rtas_(rtas) {
    for (unsigned i = 0; i < model.options().bridges; ++i) devices_.emplace_back(model, i);
  }
  explicit ModelPlatform(Model& model) : ModelPlatform(model, model.port(), model.rtas()) {}
  virtual ~ModelPlatform() = default;

  Port& port() override { return port_; }
  Port& raw() override { return model_.port(); }
  RtasPort& rtas() override { return rtas_; }
  std::size_t devices() const override { return devices_.size(); }
  papr_suite::Device& device(std::size_t index) override { return devices_[index]; }
  bool msix_function(PciAddress& function, std::uint32_t& vectors) override {
    function = model_.msix_function().address;
    vectors = model_.msix_function().vectors;
    return true;
  }
  bool dynamic_windows() const override { return model_.options().dynamic_windows; }
  papr_suite::InterruptController interrupts() const override {
    return model_.options().xive ? papr_suite::InterruptController::xive
                                 : papr_suite::InterruptController::xics;
  }
  bool strict() const override { return true; }
  std::uint8_t* memory(std::size_t bytes, std::size_t alignment) override {
    return model_.take(bytes, alignment);
  }
  RealAddress real(const void* pointer) const override { return model_.real(pointer); }
  RealAddress memory_last() const override { return RealAddress(model_.memory_bytes() - 1); }
  void result(const char* name, const char* failure) override {
    ++checks;
    if (*failure != '\0') failures.push_back(std::string(name) + " - " + failure);
  }
  void skipped(const char* name, const char* why) override {
    skips.push_back(std::string(name) + " - " + why);
  }
  void difference(const char*, const char*, const char*) override { ++differences; }

  unsigned checks = 0, differences = 0;
  std::vector<std::string> failures, skips;

 private:
  Model& model_;
  Port& port_;
  RtasPort& rtas_;
  std::vector<ModelDevice> devices_;
};

}  // namespace papr_model
