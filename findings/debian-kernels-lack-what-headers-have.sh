#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Headers and QEMU of Debian speak of VFIO and Xen interfaces that no kernel of Debian has.
#
# Software   linux-headers (their .config) of 6.12.118 (Debian 13) and 7.3.4 (trixie-backports),
#            linux-libc-dev 6.12.118, qemu-system-x86 10.0.13.
# Seen       CONFIG_IOMMUFD is not set in either kernel, so that there is no /dev/iommu and no
#            /dev/vfio/devices; linux/iommufd.h is installed, linux/vfio.h has VFIO_DEVICE_BIND_IOMMUFD,
#            and the QEMU of the same release lists iommufd among its objects.
#            CONFIG_VFIO_NOIOMMU is not set, VFIO_NOIOMMU_IOMMU is in linux/vfio.h.
#            CONFIG_XEN_PRIVCMD_EVENTFD does not even occur, as CONFIG_XEN_VIRTIO, which it needs, is not
#            set; xen/privcmd.h has IOCTL_PRIVCMD_IRQFD and IOCTL_PRIVCMD_IOEVENTFD.
# Expected   A distribution that builds the user of an interface builds the interface.
# It matters because iommufd is the newer interface of VFIO, no-IOMMU the one for a kernel that sees no
#            IOMMU (a PV dom0 of Xen), and irqfd the way of an eventfd into a Xen guest.  A program that
#            uses one of them is compiled on Debian without a complaint, and takes its fallback or fails
#            on every stock kernel there; a group and a container are what these kernels have.
. "$(dirname "$0")/finding.sh"
package trixie linux-headers-6.12.118+deb13-amd64 6.12.118-1 \
  55f0ca919f2ef3fbd6b7bdf441e8dd77aa2565f48f74eef1b4b1822cbd0bb7c8
package trixie linux-headers-7.3.4+deb13-amd64 7.3.4-1~bpo13+1 \
  1c43249a7b98aee4af60f2b822ddb04a9e96c1c9e8b013e5f74d3d9faf318699
package trixie linux-libc-dev 6.12.118-1 e3616a753c42c5591778df05c98a22db3b8731e7e8611aaeed4b89e14cb5271b all
program trixie qemu-system-x86 1:10.0.13+ds-0+deb13u1 \
  5e841d0723a657fd8bc2e9e1a085d24f47fcb3e4a0f94762e6c38b429f22fbb1
option() {  # RELEASE NAME
  sed -n "s/^CONFIG_$2=/$2=/p; s/^# CONFIG_$2 is not set/$2 not set/p" "$temp/trixie/usr/src/linux-headers-$1/.config" |
    grep . || echo "$2 absent"
}
options() {
  for name in VFIO VFIO_GROUP IOMMUFD VFIO_NOIOMMU XEN_PRIVCMD XEN_VIRTIO XEN_PRIVCMD_EVENTFD; do
    printf '%s, ' "$(option "$1" "$name")"
  done
}
names() {  # HEADER NAME...: those that it defines
  header=$temp/trixie/usr/include/$1
  shift
  for name in "$@"; do grep -qE "^#define[[:space:]]+$name\b" "$header" && printf '%s ' "$name"; done
}
lacks="VFIO=m, VFIO_GROUP=y, IOMMUFD not set, VFIO_NOIOMMU not set, XEN_PRIVCMD=m, XEN_VIRTIO not set, XEN_PRIVCMD_EVENTFD absent, "
seen 6.12.118 "$lacks" "$(options 6.12.118+deb13-amd64)"
seen 7.3.4 "$lacks" "$(options 7.3.4+deb13-amd64)"
seen linux/iommufd.h "IOMMU_IOAS_ALLOC IOMMU_IOAS_MAP " "$(names linux/iommufd.h IOMMU_IOAS_ALLOC IOMMU_IOAS_MAP)"
seen linux/vfio.h "VFIO_DEVICE_BIND_IOMMUFD VFIO_NOIOMMU_IOMMU " "$(names linux/vfio.h VFIO_DEVICE_BIND_IOMMUFD VFIO_NOIOMMU_IOMMU)"
seen xen/privcmd.h "IOCTL_PRIVCMD_IRQFD IOCTL_PRIVCMD_IOEVENTFD " "$(names xen/privcmd.h IOCTL_PRIVCMD_IRQFD IOCTL_PRIVCMD_IOEVENTFD)"
seen "QEMU's objects" iommufd "$(run trixie /usr/bin/qemu-system-x86_64 -object help | tr -d ' ' | grep -x iommufd)"
finish
