# SPDX-License-Identifier: LGPL-2.1-or-later

unit_vfio_SOURCES += \
	tests/unit/vfio_engine_rig.h \
	tests/unit/vfio_failures_test.cc \
	tests/unit/vfio_guest_device_test.cc \
	tests/unit/vfio_iommufd_test.cc \
	tests/unit/vfio_hot_reset_test.cc \
	tests/unit/vfio_life.h \
	tests/unit/vfio_local_client.h \
	tests/unit/vfio_notifications_test.cc

unit_vfio_SOURCES += \
	$(COMMAND_REPORTS) \
	tests/unit/vfio_doctor_report_test.cc \
	tests/unit/vfio_json_test.cc

# The preload front end without the functions it wraps.
if UNITY
nodist_unit_vfio_SOURCES = unity/preload.cc
else
unit_vfio_SOURCES += $(PRELOAD_PARTS)
endif
unit_vfio_SOURCES += \
	tests/unit/vfio_frontend_fake_engine.h \
	tests/unit/vfio_frontend_fd_test.cc \
	tests/unit/vfio_frontend_memory_test.cc \
	tests/unit/vfio_frontend_sysfs_test.cc

unit_vfio_LDADD += $(ZYDIS_LIBS)
if X86_TRAPS
unit_vfio_SOURCES += tests/unit/vfio_instruction_test.cc
else
EXTRA_DIST += tests/unit/vfio_instruction_test.cc
endif

unit_vfio_SOURCES += \
	tests/unit/vfio_config_space_test.cc

unit_vfio_SOURCES += \
	tests/unit/vfio_engine_test.cc

# The command, as people type it.
EXTRA_DIST += tests/unit/command.sh
TESTS += tests/unit/command.sh

unit_vfio_SOURCES += \
	tests/unit/vfio_rules_test.cc
