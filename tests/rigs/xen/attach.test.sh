#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# A Linux guest, made by xl, uses the NVMe that `pviommu attach` puts on its bus, with
# its own driver: once as a guest that takes its interrupts from event channels of pirqs,
# once as any PC.  The former is xl's default up to Xen 4.18 (xen_nopv in the guest is the
# other way), the latter from 4.19 on (hvm_pirq=1 is).  It reboots, and is destroyed.  Beside it the stock way, by
# xen-pciback and qemu-xen.  What the guests wrote is compared from outside.
#
#   MiB   0 .. 2    random, read by the guest
#         2 .. 4    zeros; the guest writes "guest" lines
. "$(dirname "$0")/lib.sh"
prefix='attach: '
work=$(mktemp -d "${TMPDIR:-/tmp}/pviommu-attach.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
truncate -s 8M "$work/disk"
head -c 2M /dev/urandom | dd of="$work/disk" conv=notrunc iflag=fullblock status=none
head -c 2M "$work/disk" | md5sum | cut -d' ' -f1 >"$work/sum"
cp "$work/disk" "$work/wanted"
yes guest | head -c 2M | dd of="$work/wanted" bs=1M seek=2 conv=notrunc iflag=fullblock status=none
"$rig/tools" "$debian" >/dev/null || { not_ok tools "xl and its friends could not be had"; finish; }

in_dom0 --tools --timeout 800 --disk "$work/disk" --add "$work/sum" <<'EOF'
export PATH=$PATH:/usr/lib/xen/bin
nvme=0000:00:05.0
# How an HVM guest of xl takes its interrupts, and how one does that is made otherwise.
case $xen_version in
  4.17|4.18) usual=xen-pirq other=PCI-MSI other_option=xen_nopv other_line= ;;
  *) usual=PCI-MSI other=xen-pirq other_option= other_line=hvm_pirq=1 ;;
esac
mkdir -p /run/xen /run/xenstored /var/lib/xenstored
xenstored --pid-file /run/xenstored.pid && xen-init-dom0 >/dev/null && xenconsoled
mount -t tracefs tracefs /sys/kernel/tracing
modprobe xen-privcmd
echo 'p:hypercalls privcmd_ioctl' >/sys/kernel/tracing/kprobe_events
echo 1 >/sys/kernel/tracing/events/kprobes/hypercalls/enable
# Calls of dom0's programs to the hypervisor, all of them.
hypercalls() { awk '$1 == "hypercalls" { print $2 }' /sys/kernel/tracing/kprobe_profile; }

# Exits of the guest to Xen; one runs at a time.  From trace on, which costs no calls
# later, to traced, which tells them in $exits.
trace() {
  xentrace -D -S 1024 -e 0x00081000 /tmp/trace >/dev/null 2>&1 &
  tracer=$!
  sleep 1
}
traced() {
  kill $tracer
  wait $tracer 2>/dev/null
  exits=$(rig_exits </tmp/trace)
  [ "${exits%% *}" -gt 1000 ] && ok "$1: exits are counted" || not_ok "$1: exits are counted" "$exits"
  rm -f /tmp/trace
}

# config NAME OPTION [LINE]: the guest, without a device but what LINE says; OPTION is of
# its kernel.
config() {
  cat >/tmp/$1.cfg <<CFG
name="$1"
type="hvm"
memory=160
vcpus=1
kernel="/guest/vmlinuz"
ramdisk="/guest/initrd"
cmdline="console=ttyS0 panic=1 $2 quiet loglevel=4 noxsave mitigations=off job=$1"
passthrough="enabled"
serial="file:/tmp/$1.serial"
vga="none"
usb=0
vnc=0
on_reboot="restart"
$3
CFG
}
# says NAME TEXT [SECONDS]: the guest says so on its console.
says() {
  for _ in $(seq ${3:-120}); do
    grep -q "guest: $2" /tmp/$1.serial 2>/dev/null && return 0
    sleep 1
  done
  echo "the console of $1:"
  cut -c1-160 /tmp/$1.serial
  return 1
}
# used NAME CHIP: it has read and written the disk, with interrupts of the CHIP.
used() {
  equal "$1 reads what is on the disk" "guest: read $(cat /root/sum)" "$(grep 'guest: read' /tmp/$1.serial | tr -d '\r')"
  check "$1 writes" grep -q 'guest: written' /tmp/$1.serial
  interrupts=$(sed -n 's/.*guest: vectors \([0-9]*\) interrupts \([0-9]*\).*/\1 \2/p' /tmp/$1.serial)
  [ "${interrupts% *}" -ge 2 ] && [ "${interrupts#* }" -gt 50 ] && ok "$1 has its interrupts" || not_ok "$1 has its interrupts" "vectors and interrupts: $interrupts"
  # Newer kernels name the device too: PCI-MSIX-0000:00:10.0.
  equal "they come by" "$2" "$(sed -n 's/.*guest: by \([^ ]*\).*/\1/p' /tmp/$1.serial | sed 's/^PCI-MSIX-.*/PCI-MSI/')"
}
attached() { pidof pviommu >/dev/null; }
ends() {
  for _ in $(seq 100); do
    attached || return 0
    usleep 100000
  done
  echo "pviommu attach is still there"
  return 1
}

