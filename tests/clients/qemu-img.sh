#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Unmodified qemu-img copies and benchmarks through its own NVMe driver, on the
# model as it is and with the limits of other hypervisors.
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
need qemu-img sha256sum
need_memlock 128

url=nvme://0000:00:05.0/1
disk=$work/disk.img
source=$work/source.img
back=$work/back.img
head -c 64M /dev/urandom >"$source"
sum=$(sha256sum <"$source")

# machine OPTIONS DEVICE_OPTIONS: of a file-backed one.
machine() { printf 'model:%snvme,addr=0000:00:05.0,file=%s%s' "${1:+$1;}" "$disk" "$2"; }

# 64 MiB of random data in, and out again by another run.
# convert NAME MACHINE_OPTIONS DEVICE_OPTIONS RUN_OPTION...
convert_options=()
convert() {
  local name=$1 conf
  conf=$(machine "$2" "$3")
  shift 3
  rm -f "$disk" "$back"
  truncate -s 64M "$disk"
  pviommu_run 120 "$name-in" --hypervisor="$conf" "$@" -- qemu-img convert "${convert_options[@]}" -n -f raw -O raw "$source" "$url" ||
    fail "in: status $?"
  [ "$(sha256sum <"$disk")" = "$sum" ] || fail "in: the file of the disk differs from the source"
  pviommu_run 120 "$name-out" --hypervisor="$conf" "$@" -- qemu-img convert "${convert_options[@]}" -f raw -O raw "$url" "$back" ||
    fail "out: status $?"
  [ "$(sha256sum <"$back")" = "$sum" ] || fail "out: what was read differs from the source"
  local way
  for way in in out; do
    at_least "$name-$way" /maps/count 2
    no_faults "$name-$way"
    nothing_left "$name-$way"
    explain_run "$name-$way"
  done
}

# bench NAME MACHINE_OPTIONS DEVICE_OPTIONS RUN_OPTION...
bench() {
  local name=$1 conf
  conf=$(machine "$2" "$3")
  shift 3
  pattern_file "$disk" 64 021
  pviommu_run 120 "$name" --hypervisor="$conf" "$@" -- \
    qemu-img bench -f raw -w --pattern=90 -c 20000 -d 8 -s 4096 -t none "$url" || fail "status $?"
  grep -q 'Run completed' "$work/$name.out" || fail "not completed"
  # 20000 writes of 4 KiB go once round the 64 MiB.
  [ "$(tr -d '\132' <"$disk" | wc -c)" = 0 ] || fail "not all of the disk was written"
  at_least "$name" /maps/count 2
  at_least "$name" /dma_read_bytes 81920000
  no_faults "$name"
  nothing_left "$name"
  note "$name: $(grep 'Run completed' "$work/$name.out")"
  explain_run "$name"
}

# The program met the quota (ENOSPC), unmapped and went on.
# One request at a time: QEMU tries a map that met ENOSPC once more after it has
# unmapped, and of several requests another one may have taken the place by then.
convert_with_tight_quota() {
  local convert_options=(-m 1)
  convert "$@"
  local way
  for way in in out; do
    at_least "$1-$way" /maps/failed 1
    at_least "$1-$way" /unmaps/count 4
  done
}

# This program cannot do without mapped registers; it is told, and says so.
no_mmap() {
  truncate -s 64M "$disk"
  pviommu_run 60 no-mmap --hypervisor="$(machine "" ",mmap=off")" -- qemu-img bench -f raw -w -c 1 "$url"
  [ $? = 1 ] || fail "status is not qemu-img's 1"
  [ "$(wc -l <"$work/no-mmap.err")" = 1 ] && grep -q 'map BAR region' "$work/no-mmap.err" || fail "no line about the BAR"
  nothing_left no-mmap
  explain_run no-mmap
}

scattered_convert() {
  convert "$@"
  # 4 KiB frames that do not follow each other cannot become 2 MiB entries, yet
  # arrive in fewer hypercalls than pages.
  local pages calls
  pages=$(stat_of "$1-in" /pages_mapped)
  calls=$(stat_of "$1-in" /hypercalls/map/count)
  [ "$calls" -lt "$pages" ] || fail "$calls hypercalls for $pages pages"
}

xen_convert() {
  convert "$@"
  local pages calls
  pages=$(stat_of "$1-in" /pages_mapped)
  calls=$(stat_of "$1-in" /hypercalls/map/count)
  # frames=scattered: every entry is 4 KiB, at most 64 go in a call.
  [ $((calls * 64)) -ge "$pages" ] || fail "$calls hypercalls of at most 64 entries for $pages pages"
}

verdict convert convert convert "" ""
verdict convert-scattered scattered_convert convert-scattered frames=scattered ""
verdict convert-copy convert convert-copy "" "" --frames=copy
verdict convert-xen-limits xen_convert convert-xen "limits=xen,frames=scattered" ""
verdict convert-papr-limits convert convert-papr limits=papr ""
verdict convert-quota convert convert-quota "" "" --max-mappings=40
verdict convert-tight-quota convert_with_tight_quota convert-tight-quota "" "" --max-mappings=12
verdict convert-tight-quota-copy convert_with_tight_quota convert-tight-quota-copy "" "" --max-mappings=12 --frames=copy
verdict bench bench bench "" ""
verdict bench-scattered bench bench-scattered frames=scattered ""
verdict bench-copy bench bench-copy "" "" --frames=copy
verdict bench-xen-limits bench bench-xen limits=xen ""
verdict bench-papr-limits bench bench-papr limits=papr ""
verdict bench-quota bench bench-quota "" "" --max-mappings=40
verdict no-mmap no_mmap
finish
