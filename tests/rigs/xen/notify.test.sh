#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The kinds of notification on real Xen: each by itself, and from one to another while
# the device sends.
. "$(dirname "$0")/lib.sh"
prefix='notify: '
in_dom0 <<'EOF'
gtest_in_guest xen_guest --gtest_filter='Notify*'
check "dom0's kernel has no complaint" sh -c '! dmesg | grep -E "WARNING|BUG"'
nothing_left
EOF
finish
