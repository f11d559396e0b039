# SPDX-License-Identifier: LGPL-2.1-or-later
# make check-papr: tests on QEMU's pseries machine.

# In the order that leaves little for the end: two run at a time with make -j2, as QEMU's
# emulation uses one CPU.
PAPR_TESTS =
# What they need to be built before.
PAPR_BINARIES =

include tests/rigs/papr/guest/local.mk

# The kernel module.  The programs are for the guest: userland makes them, all does not.
PAPR_TESTS += tests/rigs/papr/module.test.sh tests/rigs/papr/module-answers.test.sh
PAPR_MODULE_BINARIES = papr_module papr_module_bench papr_module_fuzz
EXTRA_PROGRAMS += $(PAPR_MODULE_BINARIES)
EXTRA_DIST += tests/rigs/papr/bench tests/rigs/papr/kernel-module tests/rigs/papr/module_answers.h
papr_module_SOURCES = tests/rigs/papr/module_test.cc tests/rigs/papr/module_client.h
papr_module_CPPFLAGS = $(AM_CPPFLAGS) $(GTEST_CFLAGS)
papr_module_LDADD = libtap.a libpviommu.la $(GTEST_LIBS) $(SYSTEM_LIBS)
papr_module_bench_SOURCES = tests/rigs/papr/module_bench.cc tests/rigs/papr/module_client.h
papr_module_bench_LDADD = libpviommu.la $(SYSTEM_LIBS)
papr_module_fuzz_SOURCES = tests/rigs/papr/module_fuzz.cc tests/rigs/papr/module_client.h
papr_module_fuzz_LDADD = libpviommu.la $(SYSTEM_LIBS)

# The deployable path, in Debian's Linux.
PAPR_TESTS += tests/rigs/papr/facade.test.sh
EXTRA_PROGRAMS += papr_window
papr_window_SOURCES = tests/rigs/papr/window.cc

# Both rigs.
rig_isolation_SOURCES = tests/rigs/isolation.cc \
	tests/conformance/vfio_client.cc tests/conformance/vfio_client.h
rig_isolation_CPPFLAGS = $(AM_CPPFLAGS) -I$(srcdir)/tests/conformance

EXTRA_DIST += $(PAPR_TESTS) \
	tests/rigs/base.sh \
	tests/rigs/fetch.sh \
	tests/rigs/guest.sh \
	tests/rigs/lib.sh \
	tests/rigs/papr/base \
	tests/rigs/papr/boot \
	tests/rigs/papr/fetch \
	tests/rigs/papr/guest-init \
	tests/rigs/papr/lib.sh \
	tests/rigs/papr/userland

# The guest's own programs, by a build for powerpc64le in ppc64el/.  In a make of their
# own: beside `all`, which is one too, two makes would write the same objects.
PAPR_MAKE_USERLAND = $(srcdir)/tests/rigs/papr/userland '$(abs_builddir)/ppc64el' -j2
PAPR_USERLAND = vfio_conformance rig_isolation papr_window tests/clients/json-get $(PAPR_MODULE_BINARIES)

check-papr: all
	$(MAKE) $(AM_MAKEFLAGS) $(PAPR_BINARIES)
	for kernel in 6.12 6.1; do $(srcdir)/tests/rigs/papr/base $$kernel >/dev/null || exit 1; done
	$(PAPR_MAKE_USERLAND) all
	$(PAPR_MAKE_USERLAND) $(PAPR_USERLAND)
	+$(RUN_TAP) check-papr $(PAPR_TESTS)

bench-papr: all
	$(PAPR_MAKE_USERLAND) all
	$(PAPR_MAKE_USERLAND) papr_module_bench
	PVIOMMU_BUILD='$(abs_builddir)' $(srcdir)/tests/rigs/papr/bench

.PHONY: bench-papr check-papr
