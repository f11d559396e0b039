# SPDX-License-Identifier: LGPL-2.1-or-later
# make check-oracle [KERNEL=7.3]: the conformance program on the kernel's own VFIO.
KERNEL = 6.12

ORACLE_TESTS = \
	tests/rigs/oracle/conformance.test.sh \
	tests/rigs/oracle/holders.test.sh

EXTRA_DIST += $(ORACLE_TESTS) \
	tests/rigs/oracle/answers \
	tests/rigs/oracle/answers-6.1 \
	tests/rigs/oracle/answers-6.12 \
	tests/rigs/oracle/base \
	tests/rigs/oracle/boot \
	tests/rigs/oracle/cases \
	tests/rigs/oracle/exceptions \
	tests/rigs/oracle/guest-init \
	tests/rigs/oracle/lib.sh

# Makes layers on disks and interfaces in the guest.
EXTRA_PROGRAMS += oracle_layers
CLEANFILES += oracle_layers$(EXEEXT)
oracle_layers_SOURCES = tests/rigs/oracle/layers.cc
oracle_layers_CXXFLAGS = $(TEST_CXXFLAGS)
oracle_layers_LDADD =

ORACLE_BINARIES = $(CONFORMANCE_BINARIES) vfio_answers oracle_layers

check-oracle: all
	$(MAKE) $(AM_MAKEFLAGS) $(ORACLE_BINARIES)
	ORACLE_KERNEL=$(KERNEL) $(srcdir)/tests/rigs/oracle/base >/dev/null
	ORACLE_KERNEL=$(KERNEL); export ORACLE_KERNEL; jobs=-j1; $(RUN_TAP) check-oracle $(ORACLE_TESTS)

.PHONY: check-oracle
