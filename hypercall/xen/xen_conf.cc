// SPDX-License-Identifier: LGPL-2.1-or-later
// The keys of CONF and their defaults.
#include "hypercall/xen/xen_conf.h"

#include <cerrno>

#include "hypercall/conf.h"

namespace pviommu::xen {

Result<XenConf> parse_xen_conf(std::string_view conf) {
  const auto wrong = [](std::string_view what) { return Error{EINVAL, "open xen"}.with_sentence(what); };
  ConfError problem;
  const std::vector<ConfElement> elements = parse_conf(conf, problem);
  if (!problem.message.empty()) return wrong(problem.message);
  if (elements.size() > 1 || (elements.size() == 1 && !elements[0].head.empty()))
    return wrong("'" + std::string(conf) +
                 "': expected KEY=VALUE,... of domain, interrupts, assume-interface and fail");
  XenConf read;
  if (elements.empty()) return read;
  ConfReader reader(elements[0]);
  read.fail = reader.size("fail", 0);
  read.interrupts = reader.choice("interrupts", "auto", {"auto", "none", "may-crash-dom0"});
  read.domain = reader.text("domain", "");
  const std::string assumed = reader.text("assume-interface", "");
  if (const std::string unread = reader.finish(); !unread.empty()) return wrong(unread);
  if (!assumed.empty()) read.assumed = PVIOMMU_TRY(parse_interface(assumed));
  return read;
}

}  // namespace pviommu::xen
