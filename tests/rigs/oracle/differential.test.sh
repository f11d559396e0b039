#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Random sequences of calls, on the kernel's own VFIO and through preload on the model, in
# one guest: the answers are the same.  OPERATIONS (default 100000), SEED (default 1).
. "$(dirname "$0")/lib.sh"
operations=${OPERATIONS:-100000} seed=${SEED:-1}
: "${PVIOMMU_BUILD:=$rig/../../../build}"
differential=${PVIOMMU_SOURCE:-$rig/../../..}/tests/differential
model="nvme,size=16M,addr=$nvme;edu,dma_mask=0xffffffffffffffff,addr=$edu;e1000e,addr=$e1000e"
# A program's life: the devices other than edu are reset when they are opened, which takes
# the kernel a tenth of a second; in that time the others go on.
slow=$((operations / 5)) fast=$((operations - operations / 5))

LD_LIBRARY_PATH=$PVIOMMU_BUILD/.libs in_guest --timeout "${DIFFERENTIAL_TIMEOUT:-$((120 + operations / 100))}" --address-bits 48 \
  --add "$PVIOMMU_BUILD/vfio_differential:/programs/vfio_differential" \
  --add "$PVIOMMU_BUILD/vfio-glue/pviommu:/programs/pviommu" \
  --add "$PVIOMMU_BUILD/.libs/libpviommu-preload.so:/libraries/libpviommu-preload.so" \
  --add "$differential/found:/root/found" <<EOT
check "devices are given to vfio-pci" give_to_vfio \$nvme \$edu \$e1000e
export PVIOMMU_PRELOAD=/libraries/libpviommu-preload.so
side="pviommu run --quiet --hypervisor=model:$model --"
compare() {  # NAME OPTION...
  name=\$1
  shift
  if vfio_differential --second "\$side" "\$@" >/tmp/"\$name" 2>&1; then
    echo "# \$(tail -n 1 /tmp/"\$name")"
    ok "\$name"
  else
    cat /tmp/"\$name"
    not_ok "\$name" "answers differ, see above"
  fi
}
compare "earlier differences" /root/found/*.txt
compare "NVMe and e1000e" --devices nvme,e1000e --operations $slow --seed $seed &
compare "edu" --devices edu --operations $fast --seed $seed
wait
EOT
finish
