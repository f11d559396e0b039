#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The differential tester finds nothing between two equals, and a lie of one of them as a
# sequence of two operations.
set -u
. "$(dirname "$0")/../tap.sh"
prefix="differential: "
build=${PVIOMMU_BUILD:-build}
work=$(mktemp -d "${TMPDIR:-/tmp}/pviommu-differential.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
side='pviommu run --quiet --hypervisor=model:nvme,size=16M,addr=0000:00:05.0;edu,addr=0000:00:06.0;e1000e,addr=0000:00:08.0 --'
compare() {  # SECOND-SIDE OPTION...
  second=$1
  shift
  timeout --kill-after=10 100 "$build/run" "$build/vfio_differential" --first "$side" --second "$second" --devices edu "$@"
}

if compare "$side" --operations 5000 >"$work/equal" 2>&1; then
  ok "equals answer alike"
else
  show "$work/equal"
  not_ok "equals answer alike" "see above"
fi

compare "env VFIO_DIFFERENTIAL_WRONG=extension $side" --operations 5000 >"$work/lie" 2>&1
status=$?
sed -n '/^difference 1,/,/^  #/p' "$work/lie" | grep '^    ' >"$work/small"
if [ $status -eq 1 ] && grep -q '^    extension c0 n=' "$work/small" && [ "$(wc -l <"$work/small")" -le 3 ]; then
  ok "a lie is found and made small"
else
  show "$work/lie"
  not_ok "a lie is found and made small" "status $status"
fi

sed 's/^    //' "$work/small" >"$work/replay"
if compare "env VFIO_DIFFERENTIAL_WRONG=extension $side" "$work/replay" | grep -q '1 sequences replayed, 1 differ'; then
  ok "what was printed can be replayed"
else
  not_ok "what was printed can be replayed" "it does not differ"
fi
finish
