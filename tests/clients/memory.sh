#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Isolation, seen from the device's side: see edu-dma.c for the cases.
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"

address=0000:00:06.0
other=0000:00:07.0

# isolation NAME REASON COUNT MACHINE_OPTIONS RUN_OPTION... -- CASE
# COUNT accesses are stopped and counted as REASON, all others succeed.
isolation() {
  local name=$1 reason=$2 count=$3 conf=$4 total=0 value
  shift 4
  local options=()
  while [ "$1" != -- ]; do
    options+=("$1")
    shift
  done
  local case=$2 arguments
  conf="model:${conf:+$conf;}edu,addr=$address,group=3"
  arguments=(3 "$address")
  if [ "$case" = two-containers ]; then
    conf+=";edu,addr=$other,group=4"
    arguments+=(4 "$other")
  fi
  pviommu_run 60 "$name" --hypervisor="$conf" "${options[@]}" -- "$edu_dma" "$case" "${arguments[@]}" ||
    fail "$(tail -n 1 "$work/$name.err")"
  grep -qx "refused $count" "$work/$name.out" || fail "the program counts $(cat "$work/$name.out"), not $count"
  exactly "$name" "/faults/$reason" "$count"
  for value in not_mapped not_permitted not_attached bad_message stale_frame unreachable; do
    value=$(stat_of "$name" "/faults/$value")
    total=$((total + value))
  done
  [ $total = "$count" ] || fail "$total faults: $(stat_of "$name" /faults)"
  nothing_left "$name"
  explain_run "$name"
}

# all SUFFIX MACHINE_OPTIONS RUN_OPTION...
all() {
  local suffix=$1 conf=$2
  shift 2
  verdict "round-trip$suffix" isolation "round-trip$suffix" not_mapped 0 "$conf" "$@" -- round-trip
  verdict "unmapped$suffix" isolation "unmapped$suffix" not_mapped 4 "$conf" "$@" -- unmapped
  verdict "read-only$suffix" isolation "read-only$suffix" not_permitted 1 "$conf" "$@" -- read-only
  verdict "write-only$suffix" isolation "write-only$suffix" not_permitted 1 "$conf" "$@" -- write-only
  verdict "after-unmap$suffix" isolation "after-unmap$suffix" not_mapped 16 "$conf" "$@" -- after-unmap
  verdict "bus-master-off$suffix" isolation "bus-master-off$suffix" not_attached 1 "$conf" "$@" -- bus-master-off
  verdict "reopened$suffix" isolation "reopened$suffix" not_mapped 2 "$conf" "$@" -- reopened
  verdict "two-containers$suffix" isolation "two-containers$suffix" not_mapped 2 "$conf" "$@" -- two-containers
}

all "" ""
all -scattered frames=scattered
all -xen limits=xen
all -copy "" --frames=copy
verdict after-free isolation after-free unreachable 0 "" -- after-free
verdict after-free-copy isolation after-free-copy unreachable 2 "" --frames=copy -- after-free
# Only pinned frames stay what they were when other memory comes to their
# address; the copying frame source goes by address, as it says.
for conf in "" frames=scattered limits=xen; do
  name=after-munmap${conf:+-${conf#*=}}
  verdict "$name" isolation "$name" not_mapped 1 "$conf" -- after-munmap
done
finish
