# SPDX-License-Identifier: LGPL-2.1-or-later
# Vocabulary and the interface to a hypervisor.

nobase_pkginclude_HEADERS += \
	hypercall/backend.h \
	hypercall/capabilities.h \
	hypercall/conf.h \
	hypercall/counted.h \
	hypercall/device_lock.h \
	hypercall/diagnosis.h \
	hypercall/fault.h \
	hypercall/guest_bus.h \
	hypercall/hypervisor.h \
	hypercall/interrupts.h \
	hypercall/keeper.h \
	hypercall/module.h \
	hypercall/msi_message.h \
	hypercall/no_interrupts.h \
	hypercall/notification.h \
	hypercall/pci_address.h \
	hypercall/pci_device.h \
	hypercall/pinned_memory.h \
	hypercall/range.h \
	hypercall/result.h \
	hypercall/spaces.h \
	hypercall/statistics.h \
	hypercall/strong.h \
	hypercall/table_entries.h \
	hypercall/unique_fd.h

HYPERCALL_PARTS = \
	hypercall/backend.cc \
	hypercall/conf.cc \
	hypercall/counted.cc \
	hypercall/delivery_thread.h \
	hypercall/device_lock.cc \
	hypercall/fault.cc \
	hypercall/no_interrupts.cc \
	hypercall/notification.cc \
	hypercall/pci_address.cc \
	hypercall/result.cc \
	hypercall/statistics.cc \
	hypercall/sysfs_bus.cc \
	hypercall/sysfs_bus.h \
	hypercall/sysfs_device.cc \
	hypercall/sysfs_device.h \
	hypercall/unique_fd.cc
LIBRARY_PARTS += $(HYPERCALL_PARTS)
LIBRARY_UNITS += unity/hypercall.cc
unity/hypercall.cc: Makefile
	$(AM_V_GEN)$(UNIFY) $(HYPERCALL_PARTS) >$@
