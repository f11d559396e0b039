#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A signal arrives as often as without pviommu: from a terminal, timeout and supervisors, for the
# one process and for its group; and `pviommu run` becomes the program where it can.
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
need timeout

signals=$build/tests/clients/signals
hypervisor=--hypervisor=model:edu

# What is asked of run: nothing afterwards (it becomes the program), a line, figures.
declare -A options=([exec]=--quiet [line]= [figures]="--quiet --stats=json --stats-file=$work/figures")

same() {  # WAY MODE
  local round
  timeout 30 "$signals" "$1" "$signals" count >"$work/expected" 2>&1 || fail "without pviommu: status $?"
  # Twice in the shortest time: what comes between is the machine's load, without pviommu too.
  [ "$1" != timeout ] || printf '%s\n' 'SIGTERM 1' 'it ended with 3' >"$work/expected"
  for round in 1 2 3; do
    # shellcheck disable=SC2086 # words wanted
    timeout 30 "$signals" "$1" "$run" pviommu run ${options[$2]} $hypervisor -- "$signals" count \
      >"$work/out" 2>"$work/err" || fail "status $?"
    if [ "$1 $2" = "timeout exec" ]; then sed -i 's/SIGTERM 2/SIGTERM 1/' "$work/out"; fi
    cmp -s "$work/expected" "$work/out" && continue
    fail "$(tr '\n' ',' <"$work/out") and not $(tr '\n' ',' <"$work/expected") as without pviommu (round $round)"
    show "$work/err"
  done
}
for mode in exec line figures; do
  for way in one group program queue timeout service interrupt hangup size stop; do
    verdict "$way-$mode" same $way $mode
  done
done

# Three, one after the other, are three.
apart() {
  # shellcheck disable=SC2086
  "$run" pviommu run $hypervisor -- "$signals" count >"$work/out" 2>"$work/err" &
  local pid=$!
  started+=("$pid")
  for _ in $(seq 100); do [ -s "$work/out" ] && break; sleep 0.05; done
  for _ in 1 2 3; do kill -USR1 $pid; sleep 0.2; done
  wait $pid
  started=()
  grep -qx 'SIGUSR1 3' "$work/out" || fail "$(tr '\n' ',' <"$work/out")"
}
verdict three-signals apart

# timeout(1) itself: what its child ends with, it ends with.
by_timeout() {
  timeout 1 "$run" pviommu run $hypervisor -- "$signals" count >"$work/out" 2>"$work/err"
  [ $? = 124 ] || fail "not timeout's status"
  grep -q 'SIGTERM 1' "$work/out" || fail "$(tr '\n' ',' <"$work/out")"
}
verdict by-timeout by_timeout

# Who ends `pviommu run` by name meets it, and nobody who stands beside it.
one_name() {
  "$run" pviommu run $hypervisor -- sleep 20 >"$work/out" 2>"$work/err" &
  local pid=$! others
  started+=("$pid")
  for _ in $(seq 100); do [ -e "/proc/$pid/task/$pid/children" ] && grep -q ' .* ' "/proc/$pid/task/$pid/children" && break; sleep 0.05; done
  others=$(for child in $(cat "/proc/$pid/task/$pid/children"); do tr '\0' ' ' <"/proc/$child/cmdline"; echo; done | sort | xargs)
  [ "$others" = "signal-witness sleep 20" ] || fail "below run: $others"
  kill $pid
  wait $pid
  [ $? = 143 ] || fail "it did not end by the signal"
  started=()
}
verdict one-name one_name

becomes() {
  # shellcheck disable=SC2016 # the inner shell's
  "$run" pviommu run --quiet $hypervisor -- sh -c 'echo $$; sleep 1' >"$work/out" 2>"$work/err" &
  local pid=$!
  wait $pid || fail "status $?"
  [ "$(cat "$work/out")" = $pid ] || fail "the program is process $(cat "$work/out"), not $pid"
  for _ in $(seq 50); do [ -z "$(ls -A "$XDG_RUNTIME_DIR")" ] && return; sleep 0.1; done
  fail "left behind: $(ls -A "$XDG_RUNTIME_DIR")"
}
verdict becomes-the-program becomes

# Also when it is killed, and by whom kills a whole session.
becomes_and_is_killed() {
  "$run" pviommu run --quiet $hypervisor -- "$signals" count >"$work/out" 2>"$work/err" &
  local pid=$!
  started+=("$pid")
  for _ in $(seq 100); do [ -s "$work/out" ] && break; sleep 0.05; done
  kill -KILL $pid
  wait $pid 2>/dev/null
  [ $? = 137 ] || fail "it did not end by the signal"
  started=()
  for _ in $(seq 50); do [ -z "$(ls -A "$XDG_RUNTIME_DIR")" ] && return; sleep 0.1; done
  fail "left behind: $(ls -A "$XDG_RUNTIME_DIR")"
}
verdict becomes-and-is-killed becomes_and_is_killed

not_executable() {
  "$run" pviommu run --quiet $hypervisor -- "$work/none" 2>"$work/err"
  [ $? = 127 ] || fail "not status 127"
  grep -q 'none: No such file' "$work/err" || fail "$(cat "$work/err")"
}
verdict not-there not_executable
finish
