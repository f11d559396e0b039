#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The conformance program on the kernel's own VFIO: where it fails, it is wrong.  And
# every case of the reference answers has a test that passes here and on the model.
. "$(dirname "$0")/lib.sh"
prefix='kernel: '
work=$(mktemp -d "${TMPDIR:-/tmp}/pviommu-oracle-test.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

in_guest --timeout 150 >"$work/kernel" <<'EOF'
check "devices are given to vfio-pci" give_to_vfio $nvme $edu $edu2 $e1000e $nvme_port $pair
modprobe i2c-i801
# What the kernel does and pviommu does not; a message may be lost while the kernel
# replaces an eventfd.
export CONFORMANCE_WITH="inherited bar-faults" CONFORMANCE_WITHOUT=lossless-replacing
export CONFORMANCE_E1000E=$e1000e CONFORMANCE_NVME_PORT=$nvme_port CONFORMANCE_PAIR="$pair i801_smbus"
gtest_in_guest vfio_conformance
prefix='kernel: behind a port: '
CONFORMANCE_NVME=$nvme_port gtest_in_guest vfio_conformance --gtest_filter='Nvme*-NvmeCalls.*'
EOF
cat "$work/kernel"

# The cases by name, each with its test.
cases=$rig/cases
"${PVIOMMU_SOURCE:-$rig/../../..}/tests/conformance/model.sh" plain >"$work/model" 2>&1
asked() {  # FOUND WHERE: how many cases there are of which the test is in FOUND
  awk -F '\t' -v where="$2" '
    NR == FNR { passed[$0] = 1; next }
    /^#/ || !NF { next }
    { all++ }
    $2 in passed { covered++; next }
    { print "#   " where ": " $1 " (" $2 ")" }
    END { print covered + 0, all + 0 }' "$1" "$cases"
}
sed -n 's/^ok kernel: //p' "$work/kernel" >"$work/passed"
asked "$work/passed" kernel >"$work/count"
grep '^#' "$work/count"
last=$(tail -n 1 "$work/count")
[ "${last% *}" = "${last#* }" ] && [ "${last#* }" -gt 900 ] &&
  ok "${last% *} of ${last#* } reference answers are asked for and given" || not_ok "the reference answers" "${last% *} of ${last#* }"

# On the model "behind a port" is any NVMe; what it has not is a skip with its reason.
sed -n 's/^ok plain://p; s/^skip plain:\([^ ]*\) - .*/\1/p' "$work/model" | sed 'p; s/^Nvme/behind a port: &/' >"$work/known"
sed -n 's/^ok plain://p' "$work/model" | sed 'p; s/^Nvme/behind a port: &/' >"$work/passed"
asked "$work/passed" model | tail -n 1 >"$work/count"
asked "$work/known" model | grep '^#' >"$work/unknown"
read -r given all <"$work/count"
prefix='model: '
if [ -s "$work/unknown" ]; then
  cat "$work/unknown"
  not_ok "the reference answers" "the tests above neither passed nor said why not"
else
  ok "$given of $all reference answers are given through preload, the others have a reason"
fi
finish
