#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The kernel module pviommu_xen in a stock dom0: the kernel's own VFIO for programs that know
# nothing of pviommu, with nothing preloaded.
. "$(dirname "$0")/lib.sh"
work=$(mktemp -d "${TMPDIR:-/tmp}/pviommu-kernel.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
prefix='kernel module: '
module=$("$rig/kernel-module" "$work") || { not_ok "is built without a warning" "see above"; finish; }
ok "is built without a warning"
# A shell that uses the C library, for what the program starts by system().
in_dom0 --debian 12 --kernel 6.12 --timeout 300 --add /bin/dash:/bin/sh --add "$module:/root/pviommu_xen.ko" <<'END'
unset LD_PRELOAD PVIOMMU_PRELOAD PVIOMMU_MODULE_PATH
nvme=0000:00:05.0 edu=0000:00:06.0 edu2=0000:00:07.0
pci=/sys/bus/pci/devices counters=/sys/class/iommu/pviommu_xen/pviommu
counter() { cat $counters/$1; }
group_of() { basename "$(readlink $pci/$1/iommu_group)"; }
driver_of() { basename "$(readlink $pci/$1/driver)"; }
read_nvme() { dd if=/dev/nvme0n1 of=/dev/null bs=64k count=4 iflag=direct; }
to_driver() {
  driver=$1
  shift
  for address in "$@"; do
    [ ! -e $pci/$address/driver ] || echo $address >$pci/$address/driver/unbind
    echo $driver >$pci/$address/driver_override
    echo $address >/sys/bus/pci/drivers_probe
    [ "$(driver_of $address)" = $driver ] || { echo "$driver does not take $address"; return 1; }
  done
}
# After a command whose devices are closed: as many carriers ended as were made, nothing is mapped.
all_back() {
  equal "$1: carriers ended, no page mapped, held or stranded" "0 0 0 0" \
    "$(($(counter carriers_created) - $(counter carriers_destroyed))) $(counter mapped_pages) $(counter held_pages) $(counter stranded_devices)"
}

modprobe nvme
for _ in $(seq 20); do [ ! -b /dev/nvme0n1 ] || break; usleep 200000; done
check "dom0's driver reads the NVMe" read_nvme
modprobe vfio_iommu_type1
modprobe vfio-pci
echo vfio-pci >$pci/$edu/driver_override
equal "without the module vfio-pci takes no device" failed "$(echo $edu >/sys/bus/pci/drivers/vfio-pci/bind 2>/dev/null || echo failed)"

check "the module is loaded" insmod /root/pviommu_xen.ko
equal "dom0's driver stays" nvme "$(driver_of $nvme)"
check "and reads" read_nvme
equal "groups are dom0's own at first" identity "$(cat $pci/$nvme/iommu_group/type)"
check "the window of messages is reserved" grep -q '0x00000000fee00000 0x00000000feefffff msi' $pci/$edu/iommu_group/reserved_regions
check "vfio-pci takes the devices" to_driver vfio-pci $nvme $edu $edu2
PVIOMMU_MODULE_PATH=/pviommu/lib pviommu doctor --hypervisor=xen --device $edu >/tmp/doctor 2>&1
check "the doctor says that the module is loaded" grep -q '^ok *kernel module *pviommu_xen is loaded' /tmp/doctor
check "and that the device is for any program" grep -q '^ok *driver *vfio-pci: any VFIO program' /tmp/doctor
equal "nothing of Xen's is used until a program comes" 0 "$(rig_domains | grep -c 7076696f6d6d75)"

# ---- DMA ----
export CONFORMANCE_EDU=$edu CONFORMANCE_NVME=$nvme
for case in two-containers scattered freed-before-unmap faults; do
  check "isolation $case" timeout 60 rig_isolation $case
done
all_back "isolation"

# ---- SIGKILL under DMA ----
met=0
for delay in 100 300 500 700 900 1100 1300 1500; do
  rig_isolation own-one >/tmp/killed 2>&1 &
  program=$!
  usleep $((delay * 1000))
  [ "$(counter mapped_pages)" -eq 0 ] || met=$((met + 1))
  kill -KILL $program
  { wait $program; } 2>/dev/null
done
[ $met -ge 3 ] && ok "killed with DMA under way" || not_ok "killed with DMA under way" "in $met of 8 rounds only"
all_back "killed"
check "the next program has the device" timeout 60 rig_isolation own-one

# ---- an ordinary user, with as much memory to lock as Debian gives one ----
echo 'user:x:1000:1000::/:/bin/sh' >>/etc/passwd
chown 1000 /dev/vfio/$(group_of $edu) /dev/vfio/$(group_of $edu2)
check "an ordinary user with 8 MiB" timeout 60 su user -c 'ulimit -l 8192; rig_isolation two-containers'
chown 0 /dev/vfio/$(group_of $edu)
equal "a group that is another's" 1 "$(su user -c "exec 3<>/dev/vfio/$(group_of $edu)" 2>&1 | grep -c 'Permission denied')"

# ---- the kernel's interface ----
# What the kernel does and pviommu does not, and the other way round.
export CONFORMANCE_LINUX=$(uname -r | cut -d. -f1,2)
export CONFORMANCE_WITH=inherited CONFORMANCE_WITHOUT="lossless-replacing read-only growing"
# More vectors than the module sets aside; memory for reading, which is made writable or refused.
limits=NvmeIrqs.MsixRanges:*.ReadOnlyMemoryIsReadable/*:*.FollowsTheRightsOfTheMemory/*
gtest_in_dom0 timeout 150 vfio_conformance --gtest_filter="Edu*:Nvme*:*Dma*:*Map*:Viability*-$limits:*TenThousand*"
all_back "conformance"

# ---- unmodified qemu-io ----
# The NVMe of QEMU 7.2 loses its first interrupt in about half of the openings, on bare Linux too:
# such a one is tried again.
for try in 1 2 3 4 5 6 7 8 9 10; do
  timeout 10 qemu-io -t writeback -f raw -c 'write -P 0x5a 0 4M' -c 'read -P 0x5a 0 4M' nvme://$nvme/1 >/tmp/qemu-io 2>&1
  status=$?
  [ $status = 124 ] || break
done
equal "qemu-io writes and reads back" "0 2" "$status $(grep -c '^[a-z]* 4194304/4194304 bytes' /tmp/qemu-io)"
note "at try $try"
all_back "qemu-io"

# ---- the end ----
equal "removed while drivers have devices" busy "$(echo 1 >/sys/module/pviommu_xen/parameters/unregister 2>/dev/null || echo busy)"
for address in $nvme $edu $edu2; do
  echo $address >$pci/$address/driver/unbind
  echo >$pci/$address/driver_override
done
check "unregistered when they are free" sh -c 'echo 1 >/sys/module/pviommu_xen/parameters/unregister'
check "and removed" rmmod pviommu_xen
check "dom0's driver takes the NVMe back" to_driver nvme $nvme
for _ in $(seq 20); do [ ! -b /dev/nvme0n1 ] || break; usleep 200000; done
check "and reads it" read_nvme
check "loaded again" insmod /root/pviommu_xen.ko
check "with the driver bound, which reads on" read_nvme
equal "no carrier is left, by Xen's own list" "" "$(carriers_left)"
echo 1 >/proc/sys/vm/stat_refresh  # each CPU counts for itself
equal "no page is pinned" 0 "$(awk '/^nr_foll_pin_acquired/ { n += $2 } /^nr_foll_pin_released/ { n -= $2 } END { print n + 0 }' /proc/vmstat)"
equal "nothing of note in the kernel's log" "" "$(dmesg | grep -E 'WARNING:|BUG:|Oops|unmap irq failed|pviommu_xen: .*(fails|does not|stays)|lost until' | head -n 3)"
END
finish
