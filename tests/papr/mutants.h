// SPDX-License-Identifier: LGPL-2.1-or-later
// Deliberate bugs between the core and the hypervisor, which the suite must notice.
#pragma once

#include "tests/papr/checks.h"

namespace papr_suite {

enum class Mutant : std::uint8_t {
  none,
  list_endianness,    ///< the words of a list in the other byte order
  always_read_write,  ///< whatever right was asked for
  unmap_nothing,      ///< "done", and nothing happened
  wrong_page,         ///< the page behind the one that was meant
};

struct MutantName {
  const char* name;
  Mutant mutant;
};
inline constexpr MutantName kMutants[] = {
    {"none", Mutant::none},
    {"list-endianness", Mutant::list_endianness},
    {"always-read-write", Mutant::always_read_write},
    {"unmap-nothing", Mutant::unmap_nothing},
    {"wrong-page", Mutant::wrong_page},
};
/// False: there is none of that name.
bool mutant_named(const char* name, Mutant& mutant);

class MutantPort final : public PortDecorator {
 public:
  MutantPort(Port& under, Mutant mutant) : PortDecorator(under), mutant_(mutant) {}
  Rc hcall(Hcall op, const std::uint64_t* in, std::uint64_t* out) override;
  Rc put_tce_list(Liobn liobn, Ioba ioba, const std::uint64_t* tces, std::size_t count) override;

 private:
  std::uint64_t changed(std::uint64_t tce) const;
  const Mutant mutant_;
};

}  // namespace papr_suite
