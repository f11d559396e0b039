# SPDX-License-Identifier: LGPL-2.1-or-later
# The Linux side of the Power backend: compiled in here, whether the module is
# built or not.

if UNITY
nodist_unit_papr_linux_SOURCES = unity/papr-core.cc unity/papr-linux.cc
else
unit_papr_linux_SOURCES += $(PAPR_CORE) $(PAPR_LINUX)
endif
unit_papr_linux_SOURCES += \
	tests/unit/papr_linux_fake.h \
	tests/unit/papr_linux_test.cc
