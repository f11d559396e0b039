#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# libvirtd with the driver of Xen: devices through it and through sysfs, and domains.
. "$(dirname "$0")/lib.sh"

tree=$("$rig/libvirt") || { not_ok libvirt "its packages could not be fetched"; finish; }
in_dom0 --memory 3072 --timeout 400 --add "$tree:/libvirt" <<'EOF'
[ -e /pviommu/lib/pviommu-libvirt.so ] || { skip libvirt "built without it"; exit 0; }
nvme=0000:00:05.0 uri=xen:///system
driver() { basename "$(readlink /sys/bus/pci/devices/$nvme/driver)"; }
# says NAME STATUS TEXT ARGUMENT...: pviommu ends with STATUS and has TEXT in one of its lines.
says() {
  says_name=$1 says_status=$2 says_text=$3
  shift 3
  pviommu "$@" >/tmp/says 2>&1
  says_found=$?
  if [ $says_found = "$says_status" ] && grep -qF -- "$says_text" /tmp/says; then ok "$says_name"; return; fi
  sed 's/^/#   /' /tmp/says
  not_ok "$says_name" "status $says_found, or it does not say $says_text"
}
# In this order pciback is asked first whether it wants a device.
modprobe xen-pciback
modprobe nvme
for _ in $(seq 50); do [ -e /dev/nvme0n1 ] && break; sleep 0.2; done

prefix='sysfs: '
says "what would be done" 0 "echo $nvme > /sys/bus/pci/drivers/nvme/unbind" bind --dry-run $nvme
check "a swap on the disk" sh -c 'mkswap /dev/nvme0n1 && swapon /dev/nvme0n1'
says "is a reason to refuse it" 1 "swap is on nvme0n1" bind $nvme
swapoff /dev/nvme0n1
says "bind" 0 "nvme -> none" bind $nvme
equal "no driver" "" "$(driver 2>/dev/null)"
check "the backend can use it" pviommu doctor --hypervisor=xen --device=$nvme
says "unbind" 0 "none -> nvme" unbind $nvme
says "bind to pciback" 0 "nvme -> pciback" bind --driver=xen-pciback --reset $nvme
says "back from pciback" 0 "pciback -> nvme" unbind $nvme
equal "the kernel's driver" nvme "$(driver)"

prefix='libvirt: '
cp -r /libvirt/. / && rm -rf /libvirt
export LD_LIBRARY_PATH=$LD_LIBRARY_PATH:/libvirt-lib
says "a missing daemon" 1 "is libvirtd running" list --host --uri=$uri
mkdir -p /run/xen
/usr/lib/xen-4.17/bin/xenstored && /usr/lib/xen-4.17/bin/xen-init-dom0 >/dev/null || not_ok xenstored "it does not start"
libvirtd -d || not_ok libvirtd "it does not start"
for _ in $(seq 60); do virsh -c $uri list >/dev/null 2>&1 && break; sleep 1; done
says "list" 0 "$nvme      - nvme" list --host --uri=$uri
says "a wrong URI" 2 "nosuch" list --host --uri=nosuch
says "a device that is not there" 2 "0000:00:13.0" bind --uri=$uri 0000:00:13.0
says "what would be done" 0 'virNodeDeviceDetachFlags("pci_0000_00_05_0", "xen", 0)' bind --dry-run --uri=$uri $nvme
says "detach and reset" 0 "nvme -> pciback" bind --reset --uri=$uri $nvme
equal "the driver of Xen" pciback "$(driver)"
check "the backend can use it" pviommu doctor --hypervisor=xen --device=$nvme
says "the default connection finds it done" 0 "nothing to be done" bind --uri=$uri $nvme
says "what libvirt cannot prevent is said" 1 "pciback has taken it again" unbind --uri=$uri $nvme
says "sysfs can" 0 "pciback -> nvme" unbind $nvme
rmmod xen-pciback && modprobe xen-pciback
says "detach" 0 "nvme -> pciback" bind --uri=$uri $nvme
says "reattach" 0 "pciback -> nvme" unbind --uri=$uri $nvme
equal "the kernel's driver again" nvme "$(driver)"
says "a domain that is not there" 2 "there is no domain nobody" attach --uri=$uri $nvme nobody
EOF
finish
