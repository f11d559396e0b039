# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=sh
# Of kill.test.sh, in dom0: the device, what must be gone, and when to kill.
. /rig/lib.sh
. /rig/own-lib.sh
prefix='kill: '
url=nvme://0000:00:05.0/1
disk="-t writeback -f raw"
plain() { env -u LD_PRELOAD "$@"; }
guardians() { pidof pviommu-xen-guardian; }
# The guardians that live, without those in $killed.
others() {
  for each in $(guardians); do
    case " $killed " in *" $each "*) ;; *) echo $each ;; esac
  done
}
# Whether the process runs: not one that has ended and was not waited for.
runs() { grep -q '^State:[[:space:]]*[^XZ]' /proc/$1/status 2>/dev/null; }
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
  left=$(carriers_left)
  [ -z "$left" ] || fail "left: $left"
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
