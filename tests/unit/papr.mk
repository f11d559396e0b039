# SPDX-License-Identifier: LGPL-2.1-or-later
# The core of the Power backend and the PAPR suite, on a strict model: compiled in
# here, whether the module is built or not.

if UNITY
nodist_unit_papr_SOURCES = unity/papr-core.cc unity/papr-firmware.cc
else
unit_papr_SOURCES += $(PAPR_CORE) $(PAPR_FIRMWARE)
endif
unit_papr_SOURCES += \
	$(PAPR_SUITE) \
	tests/papr/model.cc \
	tests/papr/model.h \
	tests/papr/model_interrupts.cc \
	tests/papr/model_platform.h \
	tests/papr/model_rtas.cc \
	tests/unit/papr_core_test.cc \
	tests/unit/papr_mutants_test.cc \
	tests/unit/papr_random_test.cc \
	tests/unit/papr_suite_test.cc
