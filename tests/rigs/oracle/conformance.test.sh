#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The conformance program on the kernel's own VFIO: where it fails, it is wrong.  And
# vfio_answers, case by case: the newest kernel, 7.3, says what is in `answers`, an older one what
# `answers-VERSION` has instead, and the model what the newest says but for what `exceptions`
# names with its reason.  $ORACLE_KERNEL: the kernel (6.12, which is the default, or 7.3).
. "$(dirname "$0")/lib.sh"
prefix='kernel: '
work=$(mktemp -d "${TMPDIR:-/tmp}/pviommu-oracle-test.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

: "${PVIOMMU_BUILD:=$rig/../../../build}"

LD_LIBRARY_PATH=$PVIOMMU_BUILD/.libs in_guest --timeout 240 \
  --add "$PVIOMMU_BUILD/vfio-glue/pviommu:/programs/pviommu" \
  --add "$PVIOMMU_BUILD/.libs/libpviommu-preload.so:/libraries/libpviommu-preload.so" >"$work/kernel" <<'EOF'
echo 16 >/proc/sys/vm/nr_hugepages
check "devices are given to vfio-pci" give_to_vfio $nvme $edu $edu2 $e1000e $nvme_port $edu_port $pair
modprobe i2c-i801
# What the kernel does and pviommu does not; a message may be lost while the kernel
# replaces an eventfd.
export CONFORMANCE_WITH=inherited CONFORMANCE_WITHOUT=lossless-replacing
export CONFORMANCE_LINUX=$(uname -r | cut -d. -f1,2)
export CONFORMANCE_E1000E=$e1000e CONFORMANCE_NVME_PORT=$nvme_port CONFORMANCE_EDU_PORT=$edu_port CONFORMANCE_PAIR="$pair i801_smbus"
gtest_in_guest vfio_conformance
prefix='kernel: behind a port: '
CONFORMANCE_NVME=$nvme_port gtest_in_guest vfio_conformance --gtest_filter='Nvme*-NvmeCalls.*'
# Huge pages are there in this guest only.
prefix='model: '
CONFORMANCE_LINUX= PVIOMMU_PRELOAD=/libraries/libpviommu-preload.so gtest_in_guest pviommu run --quiet \
  "--hypervisor=model:edu,dma_mask=0xffffffffffffffff,addr=$edu" -- vfio_conformance --gtest_filter='*.HugePages/*'
vfio_answers | sed 's/^/answer: /'
EOF
grep -v '^answer: ' "$work/kernel"
sed -n 's/^answer: //p' "$work/kernel" >"$work/kernel.answers"

# compare WHO FILE EXCEPTIONS [EARLIER]: FILE against `answers`, and what EARLIER has instead; how
# many are the same of all, and of the reference's.  What differs is printed.  In an exception's
# name * is anything.
answers=$rig/answers
compare() {
  awk -v who="$1" -v names="$rig/cases" -v exceptions="$3" -v answers="$answers" -v earlier="${4:-/dev/null}" '
    function read_exceptions(   line, name) {
      while ((getline line < exceptions) > 0) {
        if (line ~ /^#/ || line !~ /\t/) continue
        name = substr(line, 1, index(line, "\t") - 1)
        gsub(/[][().^$+?{}|\\]/, "\\\\&", name)
        gsub(/\*/, ".*", name)
        pattern[++patterns] = "^" name "$"
      }
    }
    function is_exception(name,   i) {
      for (i = 1; i <= patterns; ++i) if (name ~ pattern[i]) { used[i] = 1; return 1 }
      return 0
    }
    function split_at(line) { at = index(line, " | "); name = substr(line, 1, at - 1); rest = substr(line, at + 3) }
    BEGIN {
      while ((getline line < names) > 0) if (line !~ /^#/) reference[line] = 1
      while ((getline line < earlier) > 0) if (line !~ /^#/) { split_at(line); instead[name] = rest }
      read_exceptions()
    }
    !/^#/ && NF { split_at($0); said[name] = rest }
    END {
      while ((getline line < answers) > 0) {
        split_at(line)
        if (name in instead) rest = instead[name]
        ++all
        asked += name in reference
        seen[name] = 1
        if (said[name] == rest) { ++same; given += name in reference; continue }
        if (is_exception(name)) continue
        print "#   " name ": " rest
        print "#   " who ": " (name in said ? said[name] : "no answer")
      }
      for (i = 1; i <= patterns; ++i) if (!used[i]) print "#   an exception that is none: " pattern[i]
      for (name in reference) if (!(name in seen)) print "#   of the reference, and not asked: " name
      print same + 0, all + 0, given + 0, asked + 0
    }' "$2" >"$work/compared"
  read -r same all given asked <<EOF
$(tail -n 1 "$work/compared")
EOF
  grep '^#' "$work/compared"
}
earlier=$rig/answers-${ORACLE_KERNEL:-6.12}
[ -e "$earlier" ] || earlier=/dev/null
if compare kernel "$work/kernel.answers" /dev/null "$earlier"; then
  not_ok "the answers" "$same of $all are the ones on record"
else
  ok "$all answers are the ones on record, $asked of them the reference's"
fi

# The model in the shape of this machine.
prefix='model: '
build=${PVIOMMU_BUILD:-$rig/../../../build}
edu_option='edu,dma_mask=0xffffffffffffffff'
CONFORMANCE_E1000E=$e1000e CONFORMANCE_NVME_PORT=$nvme_port timeout 120 "$build/run" pviommu run --quiet \
  --hypervisor="model:iova=0-0x7fffffffff;nvme,size=16M,addr=$nvme;$edu_option,addr=$edu;$edu_option,addr=$edu2;e1000e,addr=$e1000e;nvme,size=16M,addr=$nvme_port" \
  -- "$build/vfio_answers" >"$work/model" 2>"$work/model.log" || not_ok "the answers through preload" "status $?: $(tail -n 1 "$work/model.log")"
if compare model "$work/model" "$rig/exceptions"; then
  not_ok "the answers through preload" "differences without a reason, see above"
else
  ok "$same of $all answers are the kernel's, $given of the reference's $asked; the others have a reason"
fi
finish
