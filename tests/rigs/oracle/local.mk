# SPDX-License-Identifier: LGPL-2.1-or-later
# make check-oracle: the conformance program on the kernel's own VFIO.

ORACLE_TESTS = tests/rigs/oracle/conformance.test.sh

EXTRA_DIST += $(ORACLE_TESTS) \
	tests/rigs/oracle/answers \
	tests/rigs/oracle/base \
	tests/rigs/oracle/boot \
	tests/rigs/oracle/cases \
	tests/rigs/oracle/exceptions \
	tests/rigs/oracle/guest-init \
	tests/rigs/oracle/lib.sh

ORACLE_BINARIES = $(CONFORMANCE_BINARIES) vfio_answers

check-oracle: all
	$(MAKE) $(AM_MAKEFLAGS) $(ORACLE_BINARIES)
	$(srcdir)/tests/rigs/oracle/base >/dev/null
	$(RUN_TAP) check-oracle $(ORACLE_TESTS)

.PHONY: check-oracle
