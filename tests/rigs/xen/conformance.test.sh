#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The conformance program on real Xen, with an edu and an NVMe, and another of each behind
# ports, which can reset them.
#
# XEN_CONFORMANCE=interface leaves out what the front end answers without asking Xen, for another
# Xen than the first: descriptors, groups, limits.
. "$(dirname "$0")/lib.sh"
prefix='conformance: '
filter='*'
[ "${XEN_CONFORMANCE:-}" != interface ] ||
  filter="-E1000e*:EntryLimit*:Fd*:GetInfo*:Group*:Path*:Pointer*:Process*:Signal*:Thread*:Viability*"
# A shell that uses the C library, for what the program starts by system().
in_dom0 --timeout 600 --add /bin/dash:/bin/sh --qemu -blockdev --qemu driver=null-co,node-name=other,read-zeroes=on \
  --device pcie-root-port,id=rp,chassis=1,x-speed=5,addr=09.0 --device nvme,drive=other,serial=other,bus=rp \
  --device pcie-root-port,id=rp2,chassis=2,x-speed=5,addr=0a.0 --device edu,dma_mask=0xffffffffffffffff,bus=rp2 <<EOF
export CONFORMANCE_EDU=0000:00:06.0 CONFORMANCE_NVME=0000:00:05.0
export CONFORMANCE_NVME_PORT=0000:01:00.0 CONFORMANCE_EDU_PORT=0000:02:00.0
# Limits that pviommu info declares of Xen.
export CONFORMANCE_WITHOUT="intx read-only users"
gtest_in_dom0 pviommu run --quiet --hypervisor=xen -- vfio_conformance --gtest_filter='$filter'
nothing_left
EOF
finish
