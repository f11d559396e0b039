# SPDX-License-Identifier: LGPL-2.1-or-later
# make check-xen               tests that boot real Xen in QEMU: Debian 12's
# make check-xen-kills         kills of programs and their guardians, in full number
# make check-xen-machines      with AMD's IOMMU, and with two processors; failures of the kernel module
# make check-xen-13            some of what touches Xen's interface, on Debian 13's
# make check-xen-13-more       the rest of that
# make check-xen-13-backports  with the kernel of Debian 13's backports as dom0

# The long ones first: two run at a time with make -j2, as QEMU's emulation uses one CPU.
XEN_TESTS = \
	tests/rigs/xen/libvirt.test.sh \
	tests/rigs/xen/kill.test.sh \
	tests/rigs/xen/attach.test.sh \
	tests/rigs/xen/conformance.test.sh \
	tests/rigs/xen/kernel61.test.sh \
	tests/rigs/xen/failures.test.sh \
	tests/rigs/xen/quarantine.test.sh \
	tests/rigs/xen/group.test.sh \
	tests/rigs/xen/guest.test.sh \
	tests/rigs/xen/kernel.test.sh \
	tests/rigs/xen/smoke.test.sh \
	tests/rigs/xen/io.test.sh \
	tests/rigs/xen/isolation.test.sh \
	tests/rigs/xen/doctor.test.sh \
	tests/rigs/xen/notify.test.sh
# Killing, as often as the environment says.
XEN_KILL_TESTS = \
	tests/rigs/xen/kill.test.sh \
	tests/rigs/xen/group.test.sh
XEN_MACHINES_TESTS = tests/rigs/xen/machines.test.sh tests/rigs/xen/kernel-failures.test.sh
# Of Debian 13's Xen, what touches its interface.
XEN_13_TESTS = \
	tests/rigs/xen/guest.test.sh \
	tests/rigs/xen/notify.test.sh \
	tests/rigs/xen/smoke.test.sh
# The same, slower; and with the newest kernel.
XEN_13_MORE_TESTS = \
	tests/rigs/xen/attach.test.sh \
	tests/rigs/xen/kill.test.sh \
	tests/rigs/xen/group.test.sh \
	tests/rigs/xen/libvirt.test.sh \
	tests/rigs/xen/conformance.test.sh \
	tests/rigs/xen/failures.test.sh \
	tests/rigs/xen/quarantine.test.sh \
	tests/rigs/xen/isolation.test.sh \
	tests/rigs/xen/doctor.test.sh
XEN_13_BACKPORTS_TESTS = \
	tests/rigs/xen/conformance.test.sh \
	tests/rigs/xen/kill.test.sh \
	tests/rigs/xen/io.test.sh \
	tests/rigs/xen/smoke.test.sh

EXTRA_DIST += $(XEN_TESTS) \
	$(XEN_MACHINES_TESTS) \
	tests/rigs/xen/base \
	tests/rigs/xen/bench \
	tests/rigs/xen/boot \
	tests/rigs/xen/dom0-init \
	tests/rigs/xen/fetch \
	tests/rigs/xen/guest-init \
	tests/rigs/xen/kernel-module \
	tests/rigs/xen/kill/dom0.sh \
	tests/rigs/xen/kill/lib.sh \
	tests/rigs/xen/kill/rounds.sh \
	tests/rigs/xen/lib.sh \
	tests/rigs/xen/libvirt \
	tests/rigs/xen/releases \
	tests/rigs/xen/shell \
	tests/rigs/xen/tools

# Programs for dom0; boot takes them along.
XEN_BINARIES =
if WITH_XEN
XEN_BINARIES += rig_exits rig_domains xen_bench xen_failures
rig_domains_SOURCES = tests/rigs/xen/domains.cc
rig_domains_CPPFLAGS = $(AM_CPPFLAGS) $(XEN_CFLAGS)
rig_domains_LDADD = $(XEN_LIBS)
rig_exits_SOURCES = tests/rigs/xen/exits.cc
rig_exits_CPPFLAGS = $(AM_CPPFLAGS) $(XEN_CFLAGS)
rig_exits_LDADD =
xen_bench_SOURCES = tests/rigs/xen/bench.cc tests/unit/vfio_local_client.h
xen_bench_CPPFLAGS = $(AM_CPPFLAGS) -I$(srcdir)/tests/unit $(XEN_CFLAGS)
xen_bench_LDADD = libpviommu-xen-common.la libpviommu.la $(XEN_LIBS) $(SYSTEM_LIBS)
xen_failures_SOURCES = tests/rigs/xen/failures.cc tests/rigs/xen/host_control.h tests/rigs/xen/tiny_guest.cc tests/rigs/xen/tiny_guest.h \
	tests/unit/vfio_local_client.h
