#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# qemu-img bench of QEMU 11.1 never writes the last block of the image.
#
# Software   qemu-utils 10.0.13 (Debian 13) and 11.1.3 (trixie-backports).
# Seen       qemu-img bench -w -s 4096 on a raw file of 16 MiB, 5,000 requests where 4,096 go once
#            through the file: 10.0.13 has written all of it.  11.1.3 reports the same success and has
#            left the last 4,096 bytes as they were, as if it went back to the start one block too early.
#            The same with exactly 4,096 requests, and at depth 1 and 8.
# Expected   What the older one does.
# It matters to whoever uses qemu-img bench as a load that also checks something: an nvme:// device of
#            VFIO, an IOMMU driver under many mappings, a disk that is compared afterwards.  A check that
#            all was written fails, and it looks as if the last write was lost by what is under test.
. "$(dirname "$0")/finding.sh"
left() {  # COUNT DEPTH: how many bytes are not what the benchmark writes
  head -c 16777216 /dev/zero | tr '\0' '\021' >"$temp/image"
  run trixie /usr/bin/qemu-img bench -f raw -w --pattern=90 -c "$1" -d "$2" -s 4096 "$temp/image" >"$temp/log" 2>&1 ||
    { cat "$temp/log" >&2; die "qemu-img bench fails"; }
  echo "$(tr -d '\132' <"$temp/image" | wc -c) bytes left, $(tail -c 4096 "$temp/image" | tr -d '\132' | wc -c) of them in the last block"
}
try() {  # NAME EXPECTED
  for requests in 4096 5000; do
    for depth in 1 8; do
      seen "$1, $requests requests, depth $depth" "$2" "$(left "$requests" "$depth")"
    done
  done
}
program trixie qemu-utils 1:10.0.13+ds-0+deb13u1 6d31339b1630153fe7c5f8a51426b8fa6ce35731aeb015a84f2d333c4e4dca30
try 10.0.13 "0 bytes left, 0 of them in the last block"
# Over the other one.
program trixie qemu-utils 1:11.1.3+ds-1~bpo13+1 3519cba4b53ac862ba012218431f33ff8c57ced08bad72ab0110d4f288e6e5ca
try 11.1.3 "4096 bytes left, 4096 of them in the last block"
finish
