# SPDX-License-Identifier: LGPL-2.1-or-later
# One program that knows nothing of pviommu, run against every backend:
# CONFORMANCE_TESTS.

CONFORMANCE_BINARIES += vfio_conformance
vfio_conformance_SOURCES = \
	tests/conformance/config_test.cc \
	tests/conformance/container_test.cc \
	tests/conformance/declared.h \
	tests/conformance/device_call_test.cc \
	tests/conformance/device_test.cc \
	tests/conformance/dma_test.cc \
	tests/conformance/e1000e_test.cc \
	tests/conformance/fd_test.cc \
	tests/conformance/group_test.cc \
	tests/conformance/interruption_test.cc \
	tests/conformance/iommufd_test.cc \
	tests/conformance/irqs_test.cc \
	tests/conformance/map_test.cc \
	tests/conformance/memory_test.cc \
	tests/conformance/path_test.cc \
	tests/conformance/registers_test.cc \
	tests/conformance/viability_test.cc \
	tests/conformance/vfio_client.cc \
	tests/conformance/vfio_client.h
vfio_conformance_CPPFLAGS = $(GTEST_CFLAGS)
vfio_conformance_CXXFLAGS = $(COLD_CXXFLAGS)
vfio_conformance_LDADD = libtap.a $(GTEST_LIBS) $(SYSTEM_LIBS)

# Asks the reference answers' questions one by one and prints what it is told.
EXTRA_PROGRAMS += vfio_answers
CLEANFILES += vfio_answers$(EXEEXT)
vfio_answers_SOURCES = \
	tests/conformance/answers/answers.cc \
	tests/conformance/answers/answers.h \
	tests/conformance/answers/descriptors.cc \
	tests/conformance/answers/device.cc \
	tests/conformance/answers/device.h \
	tests/conformance/answers/drivers.cc \
	tests/conformance/answers/edu.cc \
	tests/conformance/answers/express.cc \
	tests/conformance/answers/files.cc \
	tests/conformance/answers/maps.cc \
	tests/conformance/declared.h \
	tests/conformance/vfio_client.cc \
	tests/conformance/vfio_client.h
vfio_answers_CXXFLAGS = $(COLD_CXXFLAGS)
vfio_answers_LDADD = $(SYSTEM_LIBS)

CONFORMANCE_TESTS += tests/conformance/model.sh
EXTRA_DIST += tests/conformance/model.sh
