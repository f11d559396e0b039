#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# libvirtd with the driver of Xen: devices through it and through sysfs, and guests that it
# makes, with a device until they reboot or end, and until libvirtd does.
. "$(dirname "$0")/lib.sh"

tree=$("$rig/libvirt" "$debian") || { not_ok libvirt "its packages could not be fetched"; finish; }
"$rig/tools" "$debian" >/dev/null || { not_ok tools "what a guest needs could not be had"; finish; }
in_dom0 --tools --memory 3072 --timeout 560 --add "$tree:/libvirt" <<'EOF'
[ -e /pviommu/lib/pviommu-libvirt.so ] || { skip libvirt "built without it"; finish; }
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
says "a missing daemon" 1 "is libvirtd running" list --host --uri=$uri
mkdir -p /run/xen
/usr/lib/xen/bin/xenstored && /usr/lib/xen/bin/xen-init-dom0 >/dev/null || not_ok xenstored "it does not start"
/usr/lib/xen/bin/xenconsoled
libvirtd -d -p /run/libvirtd.pid || not_ok libvirtd "it does not start"
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
says "detach once more" 0 "nvme -> pciback" bind --uri=$uri $nvme
check "it goes into Xen's quarantine" /usr/lib/xen/bin/xl pci-assignable-add 00:05.0
says "which a dry run sees" 0 "xl pci-assignable-remove $nvme" unbind --dry-run --uri=$uri $nvme
says "reattach out of the quarantine" 0 "pciback -> nvme" unbind --uri=$uri $nvme
check "where it can be used" sh -c 'for _ in $(seq 50); do [ ! -b /dev/nvme0n1 ] || break; usleep 100000; done; dd if=/dev/nvme0n1 of=/dev/null bs=64k count=4 iflag=direct'
says "a domain that is not there" 2 "there is no domain nobody" attach --uri=$uri $nvme nobody
says "a URI with a transport" 0 "$nvme      - nvme" list --host --uri=xen+unix:///system
says "a host that is not there" 1 "192.0.2.1" list --host --uri=xen+tcp://192.0.2.1/system
says "guests of another machine" 2 "not this machine's" attach --uri=xen+ssh://192.0.2.1/system $nvme web

prefix='libvirt, guests: '
# make NAME: a guest, paused.
make() {
  cat >/tmp/$1.xml <<XML
<domain type='xen'>
  <name>$1</name>
  <memory unit='MiB'>160</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='xenfv'>hvm</type>
    <loader type='rom'>/usr/lib/xen/boot/hvmloader</loader>
    <kernel>/guest/vmlinuz</kernel>
    <initrd>/guest/initrd</initrd>
    <cmdline>console=ttyS0 panic=1 xen_nopv quiet loglevel=4 noxsave mitigations=off job=$1</cmdline>
  </os>
  <features><acpi/><apic/><pae/><xen><passthrough state='on'/></xen></features>
  <on_reboot>restart</on_reboot>
  <devices>
    <emulator>/usr/libexec/xen-qemu-system-i386</emulator>
    <serial type='file'><source path='/tmp/$1.serial'/><target port='0'/></serial>
  </devices>
</domain>
XML
  check "libvirt makes $1" virsh -q -c $uri create --paused /tmp/$1.xml
}
# hears NAME TEXT: the guest says so on its console.
hears() {
  for _ in $(seq 150); do
    grep -q "guest: $2" /tmp/$1.serial 2>/dev/null && return 0
    sleep 1
  done
  cut -c1-160 /tmp/$1.serial
  return 1
}
ends() {
  for _ in $(seq 100); do
    pidof pviommu >/dev/null || return 0
    usleep 100000
  done
  echo "pviommu attach is still there"
  return 1
}
log=/run/pviommu/attach-$nvme.log
says "bind" 0 "nvme -> none" bind $nvme
make reboot
before=$(virsh -c $uri domid reboot)
says "attach by name" 0 "of domain $before;" attach --background --uri=$uri $nvme reboot
virsh -q -c $uri resume reboot
check "it reads the NVMe" hears reboot "read [0-9a-f]"
check "it reboots" hears reboot reboots
check "the reboot ends attach" ends
check "which says so" grep -q "the guest has ended" $log
nothing_left "reboot"
for _ in $(seq 50); do [ "$(virsh -c $uri domid reboot 2>/dev/null)" -gt "$before" ] 2>/dev/null && break; usleep 200000; done
says "attach by name finds the one that follows" 0 "of domain $(virsh -c $uri domid reboot);" attach --background --uri=$uri $nvme reboot
virsh -q -c $uri destroy reboot
check "libvirt's destroy ends attach" ends
nothing_left "destroy"
says "a domain that has ended" 2 "reboot" attach --uri=$uri $nvme reboot

make web
says "attach by UUID" 0 "of domain $(virsh -c $uri domid web);" attach --background --uri=$uri $nvme "$(virsh -c $uri domuuid web | head -n 1)"
virsh -q -c $uri resume web
check "web is up" hears web up
kill -9 "$(cat /run/libvirtd.pid)"
for _ in $(seq 50); do grep -q gone $log && break; usleep 200000; done
equal "the end of libvirtd is one line" "pviommu: $uri: libvirt has gone; $nvme stays with the guest until the guest ends, which the hypervisor tells" "$(grep -v '^0000' $log)"
check "web uses the NVMe without it" hears web written
check "attach is there" pidof pviommu
check "web ends" /usr/lib/xen/bin/xl destroy web
check "and attach with it" ends
nothing_left "without libvirtd"
EOF
finish
