#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# qemu-system-x86_64 with vfio-pci: SeaBIOS and Debian's kernel drive the model's
# NVMe controller, by INTx and by MSI-X, behind an emulated IOMMU, unplugged and
# plugged again; what they wrote is verified from outside.
#
#   qemu-system.sh [--emulated] [CASE...]
#
# --emulated gives the guest QEMU's own NVMe device instead: does the guest part
# of the test work?
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
. "$here/guest.sh"

emulated=no
if [ "${1:-}" = --emulated ]; then
  emulated=yes
  shift
fi
wanted=("$@")

address=0000:00:05.0
limit=${PVIOMMU_GUEST_LIMIT:-90}  # seconds a boot may take
boot_blocks=120                   # one INT 13h transfer is at most 127
disk=$work/disk.img
qmp_in=
qmp_out=

# ---- the disk ---------------------------------------------------------------

megabytes() { dd if="$disk" bs=1M skip="$1" count="$2" status=none; }
blocks() { dd if="$disk" bs=512 skip="$1" count="$2" status=none; }
odd_blocks() { dd if="$disk" bs=3584 skip="$1" count=200 status=none; }

new_disk() {
  rm -f "$disk"
  truncate -s 96M "$disk"
  {
    dd if="$work/boot" of="$disk" conv=notrunc
    printf 'BIOS has read and written\r\n\0' | dd of="$disk" bs=512 seek=1 conv=notrunc
    dd if=/dev/urandom of="$disk" bs=512 seek=2048 count="$boot_blocks" conv=notrunc
    dd if=/dev/urandom of="$disk" bs=1M seek=16 count=16 iflag=fullblock conv=notrunc
  } 2>/dev/null
  sum=$(megabytes 16 16 | sha256sum | cut -d' ' -f1)
}

# ---- a machine --------------------------------------------------------------

# start NAME MODEL_CONF DEVICE QEMU_ARGUMENT...
# DEVICE: the vfio-pci properties after the device's address.
start() {
  name=$1
  local conf=$2 device=$3
  shift 3
  serial=$work/$name.serial
  mkfifo "$work/$name.qmp.in" "$work/$name.qmp.out"
  local common=(-accel tcg -m 256 -nodefaults -display none -no-reboot -serial "file:$serial"
    -chardev "pipe,id=qmp,path=$work/$name.qmp" -mon "chardev=qmp,mode=control" "$@")
  if [ $emulated = yes ]; then
    device=${device#*"$address"}
    timeout -k 5 "$limit" qemu-system-x86_64 "${common[@]}" -blockdev "driver=file,filename=$disk,node-name=disk" \
      -device "nvme,drive=disk,serial=emulated${device%,x-no-mmap=on}" \
      >"$work/$name.out" 2>&1 &
  else
    pviommu_start "$limit" "$name" --hypervisor="model:nvme,addr=$address,file=$disk$conf" -- \
      qemu-system-x86_64 "${common[@]}" -device "vfio-pci,$device"
  fi
  machine=$!
  started+=("$machine")
  exec {qmp_in}<>"$work/$name.qmp.in" {qmp_out}<>"$work/$name.qmp.out"
}

# Ends with the machine's status; complains when it is not 0.
await_end() {
  wait "$machine"
  local status=$?
  started=()
  exec {qmp_in}>&- {qmp_out}>&-
  [ $status = 0 ] && return
  [ $status = 124 ] && fail "no end after $limit seconds" || fail "QEMU ended with status $status"
}

# explain: on a complaint show what there is.
explain() {
  [ -z "$problem" ] && return
  show "$serial"
  show "$work/$name.err"
  show "$work/$name.out"
}

# await_line TEXT SECONDS: on the serial console.
await_line() {
  local until=$((SECONDS + $2))
  while [ $SECONDS -lt $until ] && kill -0 "$machine" 2>/dev/null; do
    grep -aq "$1" "$serial" 2>/dev/null && return
    sleep 0.1
  done
  fail "the guest did not say \"$1\""
  return 1
}

# qmp COMMAND_JSON: until its answer; other lines are events.
qmp() {
  local line
  printf '%s\n' "$1" >&"$qmp_in"
  while IFS= read -r -t 10 -u "$qmp_out" line; do
    case $line in
      *'"error"'*) fail "QMP: $line"; return 1 ;;
      *'"return"'*) return ;;
    esac
  done
  fail "QMP does not answer"
  return 1
}

# qmp_event NAME
qmp_event() {
  local line
  while IFS= read -r -t 20 -u "$qmp_out" line; do
    case $line in *"\"$1\""*) return ;; esac
  done
  fail "no event $1"
  return 1
}

says() { grep -aq "GUEST: $1" "$serial" || fail "the guest did not say \"$1\""; }

# What every run must have left behind.
clean_end() {
  [ $emulated = yes ] && return
  no_faults "$name"
  nothing_left "$name"
}

# ---- cases ------------------------------------------------------------------

# seabios MODEL_CONF DEVICE MACHINE
seabios() {
  new_disk
  start "$case_name" "$1" "$2,bootindex=0" -machine "$3"
  await_end
  grep -aq 'BIOS has read and written' "$serial" || fail "SeaBIOS did not boot from the disk"
  cmp -s <(blocks 2048 $boot_blocks) <(blocks 4096 $boot_blocks) || fail "the blocks that SeaBIOS copied differ"
  clean_end
  explain
}

