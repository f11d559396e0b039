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

in_dom0 --timeout 600 --disk "$work/disk" --add "$work/points" --add "$work/both" \
  --add "$rig/kill/lib.sh:/root/kill-lib.sh" --add "$rig/kill/rounds.sh:/root/rounds" <"$rig/kill/dom0.sh"
equal "the disk: what nobody wrote is as it was" 0 "$(head -c 16M "$work/disk" | tr -d '\241' | wc -c)"
finish
