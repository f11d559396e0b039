# SPDX-License-Identifier: LGPL-2.1-or-later
# The module "papr": over the kernel's VFIO, or over the module pviommu_papr.

# What unit tests use too, on any machine.
SPAPR_SOURCES = \
	vfio-glue/spapr/doctor.cc \
	vfio-glue/spapr/doctor.h \
	vfio-glue/spapr/kernel_device.cc \
	vfio-glue/spapr/kernel_device.h \
	vfio-glue/spapr/kernel_group.cc \
	vfio-glue/spapr/kernel_group.h \
	vfio-glue/spapr/kernel_vectors.cc \
	vfio-glue/spapr/kernel_vectors.h \
	vfio-glue/spapr/papr_conf.cc \
	vfio-glue/spapr/papr_conf.h \
	vfio-glue/spapr/platform.cc \
	vfio-glue/spapr/platform.h \
	vfio-glue/spapr/registered_memory.cc \
	vfio-glue/spapr/registered_memory.h \
	vfio-glue/spapr/spapr_hypervisor.cc \
	vfio-glue/spapr/spapr_hypervisor.h \
	vfio-glue/spapr/vfio_calls.cc \
	vfio-glue/spapr/vfio_calls.h
EXTRA_DIST += $(SPAPR_SOURCES) vfio-glue/spapr/papr_module.cc

if WITH_PAPR
pkglib_LTLIBRARIES += pviommu-papr.la
pviommu_papr_la_SOURCES = $(PAPR_CORE) $(PAPR_LINUX) $(SPAPR_SOURCES) vfio-glue/spapr/papr_module.cc
pviommu_papr_la_LIBADD = libpviommu.la $(SYSTEM_LIBS)
pviommu_papr_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version
endif
