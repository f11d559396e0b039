// SPDX-License-Identifier: LGPL-2.1-or-later
// The keys of CONF and their defaults; a wrong one is one line that lists the right ones.
#include "hypercall/papr/papr_conf.h"

#include <bit>

#include "hypercall/conf.h"

namespace pviommu::spapr {

Result<Choice> parse_conf_text(std::string_view conf) {
  const auto wrong = [&](const std::string& what) {
    return Error{EINVAL, "papr"}.with_sentence("papr:" + std::string(conf) + ": " + what);
  };
  Choice choice;
  ConfError error;
  const auto elements = parse_conf(conf, error);
  if (!error.message.empty() || elements.size() > 1 || (!elements.empty() && !elements[0].head.empty()))
    return wrong(error.message.empty() ? "one list of via=, container=, window=, page= is understood" : error.message);
  const ConfElement none;
  ConfReader reader(elements.empty() ? none : elements[0]);
  choice.via = reader.choice("via", "auto", {"auto", "vfio", "module"});
  choice.window.size = reader.size("window", 0);
  const std::string container = reader.choice("container", "auto", {"auto", "v1", "v2"});
  const std::uint64_t page = reader.size("page", kPageSize);
  if (const std::string unread = reader.finish(); !unread.empty()) return wrong(unread);
  const unsigned shift = std::has_single_bit(page) ? static_cast<unsigned>(std::countr_zero(page)) : 0;
  if (shift != 12 && shift != 16 && shift != 21 && shift != 24)
    return wrong("page= is one of 4K 64K 2M 16M");
  const std::uint64_t size = choice.window.size;
  if (size != 0 && (!std::has_single_bit(size) || size < page || size > WindowChoice::kStart))
    return wrong("window= is a power of two, at least a page");
  choice.window.page_shift = shift;
  if (container == "v1" && size != 0)
    return wrong("window= needs container=v2");
  choice.container = container == "v2" || size != 0 ? ContainerType::v2 : ContainerType::v1;
  return choice;
}

}  // namespace pviommu::spapr
