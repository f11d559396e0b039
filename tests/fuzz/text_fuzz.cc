// SPDX-License-Identifier: LGPL-2.1-or-later
// Fuzz target: what people type.  CONF lists, the model's machine options, sizes, PCI
// addresses: no text does harm, and what is accepted means the same when it is
// written out again.
#include <string>
#include <string_view>

#include "hypercall/conf.h"
#include "hypercall/model/machine_options.h"
#include "hypercall/pci_device.h"
#include "tests/fuzz/check.h"

namespace pviommu::fuzz {
namespace {

std::string quoted(const std::string& text) { return '"' + text + '"'; }

void conf(std::string_view text) {
  ConfError error;
  const auto elements = parse_conf(text, error);
  FUZZ_CHECK(error.message.empty() || elements.empty(), "elements beside an error");
  std::string written;
  for (const ConfElement& element : elements) {
    if (!written.empty()) written += ';';
    written += element.head;
    for (const auto& [key, value] : element.items)
      written += (written.empty() || written.back() == ';' ? "" : ",") + key + '=' + quoted(value);
  }
  if (written.find_first_of("\"") == std::string::npos || text.find('"') == std::string_view::npos) {
    ConfError again;
    const auto same = parse_conf(written, again);
    FUZZ_CHECK(same.size() == elements.size(), "%zu elements of %zu: %s", same.size(), elements.size(),
               again.message.c_str());
    for (std::size_t i = 0; i < same.size(); ++i)
      FUZZ_CHECK(same[i].head == elements[i].head && same[i].items == elements[i].items,
                 "element %zu is another", i);
  }
  for (const ConfElement& element : elements) {
    ConfReader reader(element);
    const auto options = model::read_machine_options(reader);
    if (!options) continue;
    FUZZ_CHECK(!options->capabilities.iova_ranges.empty(), "a machine that maps nothing");
    for (const IovaRange& range : options->capabilities.iova_ranges) {
      FUZZ_CHECK(page_aligned(range.first().raw()) && page_aligned(range.last().raw() + 1),
                 "a range of odd bytes");
      for (const ReservedRange& reserved : options->capabilities.reserved)
        FUZZ_CHECK(!range.overlaps(reserved.range), "a reserved range can be mapped");
    }
  }
}

void address(std::string_view text) {
  const auto sbdf = parse_sbdf(text);
  if (!sbdf) return;
  const auto again = parse_sbdf(to_string(*sbdf));
  FUZZ_CHECK(again && *again == *sbdf, "%s is another address", to_string(*sbdf).c_str());
}

}  // namespace
}  // namespace pviommu::fuzz

extern "C" const char* __asan_default_options() { return "quarantine_size_mb=16:malloc_context_size=12"; }

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  using namespace pviommu::fuzz;
  if (bytes == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, bytes - 1);
  count_call();
  switch (data[0] % 4) {
    case 0:
      address(text);
      break;
    case 1:
      if (const auto size = pviommu::parse_size(text))
        FUZZ_CHECK(pviommu::parse_size(std::to_string(*size)) == size, "a size is another");
      break;
    default:
      conf(text);
  }
  return 0;
}
