#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Debian's qemu-io and qemu-img, as they are, on the NVMe of a stock dom0.  What they
# wrote is compared from outside, after power-off, the whole disk byte by byte.
#
#   MiB    0 .. 1    0xa1, only read
#          1 .. 2    zeros; qemu-io writes 100 KiB of 0xb2 from 12 KiB on
#          4 .. 12   zeros; qemu-img bench writes 0x5a
#         16 .. 48   random, read by bench and convert
#         48 .. 80   zeros; convert writes the random bytes
#         80 .. 81   zeros, which nobody may touch
. "$(dirname "$0")/lib.sh"
prefix='io: '
work=$(mktemp -d "${TMPDIR:-/tmp}/pviommu-io.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

# place FILE AT: stdin, from AT (in units of 4 KiB) on.
place() { dd of="$work/$1" bs=4K seek="$2" conv=notrunc iflag=fullblock status=none; }
bytes() { head -c "$2" /dev/zero | tr '\0' "$1"; }
mib=256
truncate -s 81M "$work/disk"
bytes '\241' 1M | place disk 0
head -c 32M /dev/urandom >"$work/random"
place disk $((16 * mib)) <"$work/random"
cp "$work/disk" "$work/wanted"
bytes '\262' 100K | place wanted $((mib + 3))
bytes '\132' 8M | place wanted $((4 * mib))
place wanted $((48 * mib)) <"$work/random"
md5sum <"$work/random" >"$work/sum"

in_dom0 --disk "$work/disk" --add "$work/sum" <<'EOF'
url=nvme://0000:00:05.0/1
file=file.driver=nvme,file.device=0000:00:05.0,file.namespace=1
MIB=1048576
# run NAME COMMAND...: under pviommu; its figures in /tmp/NAME.json, its output in /tmp/NAME.out.
# Always with -t writeback: this NVMe knows no forced unit access.
run() {
  name=$1
  shift
  pviommu run --quiet --hypervisor=xen --stats=json --stats-file=/tmp/$name.json -- "$@" >/tmp/$name.out 2>&1
  status=$?
  [ $status -eq 0 ] || cat /tmp/$name.out
  return $status
}
stat_of() { json-get /tmp/$1.json "$2" 2>&1; }
# Nothing mapped, nothing pinned, nothing refused, and interrupts came.
figures() {
  for pointer in /live_mappings /live_pages /pinned_pages /faults/not_mapped /faults/not_permitted \
    /faults/not_attached /faults/bad_message /faults/stale_frame /faults/unreachable /program/exit_status; do
    value=$(stat_of $1 $pointer)
    [ "$value" = 0 ] || { echo "$pointer is $value"; return 1; }
  done
  [ "$(stat_of $1 /latest_faults)" = '[]' ] || { echo "there are faults"; return 1; }
  value=$(stat_of $1 /interrupts/msix)
  [ "$value" -gt 0 ] || { echo "$value interrupts"; return 1; }
  value=$(stat_of $1 /pages_mapped)
  [ "$value" -gt 0 ] && [ "$value" = "$(stat_of $1 /pages_unmapped)" ] ||
    { echo "$value pages mapped, $(stat_of $1 /pages_unmapped) unmapped"; return 1; }
}
# READS: how many patterns were compared.
right() {
  found=$(grep -c "^read [0-9]*/[0-9]* bytes" /tmp/$1.out)
  ! grep -i "verification failed" /tmp/$1.out && [ "$found" = $2 ] || { echo "$found reads"; return 1; }
}

check "qemu-io reads what was there" run read qemu-io -t writeback -f raw -c "read -P 0xa1 0 1M" -c "read -P 0 1M 1M" $url
check "and finds the pattern" right read 2
run wrong qemu-io -t writeback -f raw -c "read -P 0xa2 0 64k" $url >/dev/null
equal "another pattern is refused" "1 failed" "$? $(grep -o "failed" /tmp/wrong.out)"
check "qemu-io writes and reads back" run write qemu-io -t writeback -f raw \
  -c "write -P 0xb2 $((MIB + 12288)) 100k" -c "read -P 0xb2 $((MIB + 12288)) 100k" \
  -c "read -P 0 $((MIB + 8192)) 4k" -c "read -P 0 $((MIB + 12288 + 102400)) 4k" $url
check "and finds it, and nothing beside it" right write 3
check "qemu-img converts 32 MiB from the disk" run out qemu-img convert --image-opts -T writeback -O raw \
  driver=raw,offset=$((16 * MIB)),size=$((32 * MIB)),$file /tmp/copy
equal "the copy is the original" "$(cat /root/sum)" "$(md5sum </tmp/copy)"
check "qemu-img converts 32 MiB to the disk" run in qemu-img convert -n --target-image-opts -t writeback -f raw \
  /tmp/copy driver=raw,offset=$((48 * MIB)),size=$((32 * MIB)),$file
rm -f /tmp/copy
check "qemu-img bench reads" run bench-read qemu-img bench -t writeback -f raw -c 3000 -d 32 -s 8192 -o $((16 * MIB)) $url
check "qemu-img bench writes" run bench-write qemu-img bench -t writeback -f raw -w --pattern=0x5a -c 2048 -d 32 -s 4096 \
  -o $((4 * MIB)) $url
for name in read write out in bench-read bench-write; do
  check "figures: $name" figures $name
  note "$name: $(stat_of $name /maps/count) maps, $(stat_of $name /pages_mapped) pages," \
    "$(stat_of $name /interrupts/msix) interrupts $(sed -n 's/^Run completed in/, completed in/p' /tmp/$name.out)"
done
nothing_left
EOF

if cmp "$work/disk" "$work/wanted"; then
  ok "the whole disk from outside"
else
  not_ok "the whole disk from outside" "$(cmp -l "$work/disk" "$work/wanted" | wc -l) bytes differ"
fi
finish
