# SPDX-License-Identifier: LGPL-2.1-or-later
# The freestanding guest: the suite without an operating system.

PAPR_GUEST_FILES = \
	tests/rigs/papr/guest/edu.cc \
	tests/rigs/papr/guest/edu.h \
	tests/rigs/papr/guest/fdt.cc \
	tests/rigs/papr/guest/fdt.h \
	tests/rigs/papr/guest/guest.ld \
	tests/rigs/papr/guest/machine.cc \
	tests/rigs/papr/guest/machine.h \
	tests/rigs/papr/guest/main.cc \
	tests/rigs/papr/guest/runtime.cc \
	tests/rigs/papr/guest/runtime.h \
	tests/rigs/papr/guest/start.S
PAPR_GUEST_TESTS = \
	tests/rigs/papr/guest.test.sh \
	tests/rigs/papr/mutants.test.sh
EXTRA_DIST += $(PAPR_GUEST_FILES) \
	tests/rigs/papr/guest/boot \
	tests/rigs/papr/guest/build

# `make clean` takes results/ away.
results/papr-guest/guest.elf: $(PAPR_GUEST_FILES) $(PAPR_SUITE) $(PAPR_CORE) $(PAPR_FIRMWARE) tests/rigs/papr/guest/build
	$(AM_V_GEN)$(srcdir)/tests/rigs/papr/guest/build $@

PAPR_TESTS += $(PAPR_GUEST_TESTS)
PAPR_BINARIES += results/papr-guest/guest.elf
