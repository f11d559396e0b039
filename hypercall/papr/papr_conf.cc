// SPDX-License-Identifier: LGPL-2.1-or-later
// The keys of CONF and their defaults; a wrong one is one line that lists the right ones.
#include "hypercall/papr/papr_conf.h"

#include <bit>

#include "hypercall/conf.h"

namespace pviommu::spapr {

Result<Choice> parse_conf_text(std::string_view conf, std::string& message) {
  Choice choice;
  ConfError error;
  const auto elements = parse_conf(conf, error);
  if (!error.message.empty() || elements.size() > 1 || (!elements.empty() && !elements[0].head.empty())) {
    message = "papr:" + std::string(conf) + ": " +
              (error.message.empty() ? "one list of via=, container=, window=, page= is understood" : error.message);
    return Error{EINVAL, "papr"};
  }
  const ConfElement none;
  ConfReader reader(elements.empty() ? none : elements[0]);
  choice.via = reader.choice("via", "auto", {"auto", "vfio", "module"});
  choice.window.size = reader.size("window", 0);
  const std::string container = reader.choice("container", "auto", {"auto", "v1", "v2"});
  const std::uint64_t page = reader.size("page", kPageSize);
  message = reader.finish();
  if (!message.empty()) {
    message = "papr:" + std::string(conf) + ": " + message;
    return Error{EINVAL, "papr"};
  }
  const unsigned shift = std::has_single_bit(page) ? static_cast<unsigned>(std::countr_zero(page)) : 0;
  if (shift != 12 && shift != 16 && shift != 21 && shift != 24) {
    message = "papr:" + std::string(conf) + ": page= is one of 4K 64K 2M 16M";
    return Error{EINVAL, "papr"};
  }
  const std::uint64_t size = choice.window.size;
  if (size != 0 && (!std::has_single_bit(size) || size < page || size > WindowChoice::kStart)) {
    message = "papr:" + std::string(conf) + ": window= is a power of two, at least a page";
    return Error{EINVAL, "papr"};
  }
  choice.window.page_shift = shift;
  if (container == "v1" && size != 0) {
    message = "papr:" + std::string(conf) + ": window= needs container=v2";
    return Error{EINVAL, "papr"};
  }
  choice.container = container == "v2" || size != 0 ? ContainerType::v2 : ContainerType::v1;
  return choice;
}

}  // namespace pviommu::spapr
