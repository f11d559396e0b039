#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Other machines than the rig's usual one: AMD's IOMMU, and two processors.  On each, a
# program with DMA and interrupts, accesses that must not pass, and a clean end.
. "$(dirname "$0")/lib.sh"
work=$(mktemp -d "${TMPDIR:-/tmp}/pviommu-machines.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
cat >"$work/machine.sh" <<'EOF'
nvme=0000:00:05.0
check "doctor" pviommu doctor --hypervisor=xen --device=$nvme
check "qemu-io writes and reads back" pviommu run --quiet --hypervisor=xen --stats=json --stats-file=/tmp/io.json -- \
  qemu-io -t writeback -f raw -c 'write -P 0x5a 0 4M' -c 'read -P 0x5a 0 4M' nvme://$nvme/1
figures=$(json-get /tmp/io.json /live_mappings /pinned_pages /faults/not_mapped /program/exit_status 2>&1 | xargs)
equal "nothing is mapped, pinned or refused any more" "0 0 0 0" "$figures"
interrupts=$(json-get /tmp/io.json /interrupts/msix 2>&1)
[ "$interrupts" -gt 10 ] && ok "its interrupts came" || not_ok "its interrupts came" "$interrupts"
isolation() { pviommu run --quiet --hypervisor=xen --stats=json --stats-file=/tmp/$1.json -- rig_isolation $1; }
check "accesses to nothing are stopped" isolation faults
check "frames far apart, in both directions" isolation scattered
check "two containers do not meet" isolation two-containers
EOF
machine() { in_dom0 --add "$work/machine.sh:/rig/machine.sh" "$@"; }

prefix='AMD: '
machine --iommu amd <<'EOF'
. /rig/machine.sh
nothing_left
EOF

prefix='two processors: '
machine --cpus 2 <<'EOF'
equal "dom0 has both" 2 "$(nproc)"
. /rig/machine.sh
equal "and each was counted" 3 "$(json-get /tmp/faults.json /faults/not_mapped)"
gtest_in_guest xen_guest --gtest_filter='Notify*'
nothing_left
EOF
finish
