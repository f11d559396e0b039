#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Unmodified DPDK on the legacy virtio network card: testpmd sends packets
# through the loopback and forwards what comes back, for ever.
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"

if ! command -v dpdk-testpmd >/dev/null; then
  not_ok dpdk "dpdk-testpmd is not installed (Debian: dpdk-dev)"
  finish
fi

need pkill

address=0000:00:07.0
packets=2000
seconds=40  # for a machine that is busy; an idle one needs two

# testpmd pins one thread to each core it is given; with one core they share it.
mapfile -t cpus < <(
  awk '$1 == "Cpus_allowed_list:" {gsub(",", "\n", $2); print $2}' /proc/self/status |
    while IFS=- read -r first last; do seq "$first" "${last:-$first}"; done
)
cores="0@${cpus[0]},1@${cpus[1]:-${cpus[0]}}"

# The last value of "WORD: number" in the statistics of NAME.
last_of() { grep -o "$2: *[0-9]*" "$work/$1.out" | tail -n 1 | tr -dc 0-9; }
arrived() { [ "$(last_of "$1" RX-packets || echo 0)" -ge "$packets" ] 2>/dev/null; }

# testpmd NAME MACHINE RUN_OPTION... -- EAL_OPTION... -- TESTPMD_OPTION...
# until enough packets came back, then asked to end.
testpmd() {
  local name=$1 machine=$2 pid status value
  shift 2
  local options=()
  while [ "$1" != -- ]; do
    options+=("$1")
    shift
  done
  shift
  pviommu_start $((seconds + 20)) "$name" --hypervisor="model:$machine" "${options[@]}" -- \
    dpdk-testpmd --lcores="$cores" --iova-mode=va --no-telemetry -a "$address" "$@" \
    --no-mlockall --total-num-mbufs=2048 --stats-period 1
  pid=$!
  started+=("$pid")
  for _ in $(seq $((seconds * 5))); do
    arrived "$name" && break
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.2
  done
  if ! arrived "$name"; then
    value=$(last_of "$name" RX-packets)
    fail "${value:-no} packets came back in $seconds seconds"
  fi
  # testpmd itself: timeout would pass the signal on to it and then to the whole group, and
  # testpmd of DPDK 24.11, which cleans up at the first, dies of the second.
  pkill -TERM -P "$pid"
  wait "$pid"
  status=$?
  started=()

  [ "$status" = 0 ] || [ "$status" = 143 ] || fail "status $status"
  grep -q '^Bye' "$work/$name.out" || fail "did not end properly"
  for value in RX-packets TX-packets; do
    [ "$(last_of "$name" "$value")" -gt 0 ] 2>/dev/null || fail "$value is not above 0"
  done
  for value in RX-errors TX-errors; do
    [ "$(last_of "$name" "$value")" = 0 ] || fail "$value is $(last_of "$name" "$value")"
  done
  # 64 bytes and the header, once each way.
  at_least "$name" /maps/count 1
  at_least "$name" /hypercalls/map/count 1
  at_least "$name" /dma_read_bytes $((packets * 64))
  at_least "$name" /dma_write_bytes $((packets * 64))
  no_faults "$name"
  nothing_left "$name"
  explain_run "$name"
}

card=virtio-net,addr=$address
no_huge=(--no-huge -m 64 --no-shconf)
first=(-- --tx-first)

plain() { testpmd "$1" "$2" "${@:3}" -- "${no_huge[@]}" "${first[@]}"; }

# Without --tx-first testpmd uses link interrupts: MSI-X is on, and the device
# configuration moves behind the vector registers.
interrupts() {
  testpmd interrupts "$card" -- "${no_huge[@]}" -- --forward-mode=flowgen
  at_least interrupts /hypercalls/allocate_vectors/count 1
  at_least interrupts /hypercalls/bind_vector/count 1
  grep -q 'Port 0: 52:54:' "$work/interrupts.out" || fail "has not the card's address"
}

# Huge pages are the machine's: what is missing is asked for and given back.
wanted_pages=64
huge=/proc/sys/vm/nr_hugepages
pages_before=
return_pages() {
  [ -z "$pages_before" ] || echo "$pages_before" >"$huge"
  pages_before=
}
trap 'end_processes; return_pages; clean_up' EXIT

huge_field() { awk -v name="$1:" '$1 == name {print $2}' /proc/meminfo; }
get_pages() {
  local free
  [ "$(huge_field Hugepagesize)" = 2048 ] || return
  free=$(huge_field HugePages_Free)
  [ "$free" -ge $wanted_pages ] && return
  [ -w "$huge" ] || return
  pages_before=$(cat "$huge")
  echo $((pages_before + wanted_pages - free)) >"$huge"
  [ "$(huge_field HugePages_Free)" -ge $wanted_pages ]
}

verdict no-huge plain no-huge "$card"
verdict no-huge-plain-rings plain plain-rings "$card,mrg_rxbuf=off,indirect_desc=off"
verdict no-huge-xen plain xen "limits=xen;$card"
verdict no-huge-copy plain copy "$card" --frames=copy
verdict interrupts interrupts
if get_pages; then
  verdict in-memory testpmd in-memory "$card" -- --in-memory -m 64 "${first[@]}"
else
  skip in-memory "needs $wanted_pages free huge pages of 2 MiB"
fi
return_pages
finish
