# SPDX-License-Identifier: LGPL-2.1-or-later
# make check-xen: XEN_TESTS, each of which boots real Xen in QEMU, by tests/run-tests.

XEN_TEST_LIST = \
	tests/rigs/xen/smoke.test.sh \
	tests/rigs/xen/doctor.test.sh

XEN_TESTS = $(XEN_TEST_LIST:%=$(srcdir)/%)

EXTRA_DIST += $(XEN_TEST_LIST) \
	tests/rigs/xen/base \
	tests/rigs/xen/boot \
	tests/rigs/xen/dom0-init \
	tests/rigs/xen/fetch \
	tests/rigs/xen/lib.sh \
	tests/rigs/xen/shell

check-xen: all
	$(MAKE) $(AM_MAKEFLAGS) $(CONFORMANCE_BINARIES) $(CLIENT_BINARIES)
	$(RUN_TESTS) '$(abs_builddir)/results/xen' $(XEN_TESTS)

.PHONY: check-xen