config io ""
trace
before=$(hypercalls)
check "a paused guest" xl create -e -q -p /tmp/io.cfg
created=$(hypercalls)
check "attach" pviommu attach --background $nvme io
attached=$(hypercalls)
second=$(pviommu attach --background $nvme io 2>&1)
[ $? -ne 0 ] && ok "not twice" || not_ok "not twice" "$second"
begun=$(hypercalls)
xl unpause io
check "io finds the NVMe" says io done
used io $usual
our_calls=$(($(hypercalls) - begun))
ours="$our_calls, and $((created - before)) to make the guest, $((attached - created)) to attach"
vectors=$interrupts
traced io
our_exits=$exits
# The guest has done its work: who waits for events has no reason to call.
idle=$(hypercalls)
sleep 5
idle=$(($(hypercalls) - idle))
if [ $idle -le 5 ]; then ok "in five idle seconds nothing is asked"; else not_ok "in five idle seconds nothing is asked" "$idle calls"; fi
check "detach" pviommu detach $nvme
attached && not_ok "its process has ended" "it has not" || ok "its process has ended"
equal "the guest lives on" 1 "$(xl list | grep -c '^io ')"
nothing_left "detach"
equal "nothing to detach" "pviommu: $nvme is not attached to a guest" "$(pviommu detach $nvme 2>&1)"
check "attach again" pviommu attach --background $nvme io
xl destroy io
check "destroying the guest ends it" ends
equal "the guest is gone" 0 "$(xl list | grep -c '^io \|(null)')"
nothing_left "destroy"

config reboot "$other_option" "$other_line"
check "another guest" xl create -q -p /tmp/reboot.cfg
first=$(xl domid reboot)
check "attach to it" pviommu attach --background $nvme reboot
xl unpause reboot
check "it reboots" says reboot "reboots"
used reboot $other
check "the reboot ends it" ends
nothing_left "reboot"
for _ in $(seq 50); do
  second=$(xl domid reboot 2>/dev/null) && [ "$second" != "$first" ] && break
  usleep 200000
done
check "the guest starts anew" xl destroy reboot

# The stock way.
modprobe xen-pciback
check "pciback takes the device" xl pci-assignable-add 00:05.0
config stock "" 'pci=["00:05.0"]'
trace
before=$(hypercalls)
check "the stock way: a paused guest" xl create -e -q -p /tmp/stock.cfg
created=$(hypercalls)
xl unpause stock
check "stock finds the NVMe" says stock done
used stock $usual
stock_calls=$(($(hypercalls) - created))
stock="$stock_calls, and $((created - before)) to make the guest with it"
traced stock
if [ $our_calls -le $stock_calls ]; then ok "ours makes no more calls"; else not_ok "ours makes no more calls" "$our_calls, and $stock_calls the stock way"; fi
note "NVMe for a guest, 4 MiB of I/O: calls to the hypervisor by dom0's programs; vectors and interrupts in the"
note "guest; exits of the guest, from its start to the end of the I/O"
note "  pviommu attach           $ours; $vectors"
note "    $our_exits"
note "  xen-pciback, qemu-xen    $stock; $interrupts"
note "    $exits"
xl destroy stock
xl pci-assignable-remove 00:05.0 >/dev/null 2>&1
EOF
check "the disk is as the guests left it" cmp "$work/disk" "$work/wanted"
finish
