#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The conformance program on real Xen, with an edu and an NVMe.
. "$(dirname "$0")/lib.sh"
prefix='conformance: '
# A shell that uses the C library, for what the program starts by system().
in_dom0 --timeout 300 --add /bin/dash:/bin/sh <<'EOF'
export CONFORMANCE_EDU=0000:00:06.0 CONFORMANCE_NVME=0000:00:05.0
# Limits that `pviommu info --hypervisor=xen` declares.
export CONFORMANCE_WITHOUT="intx read-only executable-bar"
gtest_in_dom0 pviommu run --quiet --hypervisor=xen -- vfio_conformance
nothing_left
EOF
finish
