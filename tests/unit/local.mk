# SPDX-License-Identifier: LGPL-2.1-or-later
# One program an area.  Each area's .mk appends to unit_<area>_SOURCES.

UNIT_BINARIES = unit_hypercall unit_model unit_papr unit_pviommu unit_msi unit_vfio unit_papr_linux unit_spapr unit_xen unit_host
EXTRA_DIST += tests/unit/precompiled.h
UNIT_LIBS = libtap.a libpviommu.la $(GTEST_LIBS) $(SYSTEM_LIBS)
UNIT_CPPFLAGS = $(AM_CPPFLAGS) $(GTEST_CFLAGS) $(LIBURING_CFLAGS) \
	-DPVIOMMU_TEST_BUILDDIR='"$(abs_builddir)"' -DPVIOMMU_TEST_SRCDIR='"$(abs_srcdir)"'

unit_hypercall_SOURCES =
unit_hypercall_CPPFLAGS = $(UNIT_CPPFLAGS)
unit_hypercall_CXXFLAGS = $(UNIT_CXXFLAGS)
$(unit_hypercall_OBJECTS): | $(UNIT_PCH)
unit_hypercall_LDADD = $(UNIT_LIBS)
unit_model_SOURCES =
unit_model_CPPFLAGS = $(UNIT_CPPFLAGS)
unit_model_CXXFLAGS = $(UNIT_CXXFLAGS)
$(unit_model_OBJECTS): | $(UNIT_PCH)
unit_model_LDADD = $(UNIT_LIBS)
unit_papr_SOURCES =
unit_papr_CPPFLAGS = $(UNIT_CPPFLAGS)
unit_papr_CXXFLAGS = $(UNIT_CXXFLAGS)
$(unit_papr_OBJECTS): | $(UNIT_PCH)
unit_papr_LDADD = $(UNIT_LIBS)
unit_pviommu_SOURCES =
unit_pviommu_CPPFLAGS = $(UNIT_CPPFLAGS)
unit_pviommu_CXXFLAGS = $(UNIT_CXXFLAGS)
$(unit_pviommu_OBJECTS): | $(UNIT_PCH)
unit_pviommu_LDADD = $(UNIT_LIBS)
unit_msi_SOURCES =
unit_msi_CPPFLAGS = $(UNIT_CPPFLAGS)
unit_msi_CXXFLAGS = $(UNIT_CXXFLAGS)
$(unit_msi_OBJECTS): | $(UNIT_PCH)
unit_msi_LDADD = $(UNIT_LIBS)
unit_vfio_SOURCES =
unit_vfio_CPPFLAGS = $(UNIT_CPPFLAGS)
unit_vfio_CXXFLAGS = $(UNIT_CXXFLAGS)
$(unit_vfio_OBJECTS): | $(UNIT_PCH)
unit_vfio_LDADD = $(UNIT_LIBS)
unit_papr_linux_SOURCES =
unit_papr_linux_CPPFLAGS = $(UNIT_CPPFLAGS)
unit_papr_linux_CXXFLAGS = $(UNIT_CXXFLAGS)
$(unit_papr_linux_OBJECTS): | $(UNIT_PCH)
unit_papr_linux_LDADD = $(UNIT_LIBS)
unit_spapr_SOURCES =
unit_spapr_CPPFLAGS = $(UNIT_CPPFLAGS)
unit_spapr_CXXFLAGS = $(UNIT_CXXFLAGS)
$(unit_spapr_OBJECTS): | $(UNIT_PCH)
unit_spapr_LDADD = $(UNIT_LIBS)
unit_host_SOURCES =
unit_host_CPPFLAGS = $(UNIT_CPPFLAGS)
unit_host_CXXFLAGS = $(UNIT_CXXFLAGS)
$(unit_host_OBJECTS): | $(UNIT_PCH)
unit_host_LDADD = $(UNIT_LIBS)
unit_xen_SOURCES =
unit_xen_CPPFLAGS = $(UNIT_CPPFLAGS)
unit_xen_CXXFLAGS = $(UNIT_CXXFLAGS)
$(unit_xen_OBJECTS): | $(UNIT_PCH)
unit_xen_LDADD = $(UNIT_LIBS)

# Linked with C++ also while an area has no test yet (the file is never compiled).
nodist_EXTRA_unit_hypercall_SOURCES = force-c++-linking.cc
nodist_EXTRA_unit_model_SOURCES = force-c++-linking.cc
nodist_EXTRA_unit_papr_SOURCES = force-c++-linking.cc
nodist_EXTRA_unit_pviommu_SOURCES = force-c++-linking.cc
nodist_EXTRA_unit_msi_SOURCES = force-c++-linking.cc
nodist_EXTRA_unit_vfio_SOURCES = force-c++-linking.cc
nodist_EXTRA_unit_papr_linux_SOURCES = force-c++-linking.cc
nodist_EXTRA_unit_spapr_SOURCES = force-c++-linking.cc
nodist_EXTRA_unit_host_SOURCES = force-c++-linking.cc
nodist_EXTRA_unit_xen_SOURCES = force-c++-linking.cc

include tests/unit/hypercall.mk
include tests/unit/model.mk
include tests/unit/papr.mk
include tests/unit/pviommu.mk
include tests/unit/msi.mk
include tests/unit/vfio.mk
include tests/unit/papr_linux.mk
include tests/unit/spapr.mk
include tests/unit/host.mk
include tests/unit/xen.mk

if HAVE_GTEST
check_PROGRAMS += $(UNIT_BINARIES)
TESTS += $(UNIT_BINARIES)
else
check-local: no-gtest
no-gtest:
	@echo "make check needs GoogleTest, which configure did not find (Debian: libgtest-dev)" >&2; exit 1
endif
