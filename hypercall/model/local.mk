# SPDX-License-Identifier: LGPL-2.1-or-later
# The model hypervisor.

libpviommu_la_SOURCES += \
	hypercall/model/bus.h \
	hypercall/model/call_log.cc \
	hypercall/model/call_log.h \
	hypercall/model/device_factory.cc \
	hypercall/model/device_factory.h \
	hypercall/model/frame_table.cc \
	hypercall/model/frame_table.h \
	hypercall/model/machine_options.cc \
	hypercall/model/machine_options.h \
	hypercall/model/model_bus.cc \
	hypercall/model/model_devices.cc \
	hypercall/model/model_hypervisor.cc \
	hypercall/model/model_hypervisor.h \
	hypercall/model/model_mapping.cc \
	hypercall/model/model_vectors.cc \
	hypercall/model/msi_routing.cc \
	hypercall/model/msi_routing.h \
	hypercall/model/page_table.cc \
	hypercall/model/page_table.h \
	hypercall/model/pci_config.cc \
	hypercall/model/pci_function.cc \
	hypercall/model/pci_function.h \
	hypercall/model/pci_function_entry.h \
	hypercall/model/pci_interrupts.cc \
	hypercall/model/pci_registers.h

libpviommu_la_SOURCES += \
	hypercall/model/e1000e.cc \
	hypercall/model/edu.cc \
	hypercall/model/edu.h \
	hypercall/model/virtio_net.cc \
	hypercall/model/virtio_net.h \
	hypercall/model/virtio_net_queue.cc \
	hypercall/model/virtio_net_queue.h

libpviommu_la_SOURCES += \
	hypercall/model/nvme_admin.cc \
	hypercall/model/nvme_backing.cc \
	hypercall/model/nvme_backing.h \
	hypercall/model/nvme_controller.cc \
	hypercall/model/nvme_controller.h \
	hypercall/model/nvme_execution.cc \
	hypercall/model/nvme_identify.cc \
	hypercall/model/nvme_io.cc \
	hypercall/model/nvme_prp.cc \
	hypercall/model/nvme_prp.h \
	hypercall/model/nvme_queue.h \
	hypercall/model/nvme_registers.h \
	hypercall/model/nvme_spec.h
