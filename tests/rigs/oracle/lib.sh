# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=sh
# For tests on the kernel's own VFIO: ../lib.sh and what only its guest has.
[ -e /rig/settings ] || . "$(dirname "$0")/../lib.sh"

nvme=0000:00:05.0 edu=0000:00:06.0 edu2=0000:00:07.0 e1000e=0000:00:08.0 nvme_port=0000:01:00.0 edu_port=0000:02:00.0
pair="0000:00:1f.2 0000:00:1f.3"

# give_to_vfio ADDRESS...: as driverctl would.
give_to_vfio() {
  modprobe vfio_iommu_type1 && modprobe vfio-pci || return 1
  for address in "$@"; do
    echo vfio-pci >/sys/bus/pci/devices/$address/driver_override
    echo $address >/sys/bus/pci/drivers_probe
    [ -e /sys/bus/pci/drivers/vfio-pci/$address ] || { echo "vfio-pci does not take $address"; return 1; }
  done
}
