#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The conformance program through the preload front end on the model, once for
# each shape of the model that a real hypervisor has.
#
#   model.sh [VARIANT...]     default: all
set -u
build=${PVIOMMU_BUILD:-build}
. "$(dirname "$0")/../tap.sh"
machine() {  # ",OPTION" of all devices, or nothing
  echo "nvme,size=16M,addr=0000:00:05.0$1;edu,dma_mask=0xffffffffffffffff,addr=0000:00:06.0$1;e1000e,addr=0000:00:08.0$1;nvme,size=16M,addr=0000:01:00.0$1;edu,addr=0000:02:00.0$1${layout_devices//;registers/;registers$1}"
}
# Layouts of MSI-X table and pending bits: beside registers, in another BAR, each alone in its pages, at
# odd places, at the ends of a BAR, across pages, in BARs smaller than a page.
layouts=('' bar1=4K,table=0:0x3f00,pba=1:0xff8 bar0=8K,bar2=4K,table=2:0,pba=0:0,vectors=256
  bar0=16K,table=0:0x7f8,pba=0:0x1478,vectors=200 bar0=16K,table=0:0x2000,pba=0:0x1fc0,vectors=512
  bar0=256,bar4=512,table=4:0x8,pba=0:0xf8,vectors=31 bar0=4K,bar1=64K,table=1:0xffe0,pba=1:0xffd8,vectors=2)
CONFORMANCE_REGISTERS='' number=0
for layout in "${layouts[@]}"; do
  address=0000:03:$(printf %02x $number).0 number=$((number + 1))
  CONFORMANCE_REGISTERS+="$address "
  layout_devices+=";registers,addr=$address${layout:+,$layout}"
done
export CONFORMANCE_REGISTERS
devices=$(machine '') without_mmap=$(machine ,mmap=off)
# The preload library is not linked first, by its nature.
export CONFORMANCE_E1000E=0000:00:08.0 CONFORMANCE_NVME_PORT=0000:01:00.0 CONFORMANCE_EDU_PORT=0000:02:00.0
export ASAN_OPTIONS=verify_asan_link_order=0:${ASAN_OPTIONS:-}
# The thread sanitizer's runtime has to come before the front end.  Shells do not
# live with it, so libtool's wrapper script is left out.
pviommu=(pviommu)
export TSAN_OPTIONS=die_after_fork=0:${TSAN_OPTIONS:-}  # children open devices of their own
tsan=$(ldd "$build/vfio_conformance" | awk '/libtsan/ { print $3 }')
[ -z "$tsan" ] || pviommu=(env "LD_PRELOAD=$tsan" "$build/vfio-glue/.libs/pviommu")

declare -A options=(
  [plain]="--hypervisor=model:$devices"
  [no-mmap]="--hypervisor=model:$without_mmap"
  [scattered]="--hypervisor=model:frames=scattered;$devices"
  [xen-limits]="--hypervisor=model:limits=xen;$devices"
  [copy]="--frames=copy --hypervisor=model:$devices"
)
# What a variant cannot do by its nature, with the reason that is printed.
declare -A excluded=(
  [copy]='Dma.MemoryFreedWhileMapped*:*/Dma.MemoryFreedWhileMapped*:*/Dma.PinnedMemoryKeeps*'
)
declare -A reason=([copy]='the copying frame source holds no pages')

variants=("$@")
[ ${#variants[@]} -gt 0 ] || variants=(plain no-mmap scattered xen-limits copy)
log=$(mktemp) || exit 1
trap 'rm -f "$log" "$log.errors"' EXIT
trap 'exit 130' INT TERM HUP
for variant in "${variants[@]}"; do
  # shellcheck disable=SC2086  # several options
  timeout --kill-after=10 300 "$build/run" "${pviommu[@]}" run --quiet ${options[$variant]} -- \
    "$build/vfio_conformance" --gtest_filter="-${excluded[$variant]:-none}" >"$log" 2>"$log.errors"
  result=$?
  bad=$tap_bad
  others_cases "$log" "$variant:" && complete=yes || complete=
  if [ $result -ne 0 ] || [ -z "$complete" ]; then
    show "$log.errors"
    [ "$tap_bad" -gt "$bad" ] && [ -n "$complete" ] || not_ok "$variant" "ended with status $result${complete:+ behind its last case}"
  fi
  if [ -n "${excluded[$variant]:-}" ]; then
    while read -r name; do skip "$variant:$name" "${reason[$variant]}"; done < <(
      "$build/vfio_conformance" --gtest_list_tests --gtest_filter="${excluded[$variant]}" |
        awk '/^[^ ]/ { suite = $1; next } { print suite $1 }')
  fi
done
finish
