#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# SIGKILL under I/O: of the program, of one of its guardians, of both, of the program and one, of all
# three, at random points of opening, mapping, SET_IRQS, I/O and teardown.  Nothing may be left, and
# the next run works.  PVIOMMU_SEED repeats a series, PVIOMMU_KILLS is how often each kind with a
# guardian is killed.
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
kills=${PVIOMMU_KILLS:-5}
# WHO, WHEN, milliseconds after that:
#   start   the program begins     ledger    it begins to take the device
#   work    its requests arrive    end       its last request
#   guardian  there is one
awk -v seed="$seed" -v kills="$kills" 'BEGIN {
  srand(seed)
  for (i = 0; i < 6; ++i) print "program start", int(rand() * 600)
  for (i = 0; i < 9; ++i) print "program ledger", int(rand() * 1000)
  for (i = 0; i < 9; ++i) print "program work", int(rand() * 300)
  for (i = 0; i < 6; ++i) print "program end", int(rand() * 400)
  for (i = 0; i < 2 * kills; ++i) print i % 2 ? "guardian" : "guardians", "guardian", int(rand() * (i % 4 < 2 ? 800 : 200))
}' >"$work/points"
# With one guardian, or with all; who comes first, and the milliseconds between: 0 is one call of kill.
awk -v seed="$seed" -v kills="$kills" 'BEGIN {
  srand(seed + 1)
  for (i = 0; i < 2 * kills; ++i)
    print i % 2 ? "some" : "all", i % 4 < 2 ? "work" : "ledger", int(rand() * (i % 4 < 2 ? 300 : 1000)), \
      rand() < 0.5 ? "program" : "guardian", i % 8 < 4 ? 0 : int(rand() * 60)
}' >"$work/together"

in_dom0 --timeout $((400 + kills * 60)) --disk "$work/disk" --add "$work/points" --add "$work/together" \
  --add "$rig/kill/lib.sh:/root/kill-lib.sh" --add "$rig/kill/rounds.sh:/root/rounds" <"$rig/kill/dom0.sh"
equal "the disk: what nobody wrote is as it was" 0 "$(head -c 16M "$work/disk" | tr -d '\241' | wc -c)"
finish
