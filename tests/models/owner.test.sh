#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# spin checks owner.pml, the model of hypercall/xen/kernel/owner.c, in all of its states; and finds
# what is wrong when something was made wrong.
. "$(dirname "$0")/../tap.sh"
here=$(cd "$(dirname "$0")" && pwd)
prefix='owner model: '
command -v spin >/dev/null || { skip "is checked by spin" "spin is not installed"; finish; }
work=$(mktemp -d "${TMPDIR:-/tmp}/pviommu-model.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
cd "$work" || exit 1

# explore SED-SCRIPT: how many errors there are in the model, changed by it.
explore() {
  sed "$1" "$here/owner.pml" >model.pml
  spin -a model.pml >log 2>&1 && ${CC:-cc} -O1 -w -DSAFETY -o pan pan.c >>log 2>&1 && ./pan -m100000 >>log 2>&1 ||
    { show log; echo failed; return; }
  sed -n 's/.*depth reached.*errors: //p' log
}
# A search that was cut off would say so.
equal() { if [ "$2" = "$3" ]; then ok "$1"; else not_ok "$1" "\"$3\", not \"$2\""; fi; }
equal "no error in any state" 0 "$(explore '')"
! grep -q 'max search depth too small\|Search not completed' log && ok "and every state was seen" ||
  not_ok "and every state was seen" "$(grep 'Search\|depth' log)"
equal "found: pages given back while a carrier is there" 1 "$(explore 's/{ !alive -> owner_carrier_gone() }/{ owner_carrier_gone() }/')"
equal "found: a device believed out of a carrier" 1 \
  "$(explore 's/state\[d\] == CARRIER -> set_state(d, STUCK)/state[d] == CARRIER -> set_state(d, QUARANTINE)/')"
equal "found: a device believed back" 1 "$(explore 's/== QUARANTINE -> set_state(d, STRANDED)/== QUARANTINE -> set_state(d, DOM0)/')"
equal "found: a claim without quarantine" 1 "$(explore 's/xen\[d\] == DOM0 -> xen\[d\] = QUARANTINE; ok = true/xen[d] == DOM0 -> ok = true/')"
# The model and the code have the same transitions, each as FROM>TO.
of_code=$(awk '/^\t\[OWNER_/ {
  from = $1
  gsub(/[^A-Z0-9]|OWNER/, "", from)
  while (match($0, /BIT\(OWNER_[A-Z0-9]*/)) { print from ">" substr($0, RSTART + 10, RLENGTH - 10); $0 = substr($0, RSTART + RLENGTH) }
}' "$here/../../hypercall/xen/kernel/owner.c" | sort | xargs)
of_model=$(awk '/^inline set_state/, /^}/ {
  if (!match($0, /state\[d\] == [A-Z0-9]*/)) next
  from = substr($0, RSTART + 12, RLENGTH - 12)
  while (match($0, /to == [A-Z0-9]*/)) { print from ">" substr($0, RSTART + 6, RLENGTH - 6); $0 = substr($0, RSTART + RLENGTH) }
}' "$here/owner.pml" | sort | xargs)
equal "owner.c has the model's transitions" "$of_model" "$of_code"
finish
