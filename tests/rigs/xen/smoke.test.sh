#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Real Xen boots with each kernel as dom0, and dom0 has what pviommu needs.
. "$(dirname "$0")/lib.sh"
for kernel in $kernels; do
  prefix="$kernel: "
  in_dom0 --kernel $kernel <<'EOF'
running=/sys/hypervisor
equal "the hypervisor is Xen $xen_version" "xen $xen_version" "$(cat $running/type) $(cat $running/version/major).$(cat $running/version/minor)"
kernel=$(uname -r)
case $kernel in
  ${prefix%: }.*) ok "the kernel is the one asked for" ;;
  *) not_ok "the kernel is the one asked for" "$kernel" ;;
esac
for device in privcmd hypercall evtchn gntdev; do
  check "there is /dev/xen/$device" test -c /dev/xen/$device
done
check "this is dom0" grep -q control_d /proc/xen/capabilities
pci=/sys/bus/pci/devices
equal "NVMe at 05.0" "0x1b36 0x0010" "$(cat $pci/0000:00:05.0/vendor) $(cat $pci/0000:00:05.0/device)"
for address in 06.0 07.0; do
  equal "edu at $address" "0x1234 0x11e8" "$(cat $pci/0000:00:$address/vendor) $(cat $pci/0000:00:$address/device)"
done
check "nothing drives the NVMe" test ! -e $pci/0000:00:05.0/driver
check "qemu-io has its libraries" qemu-io --version
check "qemu-img has its libraries" qemu-img --version
if [ -e /pviommu/bin/pviommu ]; then
  check "pviommu runs" pviommu --version
else
  skip "pviommu runs" "not built"
fi
check "the kernel's driver can have the NVMe" modprobe nvme
for _ in 1 2 3 4 5 6 7 8 9; do [ -b /dev/nvme0n1 ] || sleep 0.3; done
equal "and reads its size" 131072 "$(cat /sys/block/nvme0n1/size)"
EOF
done

# What the rig itself promises.
prefix=
said=$("$rig/boot" --quiet -- sh -c 'printf "%s|" "$@"; exit 7' - "it's" 'two  words' '' 2>/dev/null)
equal "the command's status is carried" 7 $?
equal "the command's words are carried" "it's|two  words||" "$said"
finish
