# SPDX-License-Identifier: LGPL-2.1-or-later

unit_vfio_SOURCES += \
	tests/unit/vfio_engine_rig.h \
	tests/unit/vfio_failures_test.cc
