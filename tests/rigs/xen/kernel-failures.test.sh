#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The kernel module pviommu_xen when each hypercall of a program's life fails once, for every n; and
# when the way of a device back to dom0 fails until it is given up.
. "$(dirname "$0")/lib.sh"
work=$(mktemp -d "${TMPDIR:-/tmp}/pviommu-kernel.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
prefix='kernel module: '
module=$("$rig/kernel-module" "$work") || { not_ok "is built without a warning" "see above"; finish; }
in_dom0 --debian 12 --kernel 6.12 --timeout 600 --add /bin/dash:/bin/sh --add "$module:/root/pviommu_xen.ko" <<'END'
unset LD_PRELOAD PVIOMMU_PRELOAD PVIOMMU_MODULE_PATH
edu=0000:00:06.0 edu2=0000:00:07.0 pci=/sys/bus/pci/devices
counters=/sys/class/iommu/pviommu_xen/pviommu fail=/sys/kernel/debug/pviommu_xen/fail
mount -t debugfs debugfs /sys/kernel/debug
check "the module is loaded" insmod /root/pviommu_xen.ko
modprobe vfio_iommu_type1
modprobe vfio-pci
for address in $edu $edu2; do
  echo vfio-pci >$pci/$address/driver_override
  echo $address >/sys/bus/pci/drivers_probe
done
export CONFORMANCE_EDU=$edu
# DMA and a message; then what is left: "0 0 0 0".
life() { timeout 60 vfio_conformance --gtest_filter='EduIrqs.MsiLifeCycle:Types/Dma.AfterUnmapIsStopped/type1v2' >/tmp/life 2>&1; }
left() { echo "$(($(cat $counters/carriers_created) - $(cat $counters/carriers_destroyed))) $(cat $counters/mapped_pages) $(cat $counters/held_pages) $(cat $counters/stranded_devices)"; }
check "a life without failures" life
n=0 refused=0 bad=
while [ $n -lt 200 ]; do
  n=$((n + 1))
  echo $n >$fail
  life || refused=$((refused + 1))
  met=$(cat $fail)
  echo 0 >$fail
  now=$(left)
  [ "$now" = "0 0 0 0" ] || bad="$bad; the ${n}th: $now"
  [ "$met" = 0 ] || break
  [ $((n % 8)) != 0 ] || life || bad="$bad; behind the ${n}th: $(grep '^not ok' /tmp/life | head -n 1)"
done
note "$n hypercalls, $refused lives were told of one"
[ $n -gt 20 ] && [ $n -lt 200 ] && ok "each hypercall of a life failed once" || not_ok "each hypercall of a life failed once" "$n"
equal "nothing was left by any" "" "$bad"
check "and the device is as before" life
equal "no carrier is left, by Xen's own list" "" "$(carriers_left)"
END
finish
