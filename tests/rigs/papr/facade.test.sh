#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# type1 programs over the kernel's VFIO sPAPR v2, in Debian's Linux 6.12 on pseries.
. "$(dirname "$0")/lib.sh"
work=$(mktemp -d "${TMPDIR:-/tmp}/pviommu-facade.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
prefix='facade: '
module=$("$rig/kernel-module" 6.12 "$work/module") || { not_ok "the module is built" "see above"; finish; }
truncate -s 16M "$work/disk"
head -c 4M /dev/urandom >"$work/data"

in_guest --timeout 240 --disk "$work/disk" --add "$work/data:/root/data" --add "$module:/root/pviommu_papr.ko" <<'EOT'
papr() { pviommu run --hypervisor=papr "$@"; }
pviommu doctor --hypervisor=papr --device=$edu >/tmp/said 2>&1
equal "the doctor says what is missing: status" 1 $?
check "to load the driver" grep -q "modprobe vfio-pci" /tmp/said
check "and to give the device to it" grep -q "driverctl set-override $edu vfio-pci" /tmp/said
check "devices are given to vfio-pci" give_to_vfio $edu $nvme $edu2
pviommu doctor --hypervisor=papr --device=$edu >/tmp/said 2>&1
equal "the doctor is content, and knows the steps" "0 3" "$? $(grep -c "/dev/vfio/1\|H_PUT_TCE\|change-msi" /tmp/said)"
equal "they are listed with the kernel's groups" "1 free 2 free 3 free" \
  "$(pviommu list --hypervisor=papr | awk '/vfio-pci/ { sub(";", "", $7); printf "%s%s %s", sep, $2, $7; sep = " " }')"
equal "the windows are those of the device tree" "0x0 0x3fffffff" \
  "$(pviommu info --hypervisor=papr | awk '$1 == "iova_ranges" { print $2, $3 }')"

# qemu-io and qemu-img are Debian's, as they are.
url=nvme://$nvme/1
check "qemu-io writes" again pviommu run --hypervisor=papr -- qemu-io -f raw -c 'write -P 0x5a 8M 256k' $url
check "and reads it back" again pviommu run --hypervisor=papr -- qemu-io -f raw -c 'read -P 0x5a 8M 256k' $url
check "qemu-img converts onto the disk" again pviommu run --hypervisor=papr -- qemu-img convert -n -f raw -O raw /root/data $url
check "and from it" again pviommu run --hypervisor=papr -- qemu-img convert -f raw -O raw $url /tmp/back
check "the same bytes" cmp -n 4194304 /root/data /tmp/back

for case in two-containers freed-before-unmap; do
  check "isolation: $case" papr --quiet -- rig_isolation $case
done
papr -- rig_isolation iova-is-hva >/tmp/said 2>&1
equal "addresses outside the windows are refused" 0 $?
equal "which is told, with the windows" 1 \
  "$(grep -c "which devices of 'papr' cannot have: theirs are 0x0 to 0x3fffffff" /tmp/said)"

# A second window, above.
up=papr:window=4G
equal "a dynamic window is another range" "0x0 0x3fffffff 0x800000000000000 0x8000000ffffffff" \
  "$(pviommu info --hypervisor=$up | awk '$1 == "iova_ranges" { printf "%s %s ", $2, $3; getline; print $1, $2 }')"
check "its ends can be mapped" pviommu run --hypervisor=$up -- vfio_conformance --gtest_filter='*StaysInside*'
check "DMA in it" pviommu run --hypervisor=$up -- rig_isolation dynamic-window
pviommu run --hypervisor=papr:window=4G,page=64K -- rig_isolation dynamic-window >/tmp/said 2>&1
equal "64 KiB entries want memory of such pages" "map: Invalid argument" "$(tail -n 1 /tmp/said)"

# Killed with live mappings, in the middle of transfers.
papr --quiet -- sh -c 'echo $$ >/tmp/program; exec rig_isolation own-one' >/tmp/log 2>&1 &
for _ in $(seq 100); do [ ! -s /tmp/program ] || break; usleep 20000; done
usleep 700000
check "the program is at work" test -d /proc/$(cat /tmp/program)
kill -9 $(cat /tmp/program)
wait
check "the next program has the device at once" papr --quiet -- rig_isolation two-containers
papr --quiet -- sh -c 'echo $$ >/tmp/program; exec rig_isolation own-one' >/tmp/log 2>&1 &
usleep 900000
kill -9 $(cat /tmp/program)
wait
window_is_empty "the window of a program that was killed is empty" $edu
EOT

in_guest --timeout 300 <<'EOT'
give_to_vfio $edu $nvme $edu2
# The kernel pins for writing, and counts its whole window at once.
export CONFORMANCE_WITHOUT="read-only-memory locked-memory users growing table-pages"
gtest_in_guest pviommu run --quiet --hypervisor=papr -- vfio_conformance
EOT
finish
