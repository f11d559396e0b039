#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# SIGKILL at random moments of qemu-img bench: afterwards the device is free,
# nothing is left running, locked, pinned or lying about, and the disk holds
# whole blocks, each old or new.
#
#   kill.sh [SEED [ROUNDS]]
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
need qemu-img qemu-io od

seed=${1:-${PVIOMMU_SEED:-$$}}
rounds=${2:-50}
RANDOM=$seed
note "seed $seed"

url=nvme://0000:00:05.0/1
disk=$work/disk.img
conf=model:nvme,addr=0000:00:05.0,file=$disk
disk_mib=2

device_is_free() {
  "$run" pviommu list --json --hypervisor="$conf" >"$work/list.json" 2>"$work/list.err" ||
    fail "pviommu list: $(head -n 1 "$work/list.err")"
  [ "$("$json_get" "$work/list.json" /0/state)" = free ] || fail "the device is not free"
}

# Processes that carry this round's mark in their environment, children that
# changed group and session included.
marked() { grep -lazx "PVIOMMU_TEST_MARK=$mark" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3; }
nothing_runs() {
  local pids pid
  for _ in 1 2 3 4 5; do
    pids=$(marked)
    [ -z "$pids" ] && return
    sleep 0.2
  done
  for pid in $pids; do
    fail "process $pid is left: $(tr '\0' ' ' <"/proc/$pid/cmdline")"
    kill -KILL "$pid"
  done
}

# A pin lives as long as a descriptor of its ring: nobody may hold one that was
# not there before.
rings() { find /proc/[0-9]*/fd -lname 'anon_inode:\[io_uring\]' 2>/dev/null | cut -d/ -f3 | sort -u; }
no_new_rings() {
  local pid
  for pid in $(comm -13 "$work/rings" <(rings)); do
    grep -qaz "^PVIOMMU_TEST_MARK=$work" "/proc/$pid/environ" 2>/dev/null && fail "process $pid holds a ring of ours"
  done
}

nothing_remains() {
  local left
  left=$(ls -A "$XDG_RUNTIME_DIR")
  [ -z "$left" ] || fail "left behind in the run folder: $left"
}

# Every block of 512 bytes is entirely the old or entirely the new byte.
blocks_are_whole() {
  local old=$1 new=$2 kinds
  kinds=$(od -An -v -tx1 -w512 "$disk" | sort -u | tr -d ' ')
  while read -r block; do
    [ "$block" = "$(printf "$old%.0s" {1..512})" ] || [ "$block" = "$(printf "$new%.0s" {1..512})" ] ||
      { fail "a block is neither old ($old) nor new ($new)"; return; }
  done <<<"$kinds"
  [ "$(stat -c %s "$disk")" = $((disk_mib << 20)) ] || fail "the size of the disk changed"
}

next_run_works() {
  timeout -k 5 60 "$run" pviommu run --stats=json --stats-file="$work/next.json" --hypervisor="$conf" -- \
    qemu-io -f raw -c "write -P 0xa5 1M 64k" -c "read -P 0xa5 1M 64k" "$url" >"$work/next.out" 2>"$work/next.err" ||
    fail "the next run: status $?"
  grep -q 'read 65536/65536' "$work/next.out" && ! grep -q failed "$work/next.out" || fail "the next run does not read what it wrote"
  no_faults next
  nothing_left next
  explain_run next
}

# program_of PID NAME: the child of PID that has become NAME.  (Before that PID is a
# wrapper with children of its own.)  Empty when there was none in time.
program_of() {
  local child children comm
  for _ in $(seq 2000); do
    children=
    read -r -a children 2>/dev/null <"/proc/$1/task/$1/children"
    for child in "${children[@]}"; do
      comm=
      read -r comm 2>/dev/null <"/proc/$child/comm"
      [ "$comm" = "$2" ] && { printf '%s' "$child"; return; }
    done
    sleep 0.005
  done
}

# round NUMBER FRAMES MILLISECONDS
round() {
  local number=$1 frames=$2 delay=$3 launcher child status
  local new=$((number % 2 ? 0x5a : 0xc3)) old=11
  mark=$work.$number
  pattern_file "$disk" $disk_mib 021
  rm -f "$work/killed.json"
  PVIOMMU_TEST_MARK=$mark "$run" pviommu run --quiet --frames="$frames" --stats=json --stats-file="$work/killed.json" \
    --hypervisor="$conf" -- qemu-img bench -f raw -w --pattern=$new -c 100000000 -d 8 -s 4096 -t none "$url" \
    >"$work/killed.out" 2>"$work/killed.err" </dev/null &
  launcher=$!
  started+=("$launcher")
  child=$(program_of "$launcher" qemu-img)
  sleep "$(printf '%d.%03d' $((delay / 1000)) $((delay % 1000)))"
  {  # without the shell's own remarks about killed jobs
    kill -KILL "$child" || fail "it ended before it was killed"
    # The launcher must end on its own.
    for _ in $(seq 100); do
      kill -0 "$launcher" || break
      sleep 0.05
    done
    kill -0 "$launcher" && { fail "pviommu run does not end"; kill -KILL "$launcher"; }
    wait "$launcher"
    status=$?
  } 2>/dev/null
  started=()
  [ $status = 137 ] || fail "status $status, not 137"
  [ "$(wc -l <"$work/killed.err")" = 1 ] && grep -q 'qemu-img was ended by signal 9' "$work/killed.err" ||
    fail "no line that names the signal"
  exactly killed /program/signal 9
  no_faults killed
  [ "$(stat_of killed /hypercalls/attach/count)" = 0 ] || attached=$((attached + 1))
  [ "$(stat_of killed /dma_read_bytes)" -gt 1000000 ] 2>/dev/null && moving=$((moving + 1))
  nothing_runs
  no_new_rings
  nothing_remains
  device_is_free
  blocks_are_whole $old "$(printf %02x "$new")"
  [ $((number % 10)) = 0 ] && next_run_works
  [ -z "$problem" ] || { note "round $number: frames=$frames, killed after $delay ms"; explain_run killed; }
}

attached=0
moving=0
bad=0
rings >"$work/rings"
for number in $(seq "$rounds"); do
  problem=
  frames=auto
  [ $((number % 5)) = 0 ] && frames=copy
  # Half of them during start-up, half later.
  if [ $((number % 2)) = 0 ]; then delay=$((RANDOM % 60)); else delay=$((RANDOM % 400)); fi
  round "$number" "$frames" "$delay"
  if [ -n "$problem" ]; then
    not_ok "kill-$number" "$problem (seed $seed)"
    bad=$((bad + 1))
    [ $bad = 5 ] && break
  fi
done
note "killed $number times: $attached with the device attached, $moving with more than 1 MB moved"
[ $bad = 0 ] && ok "kill-$rounds-times"

# The killing must have met programs at work, not only programs starting.
enough_at_work() { [ $((attached * 4)) -ge "$number" ] || fail "only $attached of $number had the device attached"; }
verdict killed-at-work enough_at_work
verdict next-run next_run_works
finish
