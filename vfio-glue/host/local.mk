# SPDX-License-Identifier: LGPL-2.1-or-later
# Devices and guests of the machine; tests use it without the command.

HOST_PARTS = \
	vfio-glue/host/boot_rules.cc \
	vfio-glue/host/boot_rules.h \
	vfio-glue/host/connection.cc \
	vfio-glue/host/connection.h \
	vfio-glue/host/devices.h \
	vfio-glue/host/devices_sysfs.cc \
	vfio-glue/host/disk_holders.cc \
	vfio-glue/host/disk_holders.h \
	vfio-glue/host/guest_domains.h \
	vfio-glue/host/holders.cc \
	vfio-glue/host/holders.h \
	vfio-glue/host/keepers.cc \
	vfio-glue/host/keepers.h \
	vfio-glue/host/matching_drivers.cc \
	vfio-glue/host/matching_drivers.h \
	vfio-glue/host/mounts.cc \
	vfio-glue/host/mounts.h \
	vfio-glue/host/network_holders.cc \
	vfio-glue/host/network_holders.h \
	vfio-glue/host/open_files.cc \
	vfio-glue/host/open_files.h \
	vfio-glue/host/pci_address.cc \
	vfio-glue/host/pci_address.h \
	vfio-glue/host/routes.cc \
	vfio-glue/host/routes.h \
	vfio-glue/host/sysfs_files.h
