#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# SIGKILL under I/O: of the program, of its guardian, of both, at random points of
# opening, mapping, SET_IRQS, I/O and teardown.  Nothing may be left, and the next
# run works.  PVIOMMU_SEED repeats a series.
#
#   MiB   0 .. 16   0xa1, never written
#        16 .. 32   what is written while somebody is killed
. "$(dirname "$0")/lib.sh"
prefix='kill: '
seed=${PVIOMMU_SEED:-$$}
note "seed $seed"
work=$(mktemp -d "${TMPDIR:-/tmp}/pviommu-kill.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

truncate -s 32M "$work/disk"
head -c 16M /dev/zero | tr '\0' '\241' | dd of="$work/disk" conv=notrunc iflag=fullblock status=none
# WHO, WHEN, milliseconds after that:
#   start   the program begins     ledger    it begins to take the device
#   work    its requests arrive    end       its last request
#   guardian  there is one
awk -v seed="$seed" 'BEGIN {
  srand(seed)
  for (i = 0; i < 6; ++i) print "program start", int(rand() * 600)
  for (i = 0; i < 9; ++i) print "program ledger", int(rand() * 1000)
  for (i = 0; i < 9; ++i) print "program work", int(rand() * 300)
  for (i = 0; i < 6; ++i) print "program end", int(rand() * 400)
  for (i = 0; i < 10; ++i) print "guardian guardian", int(rand() * (i % 2 ? 800 : 200))
}' >"$work/points"
awk -v seed="$seed" 'BEGIN { srand(seed + 1); for (i = 0; i < 10; ++i) print "both ledger", int(rand() * 1000) }' >"$work/both"

cat >"$work/kill-lib.sh" <<'EOF'
. /rig/lib.sh
prefix='kill: '
url=nvme://0000:00:05.0/1
disk="-t writeback -f raw"
plain() { env -u LD_PRELOAD "$@"; }
guardians() { pidof pviommu-xen-guardian; }
fail() { [ -n "$problem" ] || problem=$1; }
# Nothing of Xen, and no process or file of ours.
gone() {
  for _ in $(seq 100); do
    [ -n "$(guardians)" ] || break
    usleep 50000
  done
  [ -z "$(guardians)" ] || fail "a guardian is left"
  left=$(plain pviommu reap --dry-run --hypervisor=xen 2>&1)
  [ "$left" = "nothing to be done" ] || fail "left: $left"
  ! ls /run/pviommu | grep ledger || fail "left in /run/pviommu: $(ls /run/pviommu)"
}
next_run() {  # under pviommu run, or with it as arguments
  "$@" qemu-io $disk -c "read -P 0xa1 1M 128k" $url >/tmp/next.out 2>&1 || fail "the next run: $(tail -n 1 /tmp/next.out)"
  grep -q '^read 131072/131072' /tmp/next.out || fail "the next run does not read"
}
has_ledger() { ls /run/pviommu | grep -q "^xen-$1[-.].*ledger"; }
wait_for_ledger() {
  for _ in $(seq 500); do
    ! has_ledger $1 || return
    [ -d /proc/$1 ] || break
    usleep 10000
  done
  fail "no ledger: $(tail -n 1 /tmp/work.out)"
}
# Events at the ports of programs, since they were bound.
events() { awk '/evtchn:qemu/ { for (i = 2; $i ~ /^[0-9]+$/; ++i) sum += $i } END { print sum + 0 }' /proc/interrupts; }
verdict() { if [ -z "$problem" ]; then ok "$1"; else not_ok "$1" "$2: $problem"; fi; }
EOF

# The programs are children of a shell in one `pviommu run`, which saves time.
cat >"$work/rounds" <<'EOF'
. /root/kill-lib.sh
number=0 starting=0 moving=0 met=0
bench="qemu-img bench -t writeback -f raw -w --pattern=90 -d 16 -s 4096 -o 16M"
mkfifo /tmp/commands
while read -r who when point; do
  number=$((number + 1))
  problem=
  case $when in
    start)
      $bench -c 100000000 $url >/tmp/work.out 2>&1 &
      program=$!
      usleep $((point * 1000))
      ;;
    ledger)
      $bench -c 100000000 $url >/tmp/work.out 2>&1 &
      program=$!
      wait_for_ledger $program
      usleep $((point * 1000))
      ;;
    work)
      $bench -c 100000000 $url >/tmp/work.out 2>&1 &
      program=$!
      wait_for_ledger $program
      for _ in $(seq 300); do [ "$(events)" -lt 20 ] || break; usleep 20000; done
      usleep $((point * 1000))
      ;;
    end)
      qemu-io $disk $url </tmp/commands >/tmp/work.out 2>&1 &
      program=$!
      exec 9>/tmp/commands
      echo "write -P 7 20M 256k" >&9
      wait_for_ledger $program
      # The ports are there when the device is open, then comes the write.
      for _ in $(seq 200); do [ "$(events)" -lt 3 ] || break; usleep 20000; done
      exec 9>&-
      usleep $((point * 1000))
      ;;
    guardian) # work with an end, whose result can be checked
      set --
      for i in 0 1 2 3 4 5 6 7; do
        [ $i != 4 ] || set -- "$@" -c "sleep 500"
        set -- "$@" -c "write -P $((number + i)) $((16 + i))M 1M" -c "read -P $((number + i)) $((16 + i))M 1M"
      done
      qemu-io $disk "$@" $url >/tmp/work.out 2>&1 &
      program=$!
      for _ in $(seq 1000); do
        [ -d /proc/$program ] && [ -z "$(guardians)" ] || break
        usleep 2000
      done
      usleep $((point * 1000))
      ;;
  esac
  if [ $who = program ]; then
    arrived=$(events)
    if has_ledger $program; then
      [ "$arrived" -lt 20 ] || moving=$((moving + 1))
    else
      starting=$((starting + 1))
    fi
    if kill -KILL $program 2>/dev/null; then
      { wait $program; } 2>/dev/null  # without the shell's own remark
      status=$?
      # It may have ended at that moment.
      [ $status = 137 ] || { [ $when = end ] && [ $status = 0 ]; } || fail "status $status: $(tail -n 1 /tmp/work.out)"
    else
      [ $when = end ] || fail "it ended before it was killed: $(tail -n 1 /tmp/work.out)"
    fi
  else
    old=$(guardians)
    if [ -n "$old" ] && kill -KILL $old 2>/dev/null; then
      met=$((met + 1))
      for _ in $(seq 200); do
        new=$(guardians)
        [ -d /proc/$program ] || break
        [ -z "$new" ] || [ "$new" = "$old" ] || break
        usleep 10000
      done
      if [ -d /proc/$program ] && { [ -z "$new" ] || [ "$new" = "$old" ]; }; then fail "no new guardian"; fi
    fi
    wait $program || fail "the program ended with status $?: $(tail -n 1 /tmp/work.out)"
    ! grep -q 'verification failed' /tmp/work.out || fail "it read what it had not written"
    [ "$(grep -c '^read 1048576/1048576' /tmp/work.out)" = 8 ] || fail "it did not read all"
  fi
  gone
  [ $((number % 5)) != 0 ] || next_run
  verdict "$number: $who, $when" "after $point ms"
