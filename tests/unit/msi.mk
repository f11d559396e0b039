# SPDX-License-Identifier: LGPL-2.1-or-later

unit_msi_SOURCES += \
	tests/unit/fake_pci_device.h \
	tests/unit/msi_capabilities_test.cc \
	tests/unit/msi_fake.h \
	tests/unit/msi_router_failure_test.cc \
	tests/unit/msi_router_test.cc \
	tests/unit/msi_shadow_test.cc \
	tests/unit/msi_slot_test.cc \
	tests/unit/msi_targets_test.cc \
	tests/unit/msi_virtual_capability_test.cc
