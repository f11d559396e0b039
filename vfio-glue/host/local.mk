# SPDX-License-Identifier: LGPL-2.1-or-later
# Devices and guests of the machine; tests use it without the command.

HOST_PARTS = \
	vfio-glue/host/connection.cc \
	vfio-glue/host/connection.h \
	vfio-glue/host/devices.h \
	vfio-glue/host/devices_sysfs.cc \
	vfio-glue/host/guest_domains.h \
	vfio-glue/host/holders.cc \
	vfio-glue/host/holders.h
