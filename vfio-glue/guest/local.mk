# SPDX-License-Identifier: LGPL-2.1-or-later
# The front end of a guest: a function on its PCI bus, in libpviommu.

LIBRARY_ALONE += \
	vfio-glue/guest/guest_device.cc \
	vfio-glue/guest/guest_device.h
