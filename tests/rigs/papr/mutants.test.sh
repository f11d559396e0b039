#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Deliberate bugs: the suite on QEMU's hcalls must go red with each of them.
#
# Four lie between the core and the hypervisor (tests/papr/mutants.h) and are chosen on the
# guest's command line.  Others are changes of the core's source, made here with sed in a
# copy, so that no such code is in the library.
set -u
here=$(cd "$(dirname "$0")" && pwd)
tree=$(cd "$here/../../.." && pwd)
results=${PVIOMMU_BUILD:?}/results/papr-guest
guest=$results/guest.elf
. "$here/../../tap.sh"
mkdir -p "$results"
[ -x "$guest" ] || "$here/guest/build" "$guest" || { not_ok "the guest is built" "see above"; finish; }

# caught NAME GUEST CPU INTERRUPTS LINE: ok when a check of the suite failed.  A guest that
# does not come to its end is none that was caught by a check.
caught() {
  log=$results/mutant-$1.log
  "$here/guest/boot" "$2" "$3" "$4" --line "$5" >"$log" 2>"$log.qemu"
  status=$?
  bad=$(grep -c '^not ok ' "$log")
  if [ $status -eq 0 ] && [ "$bad" -gt 0 ] && grep -q '^1\.\.' "$log"; then
    ok "mutant $1 on $3: caught by $bad checks, the first: $(sed -n 's/^not ok //p' "$log" | head -n 1)"
  else
    tail -n 5 "$log" "$log.qemu" | sed 's/^/#   /'
    not_ok "mutant $1 on $3" "status $status, $bad checks failed"
  fi
}

# changed NAME FILE EXPRESSION: a guest from a copy of the core's FILE with sed's EXPRESSION
# applied.  Fails when that changes nothing or does not compile.
changed() {
  copy=$results/mutant-$1.cc
  sed "$3" "$tree/hypercall/papr/core/$2" >"$copy"
  if cmp -s "$copy" "$tree/hypercall/papr/core/$2"; then
    not_ok "mutant $1" "the source has nothing left that it changes"
    return 1
  fi
  # build has the objects of the guest that is whole.
  cp -R "$guest.objects" "$results/mutant-$1.elf.objects"
  if ! "$here/guest/build" --replace "$2" "$copy" "$results/mutant-$1.elf"; then
    not_ok "mutant $1" "it does not compile"
    return 1
  fi
  rm -rf "$results/mutant-$1.elf.objects" "$copy"
}

if "$here/guest/boot" "$guest" POWER9 xics --line "mutant=none" >"$results/mutant-none.log" 2>&1 &&
  grep -q '^1\.\.' "$results/mutant-none.log" && ! grep -q '^not ok' "$results/mutant-none.log"; then
  ok "no mutant: nothing fails"
else
  tail -n 5 "$results/mutant-none.log" | sed 's/^/#   /'
  not_ok "no mutant" "$(grep -c '^not ok' "$results/mutant-none.log") checks failed"
fi

caught list-endianness "$guest" POWER8 xics mutant=list-endianness
caught always-read-write "$guest" POWER9 xive mutant=always-read-write
caught unmap-nothing "$guest" POWER10 xive mutant=unmap-nothing
caught wrong-page "$guest" POWER9 xics mutant=wrong-page

source_mutant() {  # NAME FILE EXPRESSION CPU INTERRUPTS
  changed "$1" "$2" "$3" && caught "$1" "$results/mutant-$1.elf" "$4" "$5" ""
}
source_mutant no-range-check tce_window.cc 's/return refused(Refusal::range)/return {}/' POWER10 xics
source_mutant no-alignment-check tce_window.cc 's/return refused(Refusal::alignment)/return {}/' POWER8 xics
source_mutant no-roll-back tce_window.cc 's/result\.uncertain = !roll_back(.*/result.uncertain = false;/' POWER9 xics
source_mutant no-fallback tce_window.cc 's/has_lists_ = false;/break;/' POWER9 xive
source_mutant impatient port.cc 's/if (!is_busy(rc)) return false;/return false;/' POWER9 xics
source_mutant offer-is-a-grant rtas_msi.cc 's/offered != wanted; ++i/offered == 0; ++i/' POWER9 xive
source_mutant mask-forgets xive.cc 's/return (before \& kQ) != 0 ? .*/return rc;/' POWER9 xive
source_mutant same-generation xive.cc 's/generation_ ^= 1/generation_ ^= 0/' POWER10 xive
finish
