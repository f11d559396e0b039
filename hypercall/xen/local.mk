# SPDX-License-Identifier: LGPL-2.1-or-later
# The module "xen" and its guardian.

XEN_COMMON = \
	hypercall/xen/carrier.cc \
	hypercall/xen/carrier.h \
	hypercall/xen/control.cc \
	hypercall/xen/control.h \
	hypercall/xen/domain_list.cc \
	hypercall/xen/domain_list.h \
	hypercall/xen/evtchn_static.h \
	hypercall/xen/guest_bars.cc \
	hypercall/xen/guest_bars.h \
	hypercall/xen/interface.cc \
	hypercall/xen/interface.h \
	hypercall/xen/interface_table.h \
	hypercall/xen/ledger.cc \
	hypercall/xen/library_fds.h \
	hypercall/xen/ledger.h \
	hypercall/xen/mapping_piece.h \
	hypercall/xen/pirqs.cc \
	hypercall/xen/pirqs.h \
	hypercall/xen/quarantine.cc \
	hypercall/xen/quarantine.h \
	hypercall/xen/reaper.cc \
	hypercall/xen/reaper.h \
	hypercall/xen/vectors.h \
	hypercall/xen/xen_calls.cc \
	hypercall/xen/xen_calls.h \
	hypercall/xen/xen_conf.cc \
	hypercall/xen/xen_conf.h
XEN_MODULE = \
	hypercall/xen/doctor.cc \
	hypercall/xen/doctor.h \
	hypercall/xen/doctor_facts.cc \
	hypercall/xen/events.cc \
	hypercall/xen/events.h \
	hypercall/xen/fault_log.cc \
	hypercall/xen/fault_log.h \
	hypercall/xen/guardian_link.cc \
	hypercall/xen/guardian_link.h \
	hypercall/xen/guest.cc \
	hypercall/xen/guest.h \
	hypercall/xen/guest_vectors.cc \
	hypercall/xen/guest_vectors.h \
	hypercall/xen/host.cc \
	hypercall/xen/host.h \
	hypercall/xen/ioreq_bus.cc \
	hypercall/xen/ioreq_bus.h \
	hypercall/xen/iommu_tables.cc \
	hypercall/xen/iommu_tables.h \
	hypercall/xen/mapping.cc \
	hypercall/xen/mapping.h \
	hypercall/xen/open_device.cc \
	hypercall/xen/open_device.h \
	hypercall/xen/owner.cc \
	hypercall/xen/owner.h \
	hypercall/xen/physical_map.cc \
	hypercall/xen/physical_map.h \
	hypercall/xen/pirq_vectors.cc \
	hypercall/xen/pirq_vectors.h \
	hypercall/xen/port_swap.cc \
	hypercall/xen/xen_hypervisor.cc \
	hypercall/xen/xen_hypervisor.h
EXTRA_DIST += $(XEN_COMMON) $(XEN_MODULE) hypercall/xen/guardian.cc

# The kernel's, built by its own Makefile (GPL-2.0).
EXTRA_DIST += \
	hypercall/xen/kernel/COPYING \
	hypercall/xen/kernel/Kbuild \
	hypercall/xen/kernel/Makefile \
	hypercall/xen/kernel/carrier.c \
	hypercall/xen/kernel/device.c \
	hypercall/xen/kernel/domain.c \
	hypercall/xen/kernel/domctl.h \
	hypercall/xen/kernel/firmware.c \
	hypercall/xen/kernel/hypercall.c \
	hypercall/xen/kernel/main.c \
	hypercall/xen/kernel/mapping.c \
	hypercall/xen/kernel/owner.c \
	hypercall/xen/kernel/pviommu_xen.h \
	hypercall/xen/kernel/vectors.c

if WITH_XEN
noinst_LTLIBRARIES += libpviommu-xen-common.la
if UNITY
libpviommu_xen_common_la_SOURCES =
nodist_libpviommu_xen_common_la_SOURCES = unity/xen-common.cc
else
libpviommu_xen_common_la_SOURCES = $(XEN_COMMON)
endif
libpviommu_xen_common_la_CXXFLAGS = $(PRODUCT_CXXFLAGS)
libpviommu_xen_common_la_CPPFLAGS = $(AM_CPPFLAGS) $(XEN_CFLAGS)

pkglib_LTLIBRARIES += pviommu-xen.la
if UNITY
pviommu_xen_la_SOURCES =
nodist_pviommu_xen_la_SOURCES = unity/xen.cc
else
pviommu_xen_la_SOURCES = $(XEN_MODULE)
endif
pviommu_xen_la_CXXFLAGS = $(PRODUCT_CXXFLAGS)
pviommu_xen_la_CPPFLAGS = $(AM_CPPFLAGS) $(XEN_CFLAGS)
pviommu_xen_la_LIBADD = libpviommu-xen-common.la libpviommu.la $(XEN_LIBS) -lxenstore $(SYSTEM_LIBS)
pviommu_xen_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version

$(libpviommu_xen_common_la_OBJECTS) $(pviommu_xen_la_OBJECTS): | $(PRODUCT_PCH)

# Beside the module, which looks for it there.
guardiandir = $(pkglibdir)
guardian_PROGRAMS = pviommu-xen-guardian
pviommu_xen_guardian_SOURCES = hypercall/xen/guardian.cc
pviommu_xen_guardian_CPPFLAGS = $(AM_CPPFLAGS) $(XEN_CFLAGS)
pviommu_xen_guardian_LDADD = libpviommu-xen-common.la libpviommu.la $(XEN_LIBS) $(SYSTEM_LIBS)
endif
unity/xen-common.cc: Makefile
	$(AM_V_GEN)$(UNIFY) $(XEN_COMMON) >$@
unity/xen.cc: Makefile
	$(AM_V_GEN)$(UNIFY) $(XEN_MODULE) >$@
