#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The conformance program on the kernel's own VFIO: where it fails, it is wrong.
. "$(dirname "$0")/lib.sh"
prefix='kernel: '
in_guest --timeout 300 <<'EOF'
check "devices are given to vfio-pci" give_to_vfio $nvme $edu $edu2 $e1000e $nvme_port
export CONFORMANCE_WITHOUT=lossless-replacing
gtest_in_guest vfio_conformance
EOF
finish
