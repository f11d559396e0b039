# SPDX-License-Identifier: LGPL-2.1-or-later
# The module "libvirt": devices and guests by libvirt's C API.

LIBVIRT_MODULE = \
	vfio-glue/host/libvirt/connection.cc \
	vfio-glue/host/libvirt/connection.h \
	vfio-glue/host/libvirt/domains.cc \
	vfio-glue/host/libvirt/domains.h \
	vfio-glue/host/libvirt/event_loop.cc \
	vfio-glue/host/libvirt/event_loop.h \
	vfio-glue/host/libvirt/libvirt_module.cc \
	vfio-glue/host/libvirt/node_device_xml.cc \
	vfio-glue/host/libvirt/node_device_xml.h \
	vfio-glue/host/libvirt/node_devices.cc \
	vfio-glue/host/libvirt/node_devices.h
EXTRA_DIST += $(LIBVIRT_MODULE)

if WITH_LIBVIRT
pkglib_LTLIBRARIES += pviommu-libvirt.la
if UNITY
pviommu_libvirt_la_SOURCES =
nodist_pviommu_libvirt_la_SOURCES = unity/libvirt.cc
else
pviommu_libvirt_la_SOURCES = $(LIBVIRT_MODULE)
endif
pviommu_libvirt_la_CXXFLAGS = $(PRODUCT_CXXFLAGS)
$(pviommu_libvirt_la_OBJECTS): | $(PRODUCT_PCH)
pviommu_libvirt_la_CPPFLAGS = $(AM_CPPFLAGS) $(LIBVIRT_CFLAGS)
pviommu_libvirt_la_LIBADD = libpviommu.la $(LIBVIRT_LIBS) $(SYSTEM_LIBS)
pviommu_libvirt_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version
endif
unity/libvirt.cc: Makefile
	$(AM_V_GEN)$(UNIFY) $(LIBVIRT_MODULE) >$@
