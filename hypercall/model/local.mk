# SPDX-License-Identifier: LGPL-2.1-or-later
# The model hypervisor.

libpviommu_la_SOURCES += \
	hypercall/model/bus.h \
	hypercall/model/pci_function.h
