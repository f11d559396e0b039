# SPDX-License-Identifier: LGPL-2.1-or-later
# The Linux side of the Power backend: compiled in here, whether the module is
# built or not.

unit_papr_linux_SOURCES += \
	$(PAPR_CORE) \
	$(PAPR_LINUX) \
	tests/unit/papr_linux_fake.h \
	tests/unit/papr_linux_test.cc
