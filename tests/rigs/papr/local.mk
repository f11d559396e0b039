# SPDX-License-Identifier: LGPL-2.1-or-later
# make check-papr: tests on QEMU's pseries machine, by tests/run-tests.

# Two at a time: QEMU's emulation uses one CPU.  About as long each.
PAPR_TESTS_ONE =
PAPR_TESTS_OTHER =
# What they need to be built before.
PAPR_BINARIES =

include tests/rigs/papr/guest/local.mk

EXTRA_DIST += $(PAPR_TESTS_ONE) $(PAPR_TESTS_OTHER) \
	tests/rigs/fetch.sh \
	tests/rigs/guest.sh \
	tests/rigs/papr/base \
	tests/rigs/papr/boot \
	tests/rigs/papr/fetch \
	tests/rigs/papr/guest-init \
	tests/rigs/papr/userland

check-papr: all
	$(MAKE) $(AM_MAKEFLAGS) $(PAPR_BINARIES)
	$(MAKE) $(AM_MAKEFLAGS) -j2 -k check-papr-one check-papr-other

check-papr-one:
	$(RUN_TESTS) '$(abs_builddir)/results/papr' $(PAPR_TESTS_ONE:%=$(srcdir)/%)

check-papr-other:
	$(RUN_TESTS) '$(abs_builddir)/results/papr' $(PAPR_TESTS_OTHER:%=$(srcdir)/%)

.PHONY: check-papr check-papr-one check-papr-other
