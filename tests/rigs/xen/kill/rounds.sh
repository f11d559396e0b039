# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=sh
# Of kill.test.sh, in dom0: programs and guardians are killed at the points of /root/points.
# The programs are children of a shell in one `pviommu run`, which saves time.
. /root/kill-lib.sh
number=0 starting=0 moving=0 met=0 both=0
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
    guardian) # there is one: work with an end, whose result can be checked
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
    set -- $(guardians)
    [ $who = guardians ] || [ $# -lt 2 ] || shift
    killed=$*
    if [ $# -gt 0 ] && kill -KILL "$@" 2>/dev/null; then
      met=$((met + 1))
      [ $# -lt 2 ] || both=$((both + 1))
      # Two again, unless the program has come to its end.
      new=0
      for _ in $(seq 300); do
        runs $program || break
        new=$(others | wc -l)
        [ $new -lt 2 ] || break
        usleep 10000
      done
      ! runs $program || [ $new -ge 2 ] || fail "no new guardian: $new of 2, $(tail -n 1 /tmp/work.out)"
    fi
    wait $program || fail "the program ended with status $?: $(tail -n 1 /tmp/work.out)"
    ! grep -q 'verification failed' /tmp/work.out || fail "it read what it had not written"
    [ "$(grep -c '^read 1048576/1048576' /tmp/work.out)" = 8 ] || fail "it did not read all"
  fi
  gone
  [ $((number % 5)) != 0 ] || next_run
  verdict "$number: $who, $when" "after $point ms"
done </root/points
note "programs killed: $starting before they took the device, $moving at work; guardians killed: $met times, both of them $both"
# The killing must have met programs and guardians at work, not only programs starting.
if [ $moving -ge 6 ]; then ok "programs were at work"; else not_ok "programs were at work" "only $moving"; fi
least=$(grep -c '^guardians' /root/points)
if [ $met -ge $((least * 8 / 5)) ]; then ok "guardians were there"; else not_ok "guardians were there" "only $met"; fi
if [ $both -ge $((least * 3 / 5)) ]; then ok "both of them were there"; else not_ok "both of them were there" "only $both"; fi
finish
