# SPDX-License-Identifier: LGPL-2.1-or-later
# The model hypervisor.

libpviommu_la_SOURCES += \
	hypercall/model/bus.h \
	hypercall/model/pci_function.h

libpviommu_la_SOURCES += \
	hypercall/model/edu.cc \
	hypercall/model/edu.h \
	hypercall/model/virtio_net.cc \
	hypercall/model/virtio_net.h \
	hypercall/model/virtio_net_queue.cc \
	hypercall/model/virtio_net_queue.h
