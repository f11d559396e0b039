# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=sh
# Of kill.test.sh, in dom0: one run, the rounds, then program and guardian killed together at
# the points of /root/both.
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
