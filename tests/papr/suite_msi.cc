// SPDX-License-Identifier: LGPL-2.1-or-later
// Vectors granted by RTAS, before anybody waits for them.
#include "hypercall/papr/core/rtas_msi.h"
#include "tests/papr/checks.h"
#include "tests/papr/suite.h"

namespace papr_suite {
namespace {

RtasStatus change(Platform& platform, PciAddress function, std::uint32_t what, std::uint32_t count,
                  std::uint32_t* out) {
  const std::uint32_t in[] = {
      function.config, high_cell(function.buid), low_cell(function.buid), what, count, 1};
  return call(platform.rtas(), RtasCall::change_msi, in, 6, out, 2);
}

RtasStatus query(Platform& platform, PciAddress function, std::uint32_t vector, std::uint32_t* out) {
  const std::uint32_t in[] = {function.config, high_cell(function.buid), low_cell(function.buid), vector};
  return call(platform.rtas(), RtasCall::query_interrupt_source_number, in, 4, out, 2);
}

void raw_calls(Platform& platform, Checks& check) {
  const PciAddress function = platform.device(0).address();
  std::uint32_t out[2] = {};
  check.answer("ibm,query-interrupt-source-number before a grant", query(platform, function, 0, out),
               kRtasHardware);
  check.answer("ibm,change-msi of 0 without a grant", change(platform, function, 3, 0, out), kRtasHardware);
  check.answer("ibm,change-msi, MSI-X of a device without", change(platform, function, 4, 1, out),
               kRtasParameter);
  check.answer("ibm,change-msi, no such function of it", change(platform, function, 9, 1, out),
               kRtasParameter);
  PciAddress nobody = function;
  nobody.buid = Buid(0x123456789);
  check.answer("ibm,change-msi, no such host bridge", change(platform, nobody, 3, 1, out), kRtasParameter);
  check.answer("ibm,query-interrupt-source-number, no such host bridge", query(platform, nobody, 0, out),
               kRtasParameter);
  nobody = function;
  nobody.config = 0x1f << 11;
  check.answer("ibm,change-msi, no such device", change(platform, nobody, 3, 1, out), kRtasParameter);

  check.answer("ibm,change-msi, 4 of a device that has 1", change(platform, function, 3, 4, out),
               kRtasSuccess);
  check.equal(out[0], 1, "it offers 1");
  check.answer("an offer is no grant", query(platform, function, 0, out), kRtasHardware);
  check.answer("ibm,change-msi of 1", change(platform, function, 3, 1, out), kRtasSuccess);
  check.equal(out[0], 1, "it grants 1");
  check.equal(out[1], 2, "and the next number in sequence");
  check.answer("ibm,query-interrupt-source-number", query(platform, function, 0, out), kRtasSuccess);
  check.that(out[0] != 0, "the source has a number");
  check.equal(out[1], 1, "the source is an edge");
  check.answer("ibm,query-interrupt-source-number of a second one", query(platform, function, 1, out),
               kRtasHardware);
  check.answer("ibm,change-msi of 0", change(platform, function, 3, 0, out), kRtasSuccess);
  check.answer("ibm,query-interrupt-source-number after the release", query(platform, function, 0, out),
               kRtasHardware);
}

/// Lets the n-th call fail, be busy, or lie about what was granted.
class OddRtas final : public RtasDecorator {
 public:
  using RtasDecorator::RtasDecorator;
  RtasStatus rtas(RtasCall call, const std::uint32_t* in, std::size_t ins, std::uint32_t* out,
                  std::size_t outs) override {
    ++calls;
    if (calls == fail_at) return kRtasHardware;
    if (call == RtasCall::change_msi) {
      if (busy != 0) {
        --busy;
        out[0] = 0;
        out[1] = in[5] + 10;
        return kRtasBusy;
      }
      if (expected_sequence != 0 && in[5] != expected_sequence) wrong_sequence = true;
    }
    if (call == RtasCall::change_msi && in[4] > 1 && offer_is_grant) {
      std::uint32_t one[] = {in[0], in[1], in[2], in[3], 1, in[5]};
      return under_.rtas(call, one, ins, out, outs);
    }
    const RtasStatus status = under_.rtas(call, in, ins, out, outs);
    if (call == RtasCall::change_msi && status == kRtasSuccess && in[4] != 0 && lie != 0) out[0] = lie;
    if (call == RtasCall::query_interrupt_source_number && level) out[1] = 0;
    return status;
  }
  unsigned calls = 0, fail_at = 0, busy = 0;
  std::uint32_t expected_sequence = 0, lie = 0;
  bool wrong_sequence = false, level = false, offer_is_grant = false;
};

void core(Platform& platform, Checks& check) {
  const PciAddress function = platform.device(0).address();
  std::uint32_t out[2];
  Lisn sources[8];
  std::uint32_t granted = 0;
  RtasMsi vectors(platform.rtas(), function);
  check.that(vectors.grant(MsiFunction::msi, 0, sources, granted).refusal == RtasRefusal::argument,
             "grant of nothing is refused here");
  check.done(vectors.grant(MsiFunction::msi, 4, sources, granted), "grant of 4");
  check.equal(granted, 1, "of which there is 1");
  check.answer("and it is really granted", query(platform, function, 0, out), kRtasSuccess);
  check.equal(out[0], sources[0].raw(), "under that number");
  std::uint64_t address = 0;
  std::uint32_t data = 0;
  platform.device(0).msi_message(address, data);
  check.that(address != 0 && data != 0, "the hypervisor wrote the message into the device");
  check.done(vectors.release(MsiFunction::msi), "release");
  platform.device(0).msi_message(address, data);
  check.equal(address, 0, "the message is gone");
  check.that(!vectors.release(MsiFunction::msi), "a second release is refused");

  for (unsigned n = 1; n <= 3; ++n) {
    OddRtas odd(platform.rtas());
    odd.fail_at = n;
    RtasMsi failing(odd, function);
    check.that(!failing.grant(MsiFunction::msi, 4, sources, granted) && granted == 0,
               Text().add("call ").add(std::int64_t{n}).add(" of a grant fails: it says so").c_str());
    check.answer(
        Text().add("call ").add(std::int64_t{n}).add(" of a grant fails: nothing is granted").c_str(),
        query(platform, function, 0, out), kRtasHardware);
  }
  {
    OddRtas odd(platform.rtas());
    odd.fail_at = 2;
    odd.offer_is_grant = true;
    RtasMsi failing(odd, function);
    check.that(!failing.grant(MsiFunction::msi, 4, sources, granted),
               "an offer that was a grant, and then a failure");
    check.answer("it is given back", query(platform, function, 0, out), kRtasHardware);
  }
  {
    OddRtas odd(platform.rtas());
    odd.busy = 3;
    odd.expected_sequence = 31;
    RtasMsi waiting(odd, function);
    check.done(waiting.grant(MsiFunction::msi, 1, sources, granted), "busy three times: grant");
    check.that(!odd.wrong_sequence, "it goes on with the number it was told", "another number");
    check.done(RtasMsi(platform.rtas(), function).release(MsiFunction::msi), "busy three times: release");
  }
  {
    OddRtas odd(platform.rtas());
    odd.lie = 7;
    RtasMsi cheated(odd, function);
    check.that(!cheated.grant(MsiFunction::msi, 1, sources, granted),
               "more granted than asked for is refused");
    check.answer("and given back", query(platform, function, 0, out), kRtasHardware);
  }
  {
    OddRtas odd(platform.rtas());
    odd.level = true;
    RtasMsi wrong(odd, function);
    check.that(!wrong.grant(MsiFunction::msi, 1, sources, granted), "a message that is a level is refused");
    check.answer("and given back, too", query(platform, function, 0, out), kRtasHardware);
  }
}

// Grants only: nothing here makes such a device send.
void msix(Platform& platform, Checks& check) {
  PciAddress function;
  std::uint32_t vectors = 0, granted = 0, out[2];
  if (!platform.msix_function(function, vectors)) return check.skip("MSI-X", "no such device");
  static Lisn sources[2048];
  RtasMsi msix(platform.rtas(), function);
  check.that(vectors >= 4, "MSI-X: a device with several vectors");
  check.answer("MSI-X: ibm,change-msi, MSI of a device without", change(platform, function, 3, 1, out),
               kRtasParameter);
  check.done(msix.grant(MsiFunction::msix, 3, sources, granted), "MSI-X: grant of 3");
  check.equal(granted, 3, "MSI-X: there are 3");
  check.that(sources[0] != sources[1] && sources[1] != sources[2] && sources[0] != sources[2],
             "MSI-X: of different sources");
  check.answer("MSI-X: ibm,query-interrupt-source-number of a fourth", query(platform, function, 3, out),
               kRtasHardware);
  check.done(msix.grant(MsiFunction::msix, 2, sources, granted), "MSI-X: grant of 2 instead");
  check.answer("MSI-X: the third is gone", query(platform, function, 2, out), kRtasHardware);
  check.done(msix.grant(MsiFunction::msix, 1000, sources, granted), "MSI-X: grant of 1000");
  check.equal(granted, vectors, "MSI-X: there are as many as the device has");
  check.done(msix.release(MsiFunction::msix), "MSI-X: release");
  check.answer("MSI-X: none is left", query(platform, function, 0, out), kRtasHardware);
}

}  // namespace

void msi(Platform& platform) {
  Checks check(platform, "msi");
  raw_calls(platform, check);
  core(platform, check);
  msix(platform, check);
}

}  // namespace papr_suite
