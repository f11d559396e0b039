# SPDX-License-Identifier: LGPL-2.1-or-later

unit_model_SOURCES +=

unit_model_SOURCES += \
	tests/unit/model_edu_test.cc \
	tests/unit/model_test_bus.h
