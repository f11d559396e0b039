#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Random sequences of calls, on the kernel's own VFIO and through preload on the model, in
# one guest: the answers are the same.  OPERATIONS (default 100000), SEED (default 1).
. "$(dirname "$0")/lib.sh"
operations=${OPERATIONS:-100000} seed=${SEED:-1}
: "${PVIOMMU_BUILD:=$rig/../../../build}"
differential=${PVIOMMU_SOURCE:-$rig/../../..}/tests/differential
# Of edu there are four, so that what waits for the kernel waits at the same time.
edu3=0000:00:0a.0 edu4=0000:00:0b.0 wide=dma_mask=0xffffffffffffffff
model="nvme,size=16M,addr=$nvme;edu,$wide,addr=$edu;edu,$wide,addr=$edu2;edu,$wide,addr=$edu3;edu,$wide,addr=$edu4;e1000e,addr=$e1000e"
# Devices other than edu are reset when they are opened, which takes the kernel a tenth of
# a second.
slow=$((operations / 10)) fast=$((operations * 4 / 10))

LD_LIBRARY_PATH=$PVIOMMU_BUILD/.libs in_guest --timeout "${DIFFERENTIAL_TIMEOUT:-$((120 + operations / 100))}" --address-bits 48 \
  --device "edu,$wide,addr=0a.0" --device "edu,$wide,addr=0b.0" \
  --add "$PVIOMMU_BUILD/vfio_differential:/programs/vfio_differential" \
  --add "$PVIOMMU_BUILD/vfio-glue/pviommu:/programs/pviommu" \
  --add "$PVIOMMU_BUILD/.libs/libpviommu-preload.so:/libraries/libpviommu-preload.so" \
  --add "$differential/found:/root/found" <<EOT
check "devices are given to vfio-pci" give_to_vfio \$nvme \$edu \$edu2 \$e1000e $edu3 $edu4
export PVIOMMU_PRELOAD=/libraries/libpviommu-preload.so
# Debian's kernels have neither iommufd nor devices' nodes.
side="pviommu run --quiet --interface=group --hypervisor=model:$model --"
# compare NAME OPTION...: in the background but for the first; verdict NAME says what came of it.
compare() {
  name=\$1
  shift
  { vfio_differential --second "\$side" --progress 60 "\$@" 2>&1; echo \$? >/tmp/"\$name".status; } | tee /tmp/"\$name" |
    while IFS= read -r line; do
      case \$line in '# '*/s,*) echo "# \$name: \${line#??}" ;; esac
    done
}
verdict() {
  if [ "\$(cat /tmp/"\$1".status)" = 0 ]; then
    note "\$1: \$(tail -n 1 /tmp/"\$1")"
    ok "\$1"
  else
    show /tmp/"\$1"
    not_ok "\$1" "answers differ, see above"
  fi
}
compare "earlier differences" /root/found/*.txt
verdict "earlier differences"
compare "NVMe" --devices nvme --operations $slow --seed $seed &
compare "e1000e" --devices e1000e --operations $slow --seed $seed &
compare "edu" --devices edu,edu2 --operations $fast --seed $seed &
compare "edu, other seed" --devices edu3,edu4 --operations $fast --seed $((seed + 1000000)) &
wait
for name in NVMe e1000e edu "edu, other seed"; do verdict "\$name"; done
EOT
finish
