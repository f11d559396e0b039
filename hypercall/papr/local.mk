# SPDX-License-Identifier: LGPL-2.1-or-later
# The hcall backend.

# Needs no C library: compiled into the module "papr", into the freestanding
# guest of the rig, and into the unit tests.
PAPR_CORE = \
	hypercall/papr/dynamic_window.cc \
	hypercall/papr/dynamic_window.h \
	hypercall/papr/hcall.cc \
	hypercall/papr/hcall.h \
	hypercall/papr/port.cc \
	hypercall/papr/port.h \
	hypercall/papr/rtas.cc \
	hypercall/papr/rtas.h \
	hypercall/papr/rtas_msi.cc \
	hypercall/papr/rtas_msi.h \
	hypercall/papr/tce_window.cc \
	hypercall/papr/tce_window.h \
	hypercall/papr/xics.cc \
	hypercall/papr/xics.h \
	hypercall/papr/xive.cc \
	hypercall/papr/xive.h
EXTRA_DIST += $(PAPR_CORE)

# The Linux side: over the kernel module.
PAPR_LINUX = \
	hypercall/papr/device_tree.cc \
	hypercall/papr/device_tree.h \
	hypercall/papr/module_calls.cc \
	hypercall/papr/module_calls.h \
	hypercall/papr/module_port.cc \
	hypercall/papr/module_port.h \
	hypercall/papr/module_vectors.cc \
	hypercall/papr/module_vectors.h \
	hypercall/papr/open.h \
	hypercall/papr/open_module_device.h \
	hypercall/papr/papr_hypervisor.cc \
	hypercall/papr/papr_hypervisor.h \
	hypercall/papr/run_shadow.h
# And the kernel's, built by its own Makefile (GPL-2.0).
EXTRA_DIST += $(PAPR_LINUX) \
	hypercall/papr/kernel/COPYING \
	hypercall/papr/kernel/Kbuild \
	hypercall/papr/kernel/Makefile \
	hypercall/papr/kernel/pviommu_papr.c \
	hypercall/papr/kernel/pviommu_papr.h
