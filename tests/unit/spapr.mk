# SPDX-License-Identifier: LGPL-2.1-or-later
# Power over the kernel's VFIO: compiled in here, whether the module is built or
# not; the kernel is a fake.

if UNITY
nodist_unit_spapr_SOURCES = unity/papr-core.cc unity/papr-linux.cc unity/papr-vfio.cc
else
unit_spapr_SOURCES += $(PAPR_CORE) $(PAPR_LINUX) $(SPAPR_SOURCES)
endif
unit_spapr_SOURCES += \
	hypercall/papr/papr_module.cc \
	tests/unit/spapr_fake_device.h \
	tests/unit/spapr_fake_kernel.h \
	tests/unit/spapr_rig.h \
	tests/unit/vfio_local_client.h \
	tests/unit/spapr_engine_test.cc \
	tests/unit/spapr_group_test.cc \
	tests/unit/spapr_hypervisor_test.cc \
	tests/unit/spapr_memory_test.cc \
	tests/unit/spapr_module_test.cc \
	tests/unit/spapr_vectors_test.cc
