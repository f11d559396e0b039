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
# WHO, milliseconds after the program began
awk -v seed="$seed" 'BEGIN {
  srand(seed)
  for (i = 0; i < 30; ++i) print "program", int(rand() * (i % 3 ? 1200 : 400))
  for (i = 0; i < 10; ++i) print "guardian", int(rand() * 1200)
  for (i = 0; i < 10; ++i) print "both", int(rand() * 1200)
}' >"$work/points"

in_dom0 --timeout 200 --disk "$work/disk" --add "$work/points" <<'EOF'
url=nvme://0000:00:05.0/1
qemu="qemu-io -t writeback -f raw"
now() { read -r up _ </proc/uptime; echo "${up%.*}${up#*.}0"; }  # milliseconds
guardians() { pidof pviommu-xen-guardian; }
# start NAME COMMAND...: in the background; launcher, and program, its process.
start() {
  start_name=$1
  shift
  rm -f /tmp/program
  pviommu run --quiet --hypervisor=xen --stats=json --stats-file=/tmp/$start_name.json -- \
    sh -c 'echo $$ >/tmp/program.new; mv /tmp/program.new /tmp/program; exec "$@"' - "$@" >/tmp/$start_name.out 2>&1 &
  launcher=$!
  until [ -s /tmp/program ]; do usleep 2000; done
  read -r program </tmp/program
}
stat_of() { json-get /tmp/$1.json "$2" 2>&1; }
# Nothing of Xen, and no process or file of ours; soon, so that it is asked often.
gone() {
  for _ in $(seq 40); do
    left=$(pviommu reap --dry-run --hypervisor=xen 2>&1) && [ -z "$(guardians)" ] && break
    usleep 100000
  done
  [ "$left" = "nothing to be done" ] || fail "left: $left"
  [ -z "$(guardians)" ] || fail "a guardian is left"
  [ -z "$(ls /run/pviommu | grep ledger)" ] || fail "left in /run/pviommu: $(ls /run/pviommu)"
}
next_run() {
  pviommu run --quiet --hypervisor=xen -- $qemu -c "read -P 0xa1 1M 128k" $url >/tmp/next.out 2>&1 ||
    fail "the next run: $(tail -n 1 /tmp/next.out)"
  grep -q '^read 131072/131072' /tmp/next.out || fail "the next run does not read"
}
fail() { [ -n "$problem" ] || problem=$1; }
free_pages() { sync; echo 3 >/proc/sys/vm/drop_caches; awk '/^MemFree:/ { print $2 }' /proc/meminfo; }

problem=
next_run
gone
equal "before anybody is killed" "" "$problem"
free_before=$(free_pages)
number=0 attached=0 moving=0 starting=0 met=0
while read -r who point; do
  number=$((number + 1))
  problem=
  case $who in
    guardian) # work with an end, whose result can be checked
      commands=
      for i in 0 1 2 3 4 5 6 7; do
        at=$((16 + i))M
        commands="$commands -c 'write -P $((number + i)) $at 1M' -c 'read -P $((number + i)) $at 1M'"
      done
      eval "start work $qemu $commands $url"
      old=
      begun=$(now)
      while [ $(($(now) - begun)) -lt $point ] || [ -z "$old" ]; do
        old=$(guardians)
        [ -d /proc/$program ] || break
        usleep 5000
      done
      if [ -n "$old" ] && kill -KILL $old 2>/dev/null; then
        for _ in $(seq 100); do
          new=$(guardians)
          [ -z "$new" ] || [ "$new" = "$old" ] || break
          [ -d /proc/$program ] || break
          usleep 10000
        done
        if [ -d /proc/$program ] && { [ -z "$new" ] || [ "$new" = "$old" ]; }; then fail "no new guardian"; fi
        [ -z "$new" ] || met=$((met + 1))
      fi
      wait $launcher || fail "the program ended with status $?: $(tail -n 1 /tmp/work.out)"
      grep -q 'verification failed' /tmp/work.out && fail "it read what it had not written"
      [ "$(grep -c '^read 1048576/1048576' /tmp/work.out)" = 8 ] || fail "it did not read all"
      ;;
    *)
      start work qemu-img bench -t writeback -f raw -w --pattern=90 -c 100000000 -d 16 -s 4096 -o 16M $url
      usleep $((point * 1000))
      if [ $who = both ]; then
        # Stopped, it starts no new guardian.
        kill -STOP $program
        old=$(guardians)
        [ -z "$old" ] || { kill -KILL $old; met=$((met + 1)); }
      fi
      kill -KILL $program || fail "it ended before it was killed"
      wait $launcher
      status=$?
      [ $status = 137 ] || fail "status $status: $(tail -n 1 /tmp/work.out)"
      if [ "$(stat_of work /hypercalls/attach/count)" = 0 ]; then
        starting=$((starting + 1))
      else
        attached=$((attached + 1))
        [ "$(stat_of work /interrupts/msix)" -gt 20 ] && moving=$((moving + 1))
      fi
      if [ $who = both ] && [ $((number % 2)) = 0 ]; then
        pviommu reap --hypervisor=xen >/tmp/reap.out 2>&1 || fail "reap: $(cat /tmp/reap.out)"
      elif [ $who = both ]; then
        next_run
      fi
      ;;
  esac
  gone
  [ $((number % 5)) != 0 ] || next_run
  [ -z "$problem" ] && ok "$number: $who" || not_ok "$number: $who" "after $point ms: $problem"
done </root/points
note "programs killed: $starting while starting, $attached with the device attached, $moving of them with I/O under way; guardians met: $met"
EOF
finish
