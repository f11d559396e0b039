# SPDX-License-Identifier: LGPL-2.1-or-later
# make check          unit tests and lint
# make conformance    CONFORMANCE_TESTS
# make clients        CLIENT_TESTS
# make check-xen      on real Xen in QEMU
# make check-oracle   on the kernel's own VFIO in QEMU
# make differential   random sequences, on the kernel and on the model
# make bench          benchmarks
# make fuzz           tests/fuzz/local.mk
# make coverage       tests/coverage/local.mk
# make sanitized      unit tests and SANITIZED_TESTS, in a build made with
#                     --enable-sanitizer

EXTRA_DIST += \
	tests/dropin/Makefile \
	tests/dropin/counting.cc \
	tests/dropin/dropin.sh \
	tests/lint/errno-edge.sh \
	tests/lint/errors.sh \
	tests/lint/include-rule.sh \
	tests/lint/style.sh \
	tests/run-tests
CONFORMANCE_TESTS =
CONFORMANCE_BINARIES =
CLIENT_TESTS =
CLIENT_BINARIES =
# What of the conformance tests makes sense under sanitizers.
SANITIZED_TESTS = $(CONFORMANCE_TESTS)

include tests/papr/local.mk
include tests/unit/local.mk
include tests/conformance/local.mk
include tests/coverage/local.mk
include tests/fuzz/local.mk
include tests/clients/local.mk
include tests/bench/local.mk
include tests/differential/local.mk
include tests/rigs/oracle/local.mk
include tests/rigs/papr/local.mk
include tests/rigs/xen/local.mk

TESTS += tests/lint/errno-edge.sh tests/lint/errors.sh tests/lint/include-rule.sh tests/lint/style.sh
TEST_EXTENSIONS = .sh
SH_LOG_COMPILER = $(SHELL)
LOG_COMPILER = timeout
AM_LOG_FLAGS = --kill-after=10 300

check_PROGRAMS += $(CONFORMANCE_BINARIES) $(CLIENT_BINARIES)

RUN_TESTS = PVIOMMU_BUILD='$(abs_builddir)' PVIOMMU_SOURCE='$(abs_srcdir)' PVIOMMU_RUN='$(abs_builddir)/run' \
	$(srcdir)/tests/run-tests

# The programs in a make of their own: beside `all`, which is one too, two makes
# would write the same objects.
conformance: all
	$(MAKE) $(AM_MAKEFLAGS) $(CONFORMANCE_BINARIES)
	$(RUN_TESTS) '$(abs_builddir)/results/conformance' $(CONFORMANCE_TESTS)

clients: all
	$(MAKE) $(AM_MAKEFLAGS) $(CLIENT_BINARIES)
	$(RUN_TESTS) '$(abs_builddir)/results/clients' $(CLIENT_TESTS)

# The preload front end comes before the runtime of ASan in a program that
# `pviommu run` starts; both wrap different functions, so the order is no harm.
sanitized: all
	$(MAKE) $(AM_MAKEFLAGS) $(UNIT_BINARIES) $(check_LTLIBRARIES) $(CONFORMANCE_BINARIES)
	ASAN_OPTIONS=verify_asan_link_order=0:detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1 \
	TSAN_OPTIONS=halt_on_error=0:second_deadlock_stack=1 \
	$(RUN_TESTS) '$(abs_builddir)/results/sanitized' $(UNIT_BINARIES:%=./%) $(SANITIZED_TESTS)

bench: all
	$(MAKE) $(AM_MAKEFLAGS) bench-run

.PHONY: conformance clients sanitized bench bench-run

clean-local:
	-rm -rf results fuzz coverage
