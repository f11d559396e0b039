# SPDX-License-Identifier: LGPL-2.1-or-later
# The VFIO engine (in libpviommu), the preload front end and the command.

libpviommu_la_SOURCES += \
	vfio-glue/config_space.cc \
	vfio-glue/config_space.h \
	vfio-glue/container.cc \
	vfio-glue/container.h \
	vfio-glue/device.cc \
	vfio-glue/device.h \
	vfio-glue/device_file.cc \
	vfio-glue/device_file.h \
	vfio-glue/device_irqs.cc \
	vfio-glue/device_regions.cc \
	vfio-glue/dirty_bitmap.cc \
	vfio-glue/engine.cc \
	vfio-glue/engine.h \
	vfio-glue/file.h \
	vfio-glue/group.cc \
	vfio-glue/group.h \
	vfio-glue/info_chain.h \
	vfio-glue/ioctl_table.h \
	vfio-glue/stopwatch.h

# The preload front end: build/.libs/libpviommu-preload.so, installed in
# $(pkglibdir).
pkglib_LTLIBRARIES += libpviommu-preload.la
libpviommu_preload_la_SOURCES =
nodist_EXTRA_libpviommu_preload_la_SOURCES = force-c++-linking.cc
libpviommu_preload_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version -shared
libpviommu_preload_la_LIBADD = libpviommu.la

# The command.  In this folder because pviommu/ beside the Makefile is a folder.
# bin_PROGRAMS += vfio-glue/pviommu
# vfio_glue_pviommu_SOURCES =
# vfio_glue_pviommu_LDADD = libpviommu.la
