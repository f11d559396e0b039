# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=sh
# Of kill.test.sh, in dom0: holes in Xen's numbers of domains, one run, the rounds, then program
# and guardians killed together at the points of /root/together.
. /root/kill-lib.sh
run="pviommu run --quiet --hypervisor=xen --"
problem=
owners >/tmp/owners
guests=
for number in 1 2 3 4 5 6; do
  guest=$(xen_guest make)
  case $number in 2|5) guests="$guests $guest" ;; *) xen_guest destroy $guest ;; esac
done
for _ in $(seq 50); do
  [ "$(rig_domains | wc -l)" != 3 ] || break
  usleep 100000
done
equal "two guests, with holes around their numbers" "0$guests" "$(rig_domains | cut -d' ' -f1 | xargs)"
next_run $run
gone
verdict "nobody was killed" ""
$run sh /root/rounds >/tmp/rounds
status=$?
others_cases /tmp/rounds || not_ok "the rounds" "they did not come to their end"
equal "the shell's status" 0 $status

number=$(wc -l </root/points) some=0 all=0 held=0
while read -r who when point first gap; do
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
  [ $when != work ] || for _ in $(seq 300); do [ "$(events)" -lt 20 ] || break; usleep 20000; done
  usleep $((point * 1000))
  [ "$(pinned)" -eq 0 ] || held=$((held + 1))
  set -- $(guardians)
  case $who in
    some)
      [ $# -lt 2 ] || { some=$((some + 1)); shift; }
      set -- ${1-}
      ;;
    all)
      [ $# -lt 2 ] || all=$((all + 1))
      kill -STOP $program  # so that it starts no new guardian
      ;;
  esac
  if [ $gap = 0 ]; then
    kill -KILL $program "$@" || fail "it ended before it was killed"
  elif [ $first = program ]; then
    kill -KILL $program || fail "it ended before it was killed"
    usleep $((gap * 1000))
    [ $# = 0 ] || kill -KILL "$@" 2>/dev/null  # it may be done
  else
    [ $# = 0 ] || kill -KILL "$@"
    usleep $((gap * 1000))
    kill -KILL $program || fail "it ended before it was killed"
  fi
  { wait $launcher; } 2>/dev/null
  status=$?
  [ $status = 137 ] || fail "status $status: $(tail -n 1 /tmp/work.out)"
  signal=$(json-get /tmp/work.json /program/signal 2>&1)
  [ "$signal" = 9 ] || fail "the killed program's figures: signal $signal"
  # The guardian that is left needs nobody's help.
  if [ $who = all ] && [ $((number % 2)) = 0 ]; then
    pviommu reap --hypervisor=xen >/tmp/reap.out 2>&1 || fail "reap: $(cat /tmp/reap.out)"
  elif [ $who = all ]; then
    next_run $run
  fi
  gone
  # The kernel ends a ring, and adds up what each CPU has counted, a little later.
  for _ in $(seq 50); do
    [ "$(pinned)" != 0 ] || break
    usleep 100000
  done
  [ "$(pinned)" = 0 ] || fail "$(pinned) pages are pinned"
  verdict "$number: $who, $when" "after $point ms, $first first, $gap ms between"
done </root/together
note "killed with a program: one guardian $some times, both $all times; pages were pinned $held times"
least=$(($(wc -l </root/together) / 2 * 3 / 5))
if [ $some -ge $least ]; then ok "one of two guardians was there"; else not_ok "one of two guardians was there" "only $some"; fi
if [ $all -ge $least ]; then ok "both guardians were there"; else not_ok "both guardians were there" "only $all"; fi
if [ $held -ge $least ]; then ok "pages were pinned"; else not_ok "pages were pinned" "in $held rounds"; fi
equal "no page is pinned any more" 0 "$(pinned)"
pviommu doctor --hypervisor=xen --device=0000:00:05.0 >/tmp/doctor 2>&1
check "the device is dom0's" grep "^ok *domain *the device is dom0's" /tmp/doctor
check "no process has it" grep "^ok *user *no process has the device" /tmp/doctor
nothing_left
equal "the guests live on" "0$guests" "$(rig_domains | cut -d' ' -f1 | xargs)"
for guest in $guests; do xen_guest destroy $guest; done
same_owners
