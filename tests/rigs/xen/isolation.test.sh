#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# What devices can reach on real Xen: isolation.cc with two edu.
. "$(dirname "$0")/lib.sh"
prefix='isolation: '
in_dom0 --timeout 400 <<'EOF'
run() {  # CASE: under pviommu; figures in /tmp/CASE.json
  pviommu run --quiet --hypervisor=xen --stats=json --stats-file=/tmp/$1.json -- rig_isolation "$1"
}
stat_of() { json-get /tmp/$1.json "$2" 2>&1; }
notes() { printf '%s\n' "$check_output" | grep '^#'; }

# First, while Xen's limit on messages in its log is far.
check "accesses to nothing are stopped" run faults
equal "and are faults with device and address" \
  "3 0000:00:06.0 write 0x20005000 0000:00:06.0 read 0x20007000 0000:00:06.0 write 0x20009000" \
  "$(json-get /tmp/faults.json /faults/not_mapped /latest_faults/0/device /latest_faults/0/access /latest_faults/0/iova \
    /latest_faults/1/device /latest_faults/1/access /latest_faults/1/iova \
    /latest_faults/2/device /latest_faults/2/access /latest_faults/2/iova 2>&1 | xargs)"

check "frames far apart, in both directions" run scattered
check "one entry of 2 MiB, in both directions" run huge
notes
check "two containers do not meet" run two-containers
run own-one >/tmp/own-one.out 2>&1 &
one=$!
check "nor do two processes at once: one" run own-two
if wait $one; then ok "nor do two processes at once: two"; else not_ok "nor do two processes at once: two" "$(cat /tmp/own-one.out)"; fi
equal "without a fault" "0 0" "$(stat_of own-one /faults/not_mapped) $(stat_of own-two /faults/not_mapped)"
check "memory freed before the unmap is nobody's" run freed-before-unmap
notes
check "memory freed by SIGKILL is nobody's before the device is quiet" run freed-by-death
notes

# Rights that direct mappings do not have.
said="mapped with more rights than asked for"
widened() {  # CASE OPTION...
  widened_case=$1
  shift
  pviommu run --hypervisor=xen --stats=json --stats-file=/tmp/$widened_case.json "$@" -- rig_isolation $widened_case \
    >/tmp/$widened_case.out 2>&1 || { cat /tmp/$widened_case.out; return 1; }
}
check "read-only and write-only mappings are mapped" widened widened
equal "which is said once and counted" "1 3" "$(grep -c "$said" /tmp/widened.out) $(stat_of widened /maps_widened)"
check "--strict refuses them: EOPNOTSUPP" widened strict --strict
equal "of which nothing is said or counted" "0 0" "$(grep -c "$said" /tmp/strict.out) $(stat_of strict /maps_widened)"
nothing_left
EOF
finish
