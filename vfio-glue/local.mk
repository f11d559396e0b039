# SPDX-License-Identifier: LGPL-2.1-or-later
# The VFIO engine (in libpviommu), the preload front end and the command.

libpviommu_la_SOURCES += \
	vfio-glue/engine.h \
	vfio-glue/file.h

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
