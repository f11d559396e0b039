#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Debian 12's own kernel as dom0: all works but interrupts, and it is said what to
# install for those.
. "$(dirname "$0")/lib.sh"
prefix='6.1: '
# A shell that uses the C library, for what the program starts by system().
in_dom0 --kernel 6.1 --timeout 600 --add /bin/dash:/bin/sh <<'EOF'
export CONFORMANCE_EDU=0000:00:06.0 CONFORMANCE_NVME=0000:00:05.0
# No interrupts, so that no vector can be added to them.
export CONFORMANCE_WITHOUT="intx read-only interrupts users growing"
# First, while Xen's limit on messages in its log is far.
pviommu run --quiet --hypervisor=xen --stats=json --stats-file=/tmp/faults.json -- rig_isolation faults >/tmp/log 2>&1
equal "accesses to nothing are stopped and counted" "0 3" "$? $(json-get /tmp/faults.json /faults/not_mapped)"
pviommu run --hypervisor=xen -- rig_isolation two-containers >/tmp/log 2>&1
equal "two devices, DMA in both directions" 0 $?
notice='install Linux 6.6 or later'
equal "what to install is said once" 1 "$(grep -c "$notice" /tmp/log)"
timeout 60 pviommu run --quiet --hypervisor=xen -- rig_isolation two-containers <&- >&- 2>&-
equal "a program without standard input and output" 0 $?
pviommu run --quiet --hypervisor=xen -- rig_isolation scattered >/tmp/log 2>&1
equal "DMA of scattered frames" 0 $?

gtest_in_dom0 pviommu run --quiet --hypervisor=xen -- vfio_conformance

# Killed while it has the device.
pviommu run --quiet --hypervisor=xen -- sh -c 'echo $$ >/tmp/program; exec rig_isolation own-one' >/tmp/log 2>&1 &
launcher=$!
for _ in $(seq 200); do
  ! ls /run/pviommu | grep -q ledger || break
  usleep 50000
done
sleep 1
kill -KILL "$(cat /tmp/program)"
{ wait $launcher; } 2>/dev/null
equal "a program that is killed" 137 $?
nothing_left
EOF
finish
