# SPDX-License-Identifier: LGPL-2.1-or-later
# The model hypervisor.

MODEL_PARTS = \
	hypercall/model/pci/bus.h \
	hypercall/model/call_log.cc \
	hypercall/model/call_log.h \
	hypercall/model/clock.h \
	hypercall/model/frame_table.cc \
	hypercall/model/frame_table.h \
	hypercall/model/image_lock.cc \
	hypercall/model/image_lock.h \
	hypercall/model/machine_options.cc \
	hypercall/model/machine_options.h \
	hypercall/model/model_bus.cc \
	hypercall/model/model_devices.cc \
	hypercall/model/model.cc \
	hypercall/model/model.h \
	hypercall/model/model_mapping.cc \
	hypercall/model/model_vectors.cc \
	hypercall/model/msi_routing.cc \
	hypercall/model/msi_routing.h \
	hypercall/model/page_table.cc \
	hypercall/model/page_table.h \
	hypercall/model/pci/pci_config.cc \
	hypercall/model/pci/pci_function.cc \
	hypercall/model/pci/pci_function.h \
	hypercall/model/pci/pci_function_entry.h \
	hypercall/model/pci/pci_interrupts.cc \
	hypercall/model/pci/pci_registers.h
LIBRARY_PARTS += $(MODEL_PARTS)
LIBRARY_UNITS += unity/model.cc
unity/model.cc: Makefile
	$(AM_V_GEN)$(UNIFY) $(MODEL_PARTS) >$@

# Each has the names of its own data sheet.
LIBRARY_ALONE += \
	hypercall/model/devices/device_factory.cc \
	hypercall/model/devices/device_factory.h \
	hypercall/model/devices/e1000e.cc \
	hypercall/model/devices/registers.cc \
	hypercall/model/devices/edu.cc \
	hypercall/model/devices/edu.h \
	hypercall/model/devices/virtio_net.cc \
	hypercall/model/devices/virtio_net.h \
	hypercall/model/devices/virtio_net_queue.cc \
	hypercall/model/devices/virtio_net_queue.h

NVME_PARTS = \
	hypercall/model/nvme/admin.cc \
	hypercall/model/nvme/backing.cc \
	hypercall/model/nvme/backing.h \
	hypercall/model/nvme/controller.cc \
	hypercall/model/nvme/controller.h \
	hypercall/model/nvme/execution.cc \
	hypercall/model/nvme/identify.cc \
	hypercall/model/nvme/io.cc \
	hypercall/model/nvme/prp.cc \
	hypercall/model/nvme/prp.h \
	hypercall/model/nvme/queue.h \
	hypercall/model/nvme/registers.h \
	hypercall/model/nvme/spec.h
LIBRARY_PARTS += $(NVME_PARTS)
LIBRARY_UNITS += unity/nvme.cc
unity/nvme.cc: Makefile
	$(AM_V_GEN)$(UNIFY) $(NVME_PARTS) >$@
