#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Guest mode on real Xen, into a tiny guest of our own: on Linux 6.12, and on 6.1,
# which gives dom0 no interrupts of devices and needs none for this.
. "$(dirname "$0")/lib.sh"
for kernel in 6.12 6.1; do
  prefix="guest, Linux $kernel: "
  in_dom0 --kernel $kernel <<'EOF'
gtest_in_guest xen_guest --gtest_filter='Guest*'
nothing_left
EOF
done
finish
