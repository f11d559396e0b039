#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Every hypercall of a program's life fails once, on real Xen: with an MSI, with
# MSI-X on an NVMe of few vectors, with a block of 16 MSIs.
. "$(dirname "$0")/lib.sh"
in_dom0 --timeout 400 --device nvme,serial=few,msix_qsize=3,max_ioqpairs=2,addr=8 \
  --device nec-usb-xhci,msix=off,msi=on,addr=9 <<'EOF'
xen_failures 0000:00:06.0 0000:00:08.0 0000:00:09.0 >/tmp/failures
status=$?
others_cases /tmp/failures && [ $status -le 1 ] || not_ok "failures" "ended badly, with status $status"
nothing_left failures
EOF
finish
