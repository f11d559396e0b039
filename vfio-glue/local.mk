# SPDX-License-Identifier: LGPL-2.1-or-later
# What answers VFIO, and the front ends that carry it to programs and guests.

nobase_pkginclude_HEADERS += vfio-glue/vfio_notification.h

include vfio-glue/engine/local.mk
include vfio-glue/guest/local.mk
include vfio-glue/preload/local.mk
include vfio-glue/host/local.mk
include vfio-glue/host/libvirt/local.mk
include vfio-glue/command/local.mk
