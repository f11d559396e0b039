#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The PAPR suite against QEMU's hcalls, without an operating system: every processor
# with every interrupt controller that it has.
#
# One line a boot here; the guest's own lines, one a check, are in
# $PVIOMMU_BUILD/results/papr-guest/guest-*.log, and shown when one of them is "not ok".
set -u
here=$(cd "$(dirname "$0")" && pwd)
results=${PVIOMMU_BUILD:?}/results/papr-guest
guest=$results/guest.elf
. "$here/../../tap.sh"
mkdir -p "$results"
rm -f "$results"/guest-*.log*

[ -x "$guest" ] || "$here/guest/build" "$guest" || { not_ok "the guest is built" "see above"; finish; }

# boot NAME CHECKS WORDS CPU INTERRUPTS [OPTION...]: at least so many checks, and WORDS in
# what the guest says of its machine.
boot() {
  name=$1 least=$2 words=$3
  shift 3
  log=$results/guest-$(echo "$name" | tr -s ' ,' '-').log
  begin=$(date +%s%N)
  "$here/guest/boot" "$guest" "$@" >"$log" 2>"$log.qemu"
  status=$?
  milliseconds=$((($(date +%s%N) - begin) / 1000000))
  ended=$(sed -n 's/^1\.\.//p' "$log")
  skipped=$(grep -c '^ok .* # SKIP ' "$log")
  passed=$(($(grep -c '^ok ' "$log") - skipped))
  bad=$(grep -c '^not ok ' "$log")
  reason=
  if [ $status -eq 124 ] || [ $status -eq 137 ]; then reason="no end in time"
  elif [ $status -ne 0 ]; then reason="status $status"
  elif [ "$bad" -ne 0 ]; then reason="$bad checks failed, the first: $(grep -m 1 '^not ok ' "$log" | cut -c 8-)"
  elif [ -z "$ended" ]; then reason="the guest ended early"
  elif [ "$ended" -ne $((passed + skipped)) ]; then reason="it counted $ended, and printed $((passed + skipped))"
  elif [ "$passed" -lt "$least" ]; then reason="only $passed checks"
  elif ! grep -q "^# devices: .*$words" "$log"; then reason="another machine: $(grep '^# devices' "$log")"
  fi
  if [ -z "$reason" ]; then
    ok "$name"
    note "$name: $passed checks in $milliseconds ms"
  else
    grep -v '^ok ' "$log" | sed 's/^/#   /' | tail -n 60
    sed 's/^/#   /' "$log.qemu" | tail -n 20
    not_ok "$name" "$reason"
  fi
}

for cpu in POWER8 POWER9 POWER10; do
  boot "$cpu, XICS" 446 "2, dynamic windows, XICS" $cpu xics
done
# POWER8 has no XIVE.
for cpu in POWER9 POWER10; do
  boot "$cpu, XIVE" 461 "2, dynamic windows, XIVE" $cpu xive
done
boot "POWER9, either controller, XIVE asked for" 461 "2, dynamic windows, XIVE" POWER9 dual --line "xive"
boot "POWER9, either controller, XICS" 446 "2, dynamic windows, XICS" POWER9 dual
for controller in xics xive; do
  upper=$(echo $controller | tr '[:lower:]' '[:upper:]')
  boot "POWER9, $upper, no dynamic windows" 316 "2, no dynamic windows, $upper" POWER9 $controller --no-ddw
  boot "POWER9, $upper, one host bridge" 419 "1, dynamic windows, $upper" POWER9 $controller --bridges 1
done
boot "POWER8, XICS, no dynamic windows" 316 "2, no dynamic windows, XICS" POWER8 xics --no-ddw
boot "POWER10, XIVE, no dynamic windows" 316 "2, no dynamic windows, XIVE" POWER10 xive --no-ddw

# The strict answers are the model's, checked by unit_papr; here are those of QEMU.  Both
# stand in the manual, and no others do.
grep -h '^# differs: ' "$results"/guest-*.log | sed 's/^# differs: //' | sort -u >"$results/differences"
sed -n '/^<!-- differences -->$/,/^<!-- end -->$/ s/^| \([a-z]*: .*\) |$/\1/p' "$here/../../../doc/power.md" |
  sort -u >"$results/differences.manual"
if [ ! -s "$results/differences" ]; then
  not_ok "calls that QEMU answers otherwise than a strict hypervisor" "none was seen"
elif difference=$(diff "$results/differences.manual" "$results/differences"); then
  ok "calls that QEMU answers otherwise than a strict hypervisor: $(wc -l <"$results/differences"), as in doc/power.md"
else
  echo "$difference" | sed 's/^/#   /'
  not_ok "calls that QEMU answers otherwise than a strict hypervisor" "doc/power.md lists others"
fi
finish
