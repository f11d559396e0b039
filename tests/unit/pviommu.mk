# SPDX-License-Identifier: LGPL-2.1-or-later

unit_pviommu_SOURCES += \
	tests/unit/pviommu_address_space_test.cc \
	tests/unit/pviommu_failure_test.cc \
	tests/unit/pviommu_fakes.h \
	tests/unit/pviommu_hypercall_iommu_test.cc \
	tests/unit/pviommu_locked_memory_test.cc \
	tests/unit/pviommu_mapping_index_test.cc \
	tests/unit/pviommu_model_test.cc \
	tests/unit/pviommu_pins_test.cc \
	tests/unit/pviommu_state_lost_test.cc
