// SPDX-License-Identifier: LGPL-2.1-or-later
// Which source a process gets: "auto" is io_uring where the kernel lets it, else copying, with
// a notice of why and what that means.
#include "pviommu/frame_source.h"

#include <cstring>

#include "pviommu/copying_pins.h"
#include "pviommu/io_uring_pins.h"

namespace pviommu {

Result<ChosenFrames> make_frame_source(std::string_view kind) {
  if (kind == "copy")
    return ChosenFrames{make_copying_source(), "program memory is not pinned: devices follow its addresses"};
  if (kind != "io_uring" && kind != "auto")
    return Error{EINVAL, "frame source"}.with_sentence("unknown frame source \"" + std::string(kind) +
                                                       "\": one of auto, io_uring, copy");
  auto source = make_io_uring_source();
  if (source) return ChosenFrames{*std::move(source), ""};
  const std::string why = std::string(source.error().operation) + ": " +
                          std::strerror(static_cast<int>(source.error().raw));
  const std::string missing = "io_uring registered buffers are not available (" + why + ")";
  if (kind == "io_uring") return source.error().with_sentence(missing);
  return ChosenFrames{make_copying_source(),
                      "program memory is not pinned, devices follow its addresses: " + missing};
}

}  // namespace pviommu
