// SPDX-License-Identifier: LGPL-2.1-or-later
// An engine on the model, used without a front end: the test is the program.
#pragma once

#include <gtest/gtest.h>
#include <linux/vfio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>

#include "hypercall/counted.h"
#include "hypercall/model/model.h"
#include "vfio-glue/engine/engine.h"
#include "vfio_local_client.h"

namespace pviommu::vfio {

struct EngineRig {
  explicit EngineRig(const std::string& hypervisor = "model:edu,addr=0000:00:06.0;nvme,size=1M,addr=0000:00:05.0",
                     const std::string& frames = "copy") {
    EngineConfig config;
    config.hypervisor = hypervisor;
    config.frame_source = frames;
    config.quiet = true;
    auto created = Engine::create(config);
    if (!created) throw std::runtime_error(to_string(created.error()));
    engine = std::move(*created);
    model = dynamic_cast<model::Model*>(&dynamic_cast<Counted&>(engine->hypervisor()).inner());
  }
  ~EngineRig() { client.close_all(); }

  int open_container() { return *client.install(*engine->open_container()); }
  int open_group(unsigned number) { return *client.install(*engine->open_group(number)); }

  std::unique_ptr<Engine> engine;
  model::Model* model = nullptr;
  LocalClient client;
};

}  // namespace pviommu::vfio