xen_failures_CPPFLAGS = $(AM_CPPFLAGS) -I$(srcdir)/tests/unit $(XEN_CFLAGS) -D__XEN_TOOLS__=1
xen_failures_LDADD = libpviommu-xen-common.la libpviommu.la $(XEN_LIBS) $(SYSTEM_LIBS)
endif
if WITH_XEN
if HAVE_GTEST
XEN_BINARIES += xen_guest
xen_guest_SOURCES = \
	tests/rigs/xen/edu.h \
	tests/rigs/xen/ports.h \
	tests/rigs/xen/guest.cc \
	tests/rigs/xen/guest_vfio.cc \
	tests/rigs/xen/host_control.h \
	tests/rigs/xen/latency.cc \
	tests/rigs/xen/notify.cc \
	tests/rigs/xen/tiny_guest.cc \
	tests/rigs/xen/tiny_guest.h \
	tests/unit/vfio_local_client.h
xen_guest_CPPFLAGS = $(AM_CPPFLAGS) -I$(srcdir)/tests/unit $(XEN_CFLAGS) $(GTEST_CFLAGS) -D__XEN_TOOLS__=1
xen_guest_LDADD = libtap.a libpviommu-xen-common.la libpviommu.la $(XEN_LIBS) $(GTEST_LIBS) $(SYSTEM_LIBS)
endif
endif
XEN_BINARIES += rig_isolation
EXTRA_PROGRAMS += $(XEN_BINARIES)
# A module, which boot takes along with the others.
XEN_RIG_MODULES =
if WITH_XEN
XEN_RIG_MODULES += librig-xenctrl.la
librig_xenctrl_la_SOURCES = tests/rigs/xen/own_xenctrl.cc
librig_xenctrl_la_CPPFLAGS = $(AM_CPPFLAGS) $(XEN_CFLAGS) -D__XEN_TOOLS__=1
librig_xenctrl_la_CXXFLAGS = $(COLD_CXXFLAGS)
librig_xenctrl_la_LDFLAGS = -module -avoid-version -rpath /nowhere
librig_xenctrl_la_LIBADD = $(XEN_LIBS)
EXTRA_LTLIBRARIES = librig-xenctrl.la
endif
CLEANFILES += $(XEN_BINARIES)

# $(RUN_XEN) NAME DEBIAN KERNEL TEST...: TESTs on the Xen of that release with that kernel as dom0's.
# What a boot needs is made before, as two tests would wait for it.  The recipe line begins with +.
RUN_XEN = run_xen () { \
	  name=$$1 XEN_DEBIAN=$$2 XEN_KERNEL=$$3; export XEN_DEBIAN XEN_KERNEL; shift 3; \
	  $(MAKE) $(AM_MAKEFLAGS) $(CONFORMANCE_BINARIES) $(CLIENT_BINARIES) $(XEN_BINARIES) $(XEN_RIG_MODULES) || return 1; \
	  $(srcdir)/tests/rigs/xen/base $$XEN_DEBIAN >/dev/null || return 1; \
	  $(RUN_TAP) $$name "$$@"; \
	}; run_xen

check-xen: all
	+$(RUN_XEN) check-xen "$${XEN_DEBIAN:-12}" "$${XEN_KERNEL-}" $(XEN_TESTS)

# One after the other; a test may take longer than others do.
check-xen-kills: all
	+PVIOMMU_KILLS=20 PVIOMMU_GROUP_KILLS=50; export PVIOMMU_KILLS PVIOMMU_GROUP_KILLS; \
	jobs='-j1 TEST_SECONDS=2400'; $(RUN_XEN) check-xen-kills "$${XEN_DEBIAN:-12}" "$${XEN_KERNEL-}" $(XEN_KILL_TESTS)

check-xen-machines: all
	+$(RUN_XEN) check-xen-machines 12 backports $(XEN_MACHINES_TESTS)

check-xen-13: all
	+$(RUN_XEN) check-xen-13 13 stock $(XEN_13_TESTS)

check-xen-13-more: all
	+XEN_CONFORMANCE=interface; export XEN_CONFORMANCE; $(RUN_XEN) check-xen-13-more 13 stock $(XEN_13_MORE_TESTS)

check-xen-13-backports: all
	+$(RUN_XEN) check-xen-13-backports 13 backports $(XEN_13_BACKPORTS_TESTS)

bench-xen: all
	$(MAKE) $(AM_MAKEFLAGS) $(XEN_BINARIES)
	PVIOMMU_BUILD='$(abs_builddir)' $(srcdir)/tests/rigs/xen/bench

.PHONY: bench-xen check-xen check-xen-kills check-xen-machines check-xen-13 check-xen-13-more check-xen-13-backports
