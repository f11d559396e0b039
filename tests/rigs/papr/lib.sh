# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=sh
# For tests on QEMU's pseries machine: ../lib.sh and what only its guest has.
[ -e /rig/settings ] || . "$(dirname "$0")/../lib.sh"

edu=0001:00:00.0 nvme=0002:00:00.0 edu2=0003:00:00.0
export CONFORMANCE_EDU=$edu CONFORMANCE_NVME=$nvme CONFORMANCE_EDU2=$edu2 CONFORMANCE_EDU_SWAPS=1

# give_to_vfio ADDRESS...: as driverctl would.
give_to_vfio() {
  modprobe vfio_iommu_spapr_tce && modprobe vfio-pci || return 1
  for address in "$@"; do
    echo vfio-pci >/sys/bus/pci/devices/$address/driver_override
    echo $address >/sys/bus/pci/drivers_probe
  done
}

# window_is_empty NAME ADDRESS: looks at every entry of its TCE table, by H_GET_TCE
# through the kernel module; the device has no driver afterwards.
window_is_empty() {
  [ -c /dev/pviommu-papr ] || insmod /root/pviommu_papr.ko
  [ ! -e /sys/bus/pci/devices/$2/driver ] || echo $2 >/sys/bus/pci/devices/$2/driver/unbind
  echo >/sys/bus/pci/devices/$2/driver_override
  window_said=$(papr_window $2 2>&1)
  equal "$1" "empty" "$window_said"
}

# again COMMAND...: a QEMU tool on the rig's NVMe.  QEMU 7.2's own driver and its emulated
# NVMe do not always agree on the first interrupt, on any VFIO: a run that waits for it in
# vain is ended and made again.  A crowded machine takes its time as well, so that the last ones
# have more.
again() {
  for again_seconds in 7 7 7 7 10 15 25 40; do
    timeout $again_seconds "$@"
    again_status=$?
    [ $again_status -eq 124 ] || [ $again_status -eq 143 ] || return $again_status
    echo "# waited in vain"
  done
  return 124
}
