// SPDX-License-Identifier: LGPL-2.1-or-later
// Which source a process gets: "auto" is io_uring where the kernel lets it, else copying, with
// a notice of why and what that means.
#include "pviommu/frame_source.h"

#include <cstring>

#include "pviommu/copying_pins.h"
#include "pviommu/io_uring_pins.h"

namespace pviommu {

Result<std::unique_ptr<FrameSource>> make_frame_source(std::string_view kind, std::string& notice) {
  notice.clear();
  if (kind == "copy") {
    notice = "program memory is not pinned: devices follow its addresses";
    return make_copying_source();
  }
  if (kind != "io_uring" && kind != "auto") {
    notice = "unknown frame source \"" + std::string(kind) + "\": one of auto, io_uring, copy";
    return Error{EINVAL, "frame source"};
  }
  auto source = make_io_uring_source();
  if (source) return source;
  const std::string why = std::string(source.error().operation) + ": " +
                          std::strerror(static_cast<int>(source.error().raw));
  if (kind == "io_uring") {
    notice = "io_uring registered buffers are not available (" + why + ")";
    return source.error();
  }
  notice = "program memory is not pinned, devices follow its addresses: io_uring registered buffers are not available (" +
           why + ")";
  return make_copying_source();
}

}  // namespace pviommu
