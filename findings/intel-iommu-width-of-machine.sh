#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The width of QEMU's emulated Intel IOMMU depends on the version of the machine type.
#
# Software   qemu-system-x86 10.0.13 (Debian 13).
# Seen       -device intel-iommu without aw-bits, in one binary: with -machine q35, which is
#            pc-q35-10.0, the capability register says MGAW 47, I/O addresses of 48 bits, and tables of
#            3 or 4 levels (SAGAW 6).  With -machine pc-q35-9.1 it says MGAW 38, 39 bits, and tables of 3
#            levels only (SAGAW 2).
# Expected   A property of the device, the same on every machine of one binary.
# It matters because the width is what VFIO in the guest reports as the last I/O address that a
#            program may use, and it is what a program that takes its pointers for I/O addresses lives
#            on: these have 47 bits, so that it runs on the new machine and gets EINVAL for each map on
#            the old.  A guest that was made with an older QEMU keeps its machine type, and with it the
#            39 bits, when QEMU is updated; and a test that was written with q35 tests another width
#            after the update.  Who needs one says aw-bits.
. "$(dirname "$0")/finding.sh"
program trixie qemu-system-x86 1:10.0.13+ds-0+deb13u1 \
  5e841d0723a657fd8bc2e9e1a085d24f47fcb3e4a0f94762e6c38b429f22fbb1
capabilities() {  # MACHINE: the register, read as the processor would, while the machine stands still
  mkfifo "$temp/in-$1"
  run trixie /usr/bin/qemu-system-x86_64 -L "$temp/trixie/usr/share/qemu" -L "$temp/trixie/usr/share/seabios" \
    -accel tcg -S -nodefaults -display none -machine "$1" -device intel-iommu \
    -qtest stdio -qtest-log none <"$temp/in-$1" >"$temp/out-$1" 2>"$temp/log" &
  qemu=$!
  exec 8>"$temp/in-$1"
  echo 'readq 0xfed90008' >&8
  waited=0
  until grep -q . "$temp/out-$1" || [ "$waited" -ge 120 ]; do sleep 1; waited=$((waited + 1)); done
  kill "$qemu" 2>/dev/null || :
  wait "$qemu" 2>/dev/null || :
  exec 8>&-
  register=$(sed -n 's/^OK //p' "$temp/out-$1")
  [ -n "$register" ] || { cat "$temp/log" >&2; die "QEMU did not answer for $1"; }
  echo "width $(((register >> 16 & 0x3f) + 1)), SAGAW $((register >> 8 & 0x1f)), register $register"
}
seen q35 "width 48, SAGAW 6, register 0x00d2008c222f0606" "$(capabilities q35)"
seen pc-q35-9.1 "width 39, SAGAW 2, register 0x00d2008c22260206" "$(capabilities pc-q35-9.1)"
finish