done </root/points
note "programs killed: $starting before they took the device, $moving at work; guardians killed: $met"
# The killing must have met programs and guardians at work, not only programs starting.
if [ $moving -ge 6 ]; then ok "programs were at work"; else not_ok "programs were at work" "only $moving"; fi
if [ $met -ge 8 ]; then ok "guardians were there"; else not_ok "guardians were there" "only $met"; fi
finish
EOF

in_dom0 --timeout 300 --disk "$work/disk" --add "$work/points" --add "$work/both" --add "$work/kill-lib.sh" \
  --add "$work/rounds" <<'EOF'
. /root/kill-lib.sh
run="pviommu run --quiet --hypervisor=xen --"
# Pages that are pinned for a device, by the kernel's count.
pinned() { awk '/^nr_foll_pin_acquired/ { n += $2 } /^nr_foll_pin_released/ { n -= $2 } END { print n + 0 }' /proc/vmstat; }
problem=
next_run $run
gone
verdict "nobody was killed" ""
$run sh /root/rounds >/tmp/rounds
status=$?
others_cases /tmp/rounds || not_ok "the rounds" "they did not come to their end"
equal "the shell's status" 0 $status

number=40 met=0 held=0
while read -r who when point; do
  number=$((number + 1))
  problem=
  rm -f /tmp/program
  pviommu run --quiet --hypervisor=xen --stats=json --stats-file=/tmp/work.json -- \
    sh -c 'echo $$ >/tmp/program.new; mv /tmp/program.new /tmp/program; exec "$@"' - \
    qemu-img bench $disk -w --pattern=90 -c 100000000 -d 16 -s 4096 -o 16M $url >/tmp/work.out 2>&1 &
  launcher=$!
  for _ in $(seq 250); do [ ! -s /tmp/program ] || break; usleep 20000; done
  read -r program </tmp/program || { not_ok "$number: $who, $when" "no program: $(cat /tmp/work.out)"; break; }
  wait_for_ledger $program
  usleep $((point * 1000))
  [ "$(pinned)" -eq 0 ] || held=$((held + 1))
  kill -STOP $program  # so that it starts no new guardian
  old=$(guardians)
  [ -z "$old" ] || { kill -KILL $old; met=$((met + 1)); }
  kill -KILL $program || fail "it ended before it was killed"
  { wait $launcher; } 2>/dev/null
  status=$?
  [ $status = 137 ] || fail "status $status: $(tail -n 1 /tmp/work.out)"
  signal=$(json-get /tmp/work.json /program/signal 2>&1)
  [ "$signal" = 9 ] || fail "the killed program's figures: signal $signal"
  if [ $((number % 2)) = 0 ]; then
    pviommu reap --hypervisor=xen >/tmp/reap.out 2>&1 || fail "reap: $(cat /tmp/reap.out)"
  else
    next_run $run
  fi
  gone
  verdict "$number: $who, $when" "after $point ms"
done </root/both
if [ $met -ge 8 ]; then ok "both were there"; else not_ok "both were there" "only $met"; fi

if [ $held -ge 2 ]; then ok "pages were pinned"; else not_ok "pages were pinned" "in $held rounds"; fi
equal "no page is pinned any more" 0 "$(pinned)"
pviommu doctor --hypervisor=xen --device=0000:00:05.0 >/tmp/doctor 2>&1
check "the device is dom0's" grep "^ok *domain *the device is dom0's" /tmp/doctor
check "no process has it" grep "^ok *user *no process has the device" /tmp/doctor
nothing_left
EOF
equal "the disk: what nobody wrote is as it was" 0 "$(head -c 16M "$work/disk" | tr -d '\241' | wc -c)"
finish