# terminated MODEL_CONF DEVICE: QEMU takes nothing back when it is told to end
# (it unmaps nothing); that is left to us.
terminated() {
  rm -f "$disk"
  truncate -s 1M "$disk"
  start "$case_name" "$1" "$2" -machine pc
  if qmp '{"execute":"qmp_capabilities"}'; then
    sleep 0.5
    kill -TERM "$machine"
  fi
  await_end
  [ $emulated = yes ] || at_least "$name" /maps/count 2
  clean_end
  explain
}

# linux MODEL_CONF DEVICE INTERRUPT_CHIP KERNEL_ARGUMENTS QEMU_ARGUMENT...
linux() {
  local conf=$1 device=$2 chip=$3 arguments=$4
  shift 4
  new_disk
  start "$case_name" "$conf" "$device" -kernel "$kernel" -initrd "$work/initramfs.cpio" \
    -append "console=ttyS0 quiet panic=-1 $arguments" "$@"
  if [[ $arguments == *pviommu.unplug* ]]; then unplug "$device"; fi
  await_end
  says "disk 196608 blocks"
  says "seen $sum"
  says "copy $sum"
  grep -aEq "GUEST: interrupts [1-9][0-9]* of .*$chip" "$serial" || fail "no interrupts of $chip"
  [ "$(megabytes 32 16 | sha256sum | cut -d' ' -f1)" = "$sum" ] || fail "the 16 MiB that the guest wrote differ"
  cmp -s <(odd_blocks 10240) <(odd_blocks 20480) || fail "the blocks of 3584 bytes that the guest copied differ"
  if [[ $arguments == *pviommu.unplug* ]]; then
    says removed
    says returned
    says "copy after return $sum"
    [ "$(megabytes 48 16 | sha256sum | cut -d' ' -f1)" = "$sum" ] ||
      fail "the 16 MiB that the guest wrote after the return differ"
  fi
  if [[ $arguments == *intel_iommu=on* ]]; then
    says "iommu dmar0"
    # Strict mode maps and unmaps every transfer.
    [ $emulated = yes ] || at_least "$name" /maps/count 1000
  fi
  clean_end
  explain
}

unplug() {
  qmp '{"execute":"qmp_capabilities"}' || return
  await_line 'GUEST: ready for removal' 60 || return
  qmp '{"execute":"device_del","arguments":{"id":"nvme"}}' && qmp_event DEVICE_DELETED || return
  await_line 'GUEST: removed' 20 || return
  local property properties=
  IFS=, read -ra property <<<"$1"
  for property in "${property[@]}"; do
    properties+=",\"${property%%=*}\":\"${property#*=}\""
  done
  if [ $emulated = yes ]; then
    qmp '{"execute":"device_add","arguments":{"driver":"nvme","id":"nvme","drive":"disk","serial":"emulated"}}'
  else
    qmp "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"vfio-pci\"$properties}}"
  fi
}

# scenario NAME FUNCTION ARGUMENT...
scenario() {
  local one
  case_name=$1
  if [ ${#wanted[@]} -gt 0 ]; then
    for one in "${wanted[@]}"; do [ "$one" = "$1" ] && break; done
    [ "$one" = "$1" ] || return
  fi
  local begin=$SECONDS
  verdict "$@"
  note "$case_name took $((SECONDS - begin)) s"
}

# ---- the row of them --------------------------------------------------------

need qemu-system-x86_64 cpio readelf cc ld
[ $emulated = yes ] || need_memlock 320
boot_sector "$work/boot" $boot_blocks >"$work/boot.log" 2>&1 ||
  { show "$work/boot.log"; not_ok boot-sector "it cannot be assembled"; finish; }

by_folder=sysfsdev=/sys/bus/pci/devices/$address
by_host=host=$address

scenario seabios-pc seabios "" "$by_folder" pc
scenario seabios-q35 seabios "" "$by_host" q35
scenario seabios-no-mmap seabios ",mmap=off" "$by_folder" pc
scenario terminated terminated "" "$by_folder"

if ! kernel=$(guest_kernel 2>"$work/kernel.log") || ! guest_initramfs "$work/initramfs.cpio" 2>>"$work/kernel.log"; then
  show "$work/kernel.log"
  not_ok linux "no guest to boot"
  finish
fi

scenario linux-intx linux "" "$by_folder" IO-APIC "pci=nomsi" -machine pc
scenario linux-msix linux "" "$by_folder" PCI-MSI "" -machine q35 -smp 2
scenario linux-msix-no-mmap linux ",mmap=off" "$by_folder" PCI-MSI "" -machine q35
scenario linux-intx-x-no-mmap linux "" "$by_host,x-no-mmap=on" IO-APIC "pci=nomsi" -machine pc
scenario linux-iommu-strict linux "" "$by_folder" PCI-MSI "intel_iommu=on iommu.strict=1" \
  -machine q35 -device intel-iommu,caching-mode=on
scenario linux-replug linux "" "$by_folder,id=nvme" PCI-MSI "pviommu.unplug" -machine pc
finish
