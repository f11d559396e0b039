# SPDX-License-Identifier: LGPL-2.1-or-later
# The module "papr": over the kernel's VFIO (vfio/), or over the kernel module
# pviommu_papr (module/).

# Needs no C library: compiled into the module "papr", into the freestanding
# guest of the rig, and into the unit tests.
PAPR_CORE = \
	hypercall/papr/core/hcall.cc \
	hypercall/papr/core/hcall.h \
	hypercall/papr/core/port.cc \
	hypercall/papr/core/port.h \
	hypercall/papr/core/tce_window.cc \
	hypercall/papr/core/tce_window.h

# Of the core too, but for a program that is its own operating system: compiled into
# the rig's guest and the unit tests.  In the module this is the Linux kernel's work.
PAPR_FIRMWARE = \
	hypercall/papr/core/dynamic_window.cc \
	hypercall/papr/core/dynamic_window.h \
	hypercall/papr/core/rtas.cc \
	hypercall/papr/core/rtas.h \
	hypercall/papr/core/rtas_msi.cc \
	hypercall/papr/core/rtas_msi.h \
	hypercall/papr/core/xics.cc \
	hypercall/papr/core/xics.h \
	hypercall/papr/core/xive.cc \
	hypercall/papr/core/xive.h

# Over the kernel module.
PAPR_LINUX = \
	hypercall/papr/device_tree.cc \
	hypercall/papr/device_tree.h \
	hypercall/papr/module/calls.cc \
	hypercall/papr/module/calls.h \
	hypercall/papr/module/module_hypervisor.cc \
	hypercall/papr/module/module_hypervisor.h \
	hypercall/papr/module/module_mapping.cc \
	hypercall/papr/module/open.h \
	hypercall/papr/module/open_device.h \
	hypercall/papr/module/port.cc \
	hypercall/papr/module/port.h \
	hypercall/papr/module/vectors.cc \
	hypercall/papr/module/vectors.h \
	hypercall/papr/run_shadow.h

# Over the kernel's VFIO; unit tests use it too, on any machine.
SPAPR_SOURCES = \
	hypercall/papr/vfio/doctor.cc \
	hypercall/papr/vfio/doctor.h \
	hypercall/papr/papr_conf.cc \
	hypercall/papr/papr_conf.h \
	hypercall/papr/vfio/kernel_device.cc \
	hypercall/papr/vfio/kernel_device.h \
	hypercall/papr/vfio/kernel_group.cc \
	hypercall/papr/vfio/kernel_group.h \
	hypercall/papr/vfio/kernel_vectors.cc \
	hypercall/papr/vfio/kernel_vectors.h \
	hypercall/papr/vfio/platform.cc \
	hypercall/papr/vfio/platform.h \
	hypercall/papr/vfio/registered_memory.cc \
	hypercall/papr/vfio/registered_memory.h \
	hypercall/papr/vfio/spapr_hypervisor.cc \
	hypercall/papr/vfio/spapr_hypervisor.h \
	hypercall/papr/vfio/vfio_calls.cc \
	hypercall/papr/vfio/vfio_calls.h
EXTRA_DIST += $(PAPR_CORE) $(PAPR_FIRMWARE) $(PAPR_LINUX) $(SPAPR_SOURCES) hypercall/papr/papr_module.cc

# The kernel's, built by its own Makefile (GPL-2.0).
EXTRA_DIST += \
	hypercall/papr/kernel/COPYING \
	hypercall/papr/kernel/Kbuild \
	hypercall/papr/kernel/Makefile \
	hypercall/papr/kernel/functions.c \
	hypercall/papr/kernel/hcalls.c \
	hypercall/papr/kernel/interrupts.c \
	hypercall/papr/kernel/main.c \
	hypercall/papr/kernel/papr.h \
	hypercall/papr/kernel/pins.c \
	hypercall/papr/kernel/pviommu_papr.h \
	hypercall/papr/kernel/windows.c

if WITH_PAPR
pkglib_LTLIBRARIES += pviommu-papr.la
if UNITY
pviommu_papr_la_SOURCES = hypercall/papr/papr_module.cc
nodist_pviommu_papr_la_SOURCES = unity/papr-core.cc unity/papr-linux.cc unity/papr-vfio.cc
else
pviommu_papr_la_SOURCES = $(PAPR_CORE) $(PAPR_LINUX) $(SPAPR_SOURCES) hypercall/papr/papr_module.cc
endif
pviommu_papr_la_CXXFLAGS = $(PRODUCT_CXXFLAGS)
$(pviommu_papr_la_OBJECTS): | $(PRODUCT_PCH)
pviommu_papr_la_LIBADD = libpviommu.la $(SYSTEM_LIBS)
pviommu_papr_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version
endif
unity/papr-core.cc: Makefile
	$(AM_V_GEN)$(UNIFY) $(PAPR_CORE) >$@
unity/papr-firmware.cc: Makefile
	$(AM_V_GEN)$(UNIFY) $(PAPR_FIRMWARE) >$@
unity/papr-linux.cc: Makefile
	$(AM_V_GEN)$(UNIFY) $(PAPR_LINUX) >$@
unity/papr-vfio.cc: Makefile
	$(AM_V_GEN)$(UNIFY) $(SPAPR_SOURCES) >$@
