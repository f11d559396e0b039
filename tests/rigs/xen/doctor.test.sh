#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# What `pviommu doctor` says on machines with one thing wrong, and that its remedies help.
. "$(dirname "$0")/lib.sh"

work=$(mktemp -d "${TMPDIR:-/tmp}/pviommu-doctor.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
cat >"$work/doctor-lib.sh" <<'EOF'
nvme=0000:00:05.0
doctor() { pviommu doctor --hypervisor=xen "$@" >/tmp/doctor 2>&1; }
# says NAME STATUS DEVICE LINE...: ends with STATUS, and has a line for each LINE, a pattern.
says() {
  says_name=$1 says_status=$2 says_device=$3
  shift 3
  doctor ${says_device:+--device "$says_device"}
  says_found=$?
  [ $says_found = "$says_status" ] || { sed 's/^/#   /' /tmp/doctor; not_ok "$says_name" "status $says_found"; return; }
  for says_line in "$@"; do
    grep -Eq -- "^$says_line" /tmp/doctor || { sed 's/^/#   /' /tmp/doctor; not_ok "$says_name" "it does not say $says_line"; return; }
  done
  ok "$says_name"
}
# The remedy of the check CHECK.
remedy() { sed -n "/^[a-z]* *$1  /{n;s/^ *-> //p}" /tmp/doctor; }
EOF
boot() { in_dom0 --add "$work/doctor-lib.sh:/rig/doctor-lib.sh" "$@"; }

prefix='healthy: '
boot <<'EOF'
. /rig/doctor-lib.sh
says "nothing is wrong with the machine" 0 "" "ok +Xen +version $(echo "$xen_version" | sed 's/\./\\./')\\." "ok +interface +domctl $(domctl "$xen_version"), sysctl 0x1[56], of Xen .*${xen_version}" 'ok +dom0 +PV' \
  'ok +IOMMU .*48 bits' 'ok +HAP' 'ok +interrupt remapping +on' 'ok +interrupts' 'ok +fault log' '0 problems, 0 warnings'
says "nor with the NVMe" 0 $nvme 'ok +driver +none' 'ok +reset +flr' 'ok +vectors +MSI-X, vectors: [0-9]+' \
  'ok +isolation' "ok +domain +the device is dom0's" 'run would:' '  3\. map [0-9]+ MSI-X' "  5\. assign $nvme" \
  '0 problems, 0 warnings'
says "edu has no reset" 0 0000:00:06.0 'warning +reset' 'ok +vectors +MSI, vectors: 1'
says "functions of a slot are neighbours" 0 0000:00:1f.2 'warning +isolation .*0000:00:1f\.3'
says "a bridge" 1 0000:00:1f.0 'problem +device .*bridge' '  1\. stop with an error'
says "a device that is not there" 1 0000:00:13.0 'problem +device .*does not exist'
doctor --json --device $nvme
check "JSON" json-get /tmp/doctor /0/check /0/state /0/detail /0/remedy /20/check

modprobe nvme
for _ in 1 2 3 4 5 6 7 8 9; do [ -e /sys/bus/pci/devices/$nvme/driver ] && break; sleep 0.2; done
says "the kernel's driver has the NVMe" 1 $nvme 'problem +driver +nvme' '  1\. stop with an error: nvme'
check "the remedy is a command that works" sh -c "$(remedy driver)"
says "then it is free" 0 $nvme 'ok +driver +none'

mv /dev/xen/evtchn /dev/xen/elsewhere
says "a device node is missing" 1 "" 'problem +device nodes +/dev/xen/evtchn is not there' ' +-> modprobe xen-evtchn'
mv /dev/xen/elsewhere /dev/xen/evtchn
# A PVH dom0 does not boot in the rig; what the kernel says of itself is enough.
echo PVH >/tmp/guest_type
mount --bind /tmp/guest_type /sys/hypervisor/guest_type
says "a PVH dom0" 1 "" 'problem +dom0 +PVH: only in a PV dom0' ' +-> .*dom0=pvh'
umount /sys/hypervisor/guest_type
EOF

prefix='in use: '
boot <<'EOF'
. /rig/doctor-lib.sh
# MSI-X of 65 vectors takes a moment; the program sleeps, the device is its.
pviommu run --hypervisor=xen -- qemu-io -t writeback -f raw -c 'read -q 0 4k' -c 'sleep 100000' nvme://$nvme/1 \
  >/tmp/program 2>&1 &
for _ in $(seq 40); do
  doctor --device $nvme
  grep -q '^ok *domain *the device is in the carrier d[0-9]* of process' /tmp/doctor && break
  sleep 0.5
done
says "a program has the device" 1 $nvme 'problem +user +process [0-9]+ \(qemu-io\)' \
  'ok +domain +the device is in the carrier d[0-9]+ of process [0-9]+'
killall -9 pviommu-xen-guardian qemu-io || note "$(ps)"
sleep 1
says "program and guardian were killed" 0 $nvme 'ok +user' \
  'warning +domain +the device is in the carrier d[0-9]+ .*has ended' ' +-> .*next run'
check "the next command cleans up" pviommu list --hypervisor=xen
says "then the device is dom0's" 0 $nvme "ok +domain +the device is dom0's"
EOF

prefix='no IOMMU: '
boot --iommu none <<'EOF'
. /rig/doctor-lib.sh
says "is a problem" 1 $nvme 'problem +IOMMU +Xen uses none' ' +-> .*firmware' '  1\. stop with an error: Xen uses none'
EOF

# The last kernel of the release: Debian 12's is before 6.6.
last=${kernels##* }
prefix="kernel $last, no interrupt remapping: "
boot --kernel $last --no-intremap <<'EOF'
. /rig/doctor-lib.sh
case $(uname -r) in
  6.1.*)
    says "are warnings" 0 $nvme 'warning +interrupt remapping +off' 'warning +interrupts +kernel 6\.1\..*must poll' \
      ' +-> use kernel 6\.6' 'warning +vectors .*not offered' '0 problems, 3 warnings'
    check "no step maps vectors" sh -c '! grep -q "to pirqs" /tmp/doctor'
    ;;
  *) says "is a warning" 0 $nvme 'warning +interrupt remapping +off' '0 problems, 1 warnings' ;;
esac
EOF
finish
