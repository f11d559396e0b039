# SPDX-License-Identifier: LGPL-2.1-or-later
# What of the Xen backend needs no Xen: compiled in here, whether the module is
# built or not.

unit_xen_SOURCES += \
	hypercall/xen/doctor.cc \
	hypercall/xen/doctor.h \
	hypercall/xen/fault_log.cc \
	hypercall/xen/fault_log.h \
	hypercall/xen/iommu_tables.cc \
	hypercall/xen/iommu_tables.h \
	hypercall/xen/mapping_piece.h \
	tests/unit/xen_doctor_test.cc \
	tests/unit/xen_fault_log_test.cc \
	tests/unit/xen_parts_test.cc \
	tests/unit/sysfs_device_test.cc
