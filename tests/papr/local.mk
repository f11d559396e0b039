# SPDX-License-Identifier: LGPL-2.1-or-later
# The PAPR suite: in unit_papr on the model, in the freestanding guest on QEMU's hcalls.

PAPR_SUITE = \
	tests/papr/checks.cc \
	tests/papr/checks.h \
	tests/papr/mutants.cc \
	tests/papr/mutants.h \
	tests/papr/platform.h \
	tests/papr/suite.h \
	tests/papr/suite_answers.cc \
	tests/papr/suite_delivery.cc \
	tests/papr/suite_dynamic.cc \
	tests/papr/suite_failures.cc \
	tests/papr/suite_msi.cc \
	tests/papr/suite_windows.cc
EXTRA_DIST += $(PAPR_SUITE)
