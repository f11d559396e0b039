# SPDX-License-Identifier: LGPL-2.1-or-later
# make check          unit tests and lint
# make conformance    CONFORMANCE_TESTS
# make clients        CLIENT_TESTS
# make bench          benchmarks

EXTRA_DIST += tests/run-tests
CONFORMANCE_TESTS =
CONFORMANCE_BINARIES =
CLIENT_TESTS =
CLIENT_BINARIES =

include tests/unit/local.mk
include tests/conformance/local.mk
include tests/clients/local.mk
include tests/bench/local.mk

RUN_TESTS = PVIOMMU_BUILD='$(abs_builddir)' PVIOMMU_SOURCE='$(abs_srcdir)' PVIOMMU_RUN='$(abs_builddir)/run' \
	$(srcdir)/tests/run-tests

check_PROGRAMS += $(CONFORMANCE_BINARIES) $(CLIENT_BINARIES)

conformance: all $(CONFORMANCE_BINARIES)
	$(RUN_TESTS) '$(abs_builddir)/results/conformance' $(CONFORMANCE_TESTS)

clients: all $(CLIENT_BINARIES)
	$(RUN_TESTS) '$(abs_builddir)/results/clients' $(CLIENT_TESTS)

bench: all bench-run

.PHONY: conformance clients bench bench-run

clean-local:
	-rm -rf results
