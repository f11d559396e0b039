#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The kernel module under a hypervisor that answers as PAPR lets it and QEMU's never does:
# no lists, busy, a list that was done in part, an entry that stays.
. "$(dirname "$0")/lib.sh"
work=$(mktemp -d "${TMPDIR:-/tmp}/pviommu-answers.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
prefix='answers: '
cp "$rig/module_answers.h" "$work/"
module=$("$rig/kernel-module" 6.12 "$work" hcalls.c 's|^#include "papr.h"$|&\n#include "module_answers.h"|') ||
  { not_ok "the module builds" "see above"; finish; }

in_guest --timeout 100 --add "$module:/root/pviommu_papr.ko" <<'EOT'
for answer in 1:NoLists 2:Busy 3:BusyForEver 4:HalfAList 5:OneByOne 6:NothingCanBeEmptied; do
  insmod /root/pviommu_papr.ko answer=${answer%:*} || not_ok "${answer#*:}" "insmod failed"
  check "${answer#*:}" papr_module --gtest_also_run_disabled_tests --gtest_filter="*.DISABLED_${answer#*:}"
  check "unloaded" rmmod pviommu_papr
done
equal "pages that stay are told" 1 "$(dmesg | grep -c '512 pages stay pinned for good')"
insmod /root/pviommu_papr.ko
check "the next claim empties the window" papr_module --gtest_filter=*EntriesAreWhat*
EOT
finish
