# SPDX-License-Identifier: LGPL-2.1-or-later
# What of the Xen backend needs no Xen: compiled in here, whether the module is
# built or not.

unit_xen_SOURCES += \
	hypercall/xen/doctor.cc \
	hypercall/xen/doctor.h \
	hypercall/xen/fault_log.cc \
	hypercall/xen/fault_log.h \
	hypercall/xen/interface.cc \
	hypercall/xen/interface.h \
	hypercall/xen/interface_table.h \
	hypercall/xen/iommu_tables.cc \
	hypercall/xen/iommu_tables.h \
	hypercall/xen/mapping_piece.h \
	hypercall/xen/xen_conf.cc \
	hypercall/xen/xen_conf.h \
	tests/unit/xen_doctor_test.cc \
	tests/unit/xen_fault_log_test.cc \
	tests/unit/xen_interface_test.cc \
	tests/unit/xen_parts_test.cc \
	tests/unit/sysfs_device_test.cc

# What needs Xen's headers: the calls themselves, on a Xen that the test plays.
EXTRA_DIST += tests/unit/xen_calls_test.cc tests/unit/xen_fake.cc tests/unit/xen_fake.h
if WITH_XEN
UNIT_BINARIES += unit_xen_calls
unit_xen_calls_SOURCES = \
	hypercall/xen/events.cc \
	hypercall/xen/guest.cc \
	hypercall/xen/mapping.cc \
	tests/unit/xen_calls_test.cc \
	tests/unit/xen_fake.cc \
	tests/unit/xen_fake.h
unit_xen_calls_CPPFLAGS = $(UNIT_CPPFLAGS) -I$(srcdir)/tests/unit $(XEN_CFLAGS)
unit_xen_calls_LDADD = libpviommu-xen-common.la $(UNIT_LIBS)
endif
