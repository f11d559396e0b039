#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# A device goes back as it was found: what `xl pci-assignable-add` has put into Xen's quarantine is
# there again after a run, however that ends, and after `pviommu attach`; `pviommu unbind` takes it
# out before a driver of dom0 probes it.  In the end of each round dom0's nvme reads the disk.
. "$(dirname "$0")/lib.sh"
prefix='quarantine: '
work=$(mktemp -d "${TMPDIR:-/tmp}/pviommu-quarantine.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
head -c 4M /dev/urandom >"$work/disk"
truncate -s 8M "$work/disk"
head -c 1M "$work/disk" | md5sum | cut -d' ' -f1 >"$work/sum"
"$rig/tools" "$debian" >/dev/null || { not_ok tools "xl and its friends could not be had"; finish; }

in_dom0 --tools --timeout 700 --disk "$work/disk" --add "$work/sum" <<'EOD'
export PATH=$PATH:/usr/lib/xen/bin
nvme=0000:00:05.0
mkdir -p /run/xen /run/xenstored /var/lib/xenstored
xenstored --pid-file /run/xenstored.pid && xen-init-dom0 >/dev/null && xenconsoled
modprobe nvme && modprobe xen-pciback
driver() { basename "$(readlink /sys/bus/pci/devices/$nvme/driver || echo none)"; }
doctor() { pviommu doctor --hypervisor=xen --device=$nvme >/tmp/doctor 2>&1; }
# place NAME WHERE: where doctor says that the device is, "quarantine" or "dom0's".
place() {
  doctor
  grep -q "^ok *domain *the device is .*$2" /tmp/doctor && ok "$1" || not_ok "$1" "$(grep domain /tmp/doctor)"
}
remedy() { sed -n '/^[a-z]* *domain  /{n;s/^ *-> //p}' /tmp/doctor; }
# works NAME: dom0's nvme has the device and reads the disk.
works() {
  for _ in $(seq 50); do [ ! -b /dev/nvme0n1 ] || break; usleep 100000; done
  equal "$1: dom0's driver has it" nvme "$(driver)"
  equal "$1: and reads the disk" "$(cat /root/sum)" "$(dd if=/dev/nvme0n1 bs=64k count=16 iflag=direct 2>/dev/null | md5sum | cut -d' ' -f1)"
}
add() { check "$1: xl sets it aside" xl pci-assignable-add 00:05.0; }
remove() { check "$1: xl takes it back" xl pci-assignable-remove -r 00:05.0; }
run() {
  check "$1: a run" pviommu run --quiet --hypervisor=xen -- \
    qemu-io -t writeback -f raw -c 'read 0 64k' nvme://$nvme/1
}
# unbind NAME [COMMAND]: in seconds, where a driver that probes too early takes a minute.
unbind() {
  unbind_name=$1
  shift
  [ $# -gt 0 ] || set -- pviommu unbind $nvme
  begin=$(date +%s)
  check "$unbind_name: unbind" "$@"
  took=$(($(date +%s) - begin))
  [ $took -le 20 ] && ok "$unbind_name: in seconds" || not_ok "$unbind_name: in seconds" "$took s"
}
bind() { check "$1: bind" pviommu bind $nvme; }
quarantined() { place "$1: it is in quarantine" quarantine; }
works "as dom0 began"

add "add, unbind"
quarantined "add, unbind"
pviommu unbind --dry-run $nvme >/tmp/steps
check "a dry run names the step" grep -qx "xl pci-assignable-remove $nvme" /tmp/steps
quarantined "and takes none"
unbind "add, unbind"
works "add, unbind"
place "add, unbind: it is dom0's" "dom0's"

add "doctor's remedy"
doctor
unbind "doctor's remedy" sh -c "$(remedy)"
works "doctor's remedy"

add "add, run, remove"
run "add, run, remove"
quarantined "add, run, remove"
run "add, run, run"
quarantined "add, run, run"
remove "add, run, remove"
works "add, run, remove"

add "add, run, unbind"
run "add, run, unbind"
unbind "add, run, unbind"
works "add, run, unbind"

add "add, bind, run, unbind"
bind "add, bind, run, unbind"
quarantined "add, bind, run, unbind"
run "add, bind, run, unbind"
quarantined "add, bind, run, unbind: after the run"
unbind "add, bind, run, unbind"
works "add, bind, run, unbind"

# What bind has set aside no other driver takes, pciback neither; afterwards xl can.
bind "bind, add, unbind"
check "bind, add, unbind: xl is refused" sh -c '! xl pci-assignable-add 00:05.0 2>/dev/null'
place "bind, add, unbind: it is still dom0's" "dom0's"
unbind "bind, add, unbind"
works "bind, add, unbind"

bind "bind, run, unbind, add, run, remove"
run "bind, run, unbind, add, run, remove"
place "bind, run: it is dom0's" "dom0's"
unbind "bind, run, unbind, add, run, remove"
add "bind, run, unbind, add, run, remove"
run "bind, run, unbind, add, run, remove: once more"
remove "bind, run, unbind, add, run, remove"
works "bind, run, unbind, add, run, remove"

# ---- killed ---------------------------------------------------------------------------

# begin NAME: a program that has the device, in $program.
begin() {
  pviommu run --quiet --hypervisor=xen -- sh -c 'echo $$ >/tmp/program; exec "$@"' - \
    qemu-io -t writeback -f raw -c 'read 0 64k' -c 'sleep 1000000' nvme://$nvme/1 >/tmp/work 2>&1 &
  launcher=$!
  for _ in $(seq 60); do
    doctor
    ! grep -q '^ok *domain .* carrier ' /tmp/doctor || break
    usleep 500000
  done
  place "$1: a program has it" " carrier "
  read -r program </tmp/program
}
no_guardian() {
  for _ in $(seq 100); do
    [ -n "$(pidof pviommu-xen-guardian)" ] || return 0
    usleep 100000
  done
  return 1
}
add killed
begin killed
kill -KILL $program
{ wait $launcher; } 2>/dev/null
check "killed: the guardian ends" no_guardian
quarantined killed
remove killed
works killed

add "both killed"
begin "both killed"
check "both killed: it cannot be unbound under a program" sh -c "! pviommu unbind $nvme 2>/dev/null"
kill -STOP $program  # so that it starts no new guardian
kill -KILL $(pidof pviommu-xen-guardian) $program
{ wait $launcher; } 2>/dev/null
check "both killed: no guardian is left" no_guardian
check "both killed: reap" pviommu reap --hypervisor=xen
quarantined "both killed"
remove "both killed"
works "both killed"

# ---- a guest's bus ----------------------------------------------------------------------

cat >/tmp/paused.cfg <<CFG
name="paused"
type="hvm"
memory=64
vcpus=1
kernel="/guest/vmlinuz"
ramdisk="/guest/initrd"
passthrough="enabled"
vga="none"
usb=0
vnc=0
CFG
attached() { [ -n "$(pidof pviommu)" ]; }
ends() {
  for _ in $(seq 100); do
    attached || return 0
    usleep 100000
  done
  return 1
}
add attach
check "attach: a paused guest" xl create -q -p /tmp/paused.cfg
check "attach" pviommu attach --background $nvme paused
check "detach" pviommu detach $nvme
quarantined "attach, detach"
check "attach again" pviommu attach --background $nvme paused
xl destroy paused
check "attach: the guest's end ends it" ends
quarantined "attach, destroy"
remove attach
works attach
nothing_left
EOD
finish
