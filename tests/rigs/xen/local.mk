# SPDX-License-Identifier: LGPL-2.1-or-later
# make check-xen: XEN_TESTS, each of which boots real Xen in QEMU, by tests/run-tests.

XEN_TEST_LIST = \
	tests/rigs/xen/smoke.test.sh \
	tests/rigs/xen/conformance.test.sh \
	tests/rigs/xen/failures.test.sh \
	tests/rigs/xen/io.test.sh \
	tests/rigs/xen/isolation.test.sh \
	tests/rigs/xen/kernel61.test.sh \
	tests/rigs/xen/kill.test.sh \
	tests/rigs/xen/doctor.test.sh

XEN_TESTS = $(XEN_TEST_LIST:%=$(srcdir)/%)

EXTRA_DIST += $(XEN_TEST_LIST) \
	tests/rigs/xen/base \
	tests/rigs/xen/bench \
	tests/rigs/xen/boot \
	tests/rigs/xen/dom0-init \
	tests/rigs/xen/fetch \
	tests/rigs/xen/lib.sh \
	tests/rigs/xen/shell

# Programs for dom0; boot takes them along.
XEN_BINARIES =
if WITH_XEN
XEN_BINARIES += xen_bench xen_failures
xen_bench_SOURCES = tests/rigs/xen/bench.cc tests/unit/vfio_local_client.h
xen_bench_CPPFLAGS = $(AM_CPPFLAGS) -I$(srcdir)/tests/unit $(XEN_CFLAGS)
xen_bench_LDADD = libpviommu-xen-common.la libpviommu.la $(XEN_LIBS) $(SYSTEM_LIBS)
xen_failures_SOURCES = tests/rigs/xen/failures.cc tests/unit/vfio_local_client.h
xen_failures_CPPFLAGS = $(AM_CPPFLAGS) -I$(srcdir)/tests/unit $(XEN_CFLAGS)
xen_failures_LDADD = libpviommu-xen-common.la libpviommu.la $(XEN_LIBS) $(SYSTEM_LIBS)
endif
XEN_BINARIES += xen_isolation
xen_isolation_SOURCES = tests/rigs/xen/isolation.cc \
	tests/conformance/vfio_client.cc tests/conformance/vfio_client.h
xen_isolation_CPPFLAGS = $(AM_CPPFLAGS) -I$(srcdir)/tests/conformance
check_PROGRAMS += $(XEN_BINARIES)

check-xen: all
	$(MAKE) $(AM_MAKEFLAGS) $(CONFORMANCE_BINARIES) $(CLIENT_BINARIES) $(XEN_BINARIES)
	$(RUN_TESTS) '$(abs_builddir)/results/xen' $(XEN_TESTS)

bench-xen: all
	$(MAKE) $(AM_MAKEFLAGS) $(XEN_BINARIES)
	PVIOMMU_BUILD='$(abs_builddir)' $(srcdir)/tests/rigs/xen/bench

.PHONY: bench-xen check-xen
