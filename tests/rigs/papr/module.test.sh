#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The kernel module: builds without a warning for Debian's kernels, and does what it says
# on them: 6.1, where the kernel's VFIO does not work and pages have 64 KiB, and 6.12.
. "$(dirname "$0")/lib.sh"
work=$(mktemp -d "${TMPDIR:-/tmp}/pviommu-module.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

cat >"$work/tests" <<'EOT'
dmesg -c >/dev/null
papr() { pviommu run --quiet --hypervisor=papr:via=module "$@"; }
equal "without the module it is said what to load" 1 "$(papr -- true 2>&1 | grep -c 'insmod pviommu_papr.ko')"
check "it is loaded" insmod /root/pviommu_papr.ko
gtest_in_guest papr_module
check "random requests" papr_module_fuzz 4
printf '%s\n' "$check_output" | sed 's/^/# /'

# Through the library, by programs that know type1 only.
equal "devices are listed" "1 free 2 free 3 free" \
  "$(pviommu list --hypervisor=papr:via=module | awk '$4 == "-" { sub(";", "", $7); printf "%s%s %s", sep, $2, $7; sep = " " }')"
gtest_in_guest papr -- vfio_conformance --gtest_filter="$conformance"
for case in two-containers freed-before-unmap; do
  check "isolation: $case" papr -- rig_isolation $case
done
io() { again pviommu run --quiet --hypervisor=papr:via=module -- qemu-io -f raw -c "$1" nvme://$nvme/1; }
check "qemu-io writes" io 'write -P 0x5a 32M 256k'
check "and reads it back" io 'read -P 0x5a 32M 256k'

# Killed at work.
papr -- sh -c 'echo $$ >/tmp/program; exec rig_isolation own-one' >/tmp/log 2>&1 &
launcher=$!
for _ in $(seq 200); do
  [ "$(readlink /sys/bus/pci/devices/$edu/driver)" = "" ] || break
  usleep 50000
done
sleep 1
equal "a program is at work" pviommu-papr "$(basename "$(readlink /sys/bus/pci/devices/$edu/driver)")"
equal "it has the window" "claim of $edu: Device or resource busy" "$(papr_window $edu)"
kill -KILL "$(cat /tmp/program)"
{ wait $launcher; } 2>/dev/null
equal "it is killed" 137 $?
window_is_empty "its window is empty" $edu

# nvme makes a window for itself on 6.1, which stays when it goes.
modprobe nvme && sleep 1
echo $nvme >/sys/bus/pci/drivers/nvme/unbind
for test in WindowOfADriver AFunctionThatIsRemoved; do
  check $test papr_module --gtest_also_run_disabled_tests --gtest_filter="*.DISABLED_$test"
done

check "it is unloaded" rmmod pviommu_papr
dmesg >/tmp/dmesg
equal "nothing of note in the kernel's log" "" \
  "$(grep -E 'BUG|Oops|WARNING|Unable to handle|refcount|stay pinned|cannot be emptied' /tmp/dmesg)"
EOT

# On 6.12 nearly all of the suite is run over the kernel's VFIO by facade.test.sh; here
# what depends on the hypervisor.  On 6.1 less what wants pages of 4 KiB of the kernel.
hardware='Edu*:Nvme*:Types/Map*-EduCalls.MappingOfRegions'  # wants one for execution; sysfs has none
holes=':NvmeDevice.Mmap:EduIrqs.DataThatCannotBeRead*:*.StructureMayEnd*:*.RollsBackWhenAPageIsMissing*:*.FollowsTheRights*'
for kernel in 6.1 6.12; do
  prefix="$kernel: "
  module=$("$rig/kernel-module" $kernel "$work/$kernel") ||
    { not_ok "the module builds without a warning" "see above"; continue; }
  ok "the module builds without a warning"
  case $kernel in 6.1) conformance=$hardware$holes ;; *) conformance=$hardware ;; esac
  { printf "conformance='%s'\nexport CONFORMANCE_WITHOUT=\"intx users growing table-pages\"\n" "$conformance"; cat "$work/tests"; } >"$work/script"
  in_guest --kernel $kernel --timeout 240 --add "$module:/root/pviommu_papr.ko" <"$work/script"
done
finish
