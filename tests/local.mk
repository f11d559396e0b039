# SPDX-License-Identifier: LGPL-2.1-or-later
# make check          unit tests and lint
# make test-programs  all that `make check` and `make conformance` run, in one make
# make conformance    CONFORMANCE_TESTS
# make clients        CLIENT_TESTS
# make check-xen      on real Xen in QEMU
# make check-oracle   on the kernel's own VFIO in QEMU
# make differential   random sequences, on the kernel and on the model
# make bench          benchmarks
# make fuzz           tests/fuzz/local.mk
# make coverage       tests/coverage/local.mk
# make check-packages the Debian packages, on Debian 12 and 13
# make dropin         an IOMMU driver's module out of the tree
# make sanitized      unit tests and SANITIZED_TESTS, in a build made with
#                     --enable-sanitizer
#
# Every test says its results in TAP (tests/tap.sh, tests/tap.cc) and is run by automake's
# own harness and TAP driver: its output is in TEST.log, and TEST.trs has a line a case.

EXTRA_DIST += \
	tests/dropin/Makefile \
	tests/dropin/client.c \
	tests/dropin/counting.cc \
	tests/dropin/dropin.sh \
	tests/dropin/pretend.cc \
	tests/lint/errno-edge.sh \
	tests/lint/errors.sh \
	tests/lint/include-rule.sh \
	tests/lint/style.sh \
	tests/README \
	tests/by-reason.awk \
	tests/list-cases.awk \
	tests/packages/build.sh \
	tests/packages/install.sh \
	tests/packages/packages.sh \
	tests/run-stage.sh \
	tests/tap.sh
CONFORMANCE_TESTS =
CONFORMANCE_BINARIES =
CLIENT_TESTS =
CLIENT_BINARIES =
# What of the conformance tests makes sense under sanitizers.
SANITIZED_TESTS = $(CONFORMANCE_TESTS)

include tests/models/local.mk
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

# main() and TAP for GoogleTest programs.
if HAVE_GTEST
check_LIBRARIES += libtap.a
endif
libtap_a_SOURCES = tests/tap.cc tests/tap.h tests/tap_main.cc
libtap_a_CPPFLAGS = $(AM_CPPFLAGS) $(GTEST_CFLAGS)
libtap_a_CXXFLAGS = $(COLD_CXXFLAGS)

EXTRA_PROGRAMS += $(CONFORMANCE_BINARIES) $(CLIENT_BINARIES)
CLEANFILES += $(CONFORMANCE_BINARIES) $(CLIENT_BINARIES)

# ---- the harness ---------------------------------------------------------------

TEST_EXTENSIONS = .sh
LOG_DRIVER = env AM_TAP_AWK='$(AWK)' $(SHELL) $(top_srcdir)/build-aux/tap-driver.sh
SH_LOG_DRIVER = $(LOG_DRIVER)
# Scripts too are started as programs, by their first line.
TEST_SECONDS = 600
LOG_COMPILER = timeout
AM_LOG_FLAGS = --kill-after=10 $(TEST_SECONDS)
SH_LOG_COMPILER = $(LOG_COMPILER)
AM_SH_LOG_FLAGS = $(AM_LOG_FLAGS)
AM_TESTS_ENVIRONMENT = \
	PVIOMMU_BUILD='$(abs_builddir)'; PVIOMMU_SOURCE='$(abs_srcdir)'; PVIOMMU_RUN='$(abs_builddir)/run'; \
	export PVIOMMU_BUILD PVIOMMU_SOURCE PVIOMMU_RUN;

# $(RUN_TAP) NAME TEST...: runs TESTs that are not in TESTS by the same rules; a summary is
# in results/NAME.log.  $$jobs, when set before, is an option for make.  Where tests may run
# beside each other the recipe line begins with +: make does not see the $(MAKE) in here.
RUN_TAP = run_tap () { \
	  suite=results/$$1.log; shift; \
	  logs=`for test in "$$@"; do echo "$$test" | sed 's/\.sh$$//; s/$$/.log/'; done`; \
	  logs=`echo $$logs`; mkdir -p results && rm -f $$suite $$logs && \
	  $(MAKE) $(AM_MAKEFLAGS) $$jobs TEST_SUITE_LOG=$$suite TEST_LOGS="$$logs" $$suite; \
	}; run_tap

# The programs in a make of their own: beside `all`, which is one too, two makes
# would write the same objects.
test-programs: $(BUILT_SOURCES) config.h
	$(MAKE) $(AM_MAKEFLAGS) all-am $(check_PROGRAMS) $(check_LIBRARIES) $(check_LTLIBRARIES) $(CONFORMANCE_BINARIES)

conformance: all
	$(MAKE) $(AM_MAKEFLAGS) $(CONFORMANCE_BINARIES)
	$(RUN_TAP) conformance $(CONFORMANCE_TESTS)

# One after the other: some of them want their answers in time.
clients: all
	$(MAKE) $(AM_MAKEFLAGS) $(CLIENT_BINARIES)
	jobs=-j1; $(RUN_TAP) clients $(CLIENT_TESTS)

dropin: all
	jobs=-j1; $(RUN_TAP) dropin tests/dropin/dropin.sh

# Builds of its own, in folders of debootstrap's.
check-packages:
	jobs="-j1 TEST_SECONDS=3000"; $(RUN_TAP) packages tests/packages/packages.sh

# The preload front end comes before the runtime of ASan in a program that
# `pviommu run` starts; both wrap different functions, so the order is no harm.
sanitized: all
	$(MAKE) $(AM_MAKEFLAGS) $(UNIT_BINARIES) $(check_LTLIBRARIES) $(CONFORMANCE_BINARIES)
	ASAN_OPTIONS=verify_asan_link_order=0:detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1 \
	TSAN_OPTIONS=halt_on_error=0:second_deadlock_stack=1; export ASAN_OPTIONS UBSAN_OPTIONS TSAN_OPTIONS; \
	jobs=-j1; $(RUN_TAP) sanitized $(UNIT_BINARIES) $(SANITIZED_TESTS)

bench: all
	$(MAKE) $(AM_MAKEFLAGS) bench-run

.PHONY: test-programs conformance clients check-packages dropin sanitized bench bench-run

clean-local:
	-rm -rf results fuzz coverage
