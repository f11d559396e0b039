#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The conformance program on real Xen, with an edu and an NVMe.
. "$(dirname "$0")/lib.sh"
prefix='conformance: '
# A shell that uses the C library, for what the program starts by system().
in_dom0 --timeout 300 --add /bin/dash:/bin/sh <<'EOF'
export CONFORMANCE_EDU=0000:00:06.0 CONFORMANCE_NVME=0000:00:05.0
# Limits that `pviommu info --hypervisor=xen` declares.
export CONFORMANCE_WITHOUT="intx read-only"
pviommu run --quiet --hypervisor=xen -- vfio_conformance >/tmp/log 2>&1
status=$?
sed -n "s/^\[       OK \] \([^ ]*\).*/ok $prefix\1/p" /tmp/log
if [ $status -ne 0 ]; then
  cat /tmp/log
  sed -n "s/^\[  FAILED  \] \([^ ,]*\).*ms)$/not ok $prefix\1 - see above/p" /tmp/log
fi
if grep -q '^\[==========\] .* ran\.' /tmp/log; then ok "ran to its end"; else not_ok "ran to its end" "status $status"; fi
awk -v p="$prefix" '/: Skipped$/ { getline; why = $0 } /^\[  SKIPPED \] .*ms\)$/ { print "skip " p $4 " - " why }' /tmp/log
nothing_left
EOF
finish
