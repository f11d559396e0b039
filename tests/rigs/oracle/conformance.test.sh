#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The conformance program on the kernel's own VFIO: where it fails, it is wrong.
. "$(dirname "$0")/lib.sh"
prefix='kernel: '
in_guest --timeout 300 <<'EOF'
check "devices are given to vfio-pci" give_to_vfio $nvme $edu $edu2 $e1000e $nvme_port
# What the kernel does and pviommu does not; a message may be lost while the kernel
# replaces an eventfd.
export CONFORMANCE_WITH="inherited bar-faults ioeventfd" CONFORMANCE_WITHOUT=lossless-replacing
export CONFORMANCE_E1000E=$e1000e CONFORMANCE_NVME_PORT=$nvme_port
gtest_in_guest vfio_conformance
EOF
finish
