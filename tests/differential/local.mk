# SPDX-License-Identifier: LGPL-2.1-or-later
# make differential: random sequences of VFIO calls, on the kernel and on the model, in
# the rig of make check-oracle.
#
#     make differential OPERATIONS=1000000 SEED=7

DIFFERENTIAL_BINARIES = vfio_differential
vfio_differential_SOURCES = \
	tests/differential/comparison.cc \
	tests/differential/comparison.h \
	tests/differential/generator.cc \
	tests/differential/generator.h \
	tests/differential/masks.cc \
	tests/differential/masks.h \
	tests/differential/operation.cc \
	tests/differential/operation.h \
	tests/differential/side.cc \
	tests/differential/side.h \
	tests/differential/structures.h \
	tests/differential/vfio_differential.cc \
	tests/differential/worker.cc \
	tests/differential/worker.h \
	tests/differential/worker_device.cc

DIFFERENTIAL_TESTS = \
	tests/differential/self.sh \
	tests/rigs/oracle/differential.test.sh
DIFFERENTIAL_FOUND = \
	tests/differential/found/config-outside-capabilities.txt \
	tests/differential/found/d3.txt \
	tests/differential/found/dirty-unmap-order.txt \
	tests/differential/found/empty-access.txt \
	tests/differential/found/eventfd-before-ioeventfd.txt \
	tests/differential/found/express-device-control-2.txt \
	tests/differential/found/express-device-control.txt \
	tests/differential/found/extended-capabilities.txt \
	tests/differential/found/extended-space.txt \
	tests/differential/found/intx-without-eventfd.txt \
	tests/differential/found/ioctls-of-every-file.txt \
	tests/differential/found/load-without-decoding.txt \
	tests/differential/found/low-power-ends-a-power-state.txt \
	tests/differential/found/low-power.txt \
	tests/differential/found/map-of-an-unreachable-bar.txt \
	tests/differential/found/mmap-of-more-than-there-is.txt \
	tests/differential/found/mmap-overflow.txt \
	tests/differential/found/power-data-select.txt \
	tests/differential/found/power-states.txt \
	tests/differential/found/pread-of-everything.txt \
	tests/differential/found/region-info-cap-offset.txt \
	tests/differential/found/request-of-no-descriptor.txt \
	tests/differential/found/rom-without-decoding.txt
DIFFERENTIAL_TIMEOUT = $$((600 + $(OPERATIONS) / 50))
OPERATIONS = 100000
SEED = 1

EXTRA_PROGRAMS += $(DIFFERENTIAL_BINARIES)
CLEANFILES += vfio_differential$(EXEEXT)
EXTRA_DIST += $(DIFFERENTIAL_TESTS) $(DIFFERENTIAL_FOUND)

differential: all
	$(MAKE) $(AM_MAKEFLAGS) $(DIFFERENTIAL_BINARIES) $(ORACLE_BINARIES)
	$(srcdir)/tests/rigs/oracle/base >/dev/null
	OPERATIONS=$(OPERATIONS) SEED=$(SEED); export OPERATIONS SEED; \
	jobs="-j1 TEST_SECONDS=$(DIFFERENTIAL_TIMEOUT)"; $(RUN_TAP) differential $(DIFFERENTIAL_TESTS)

.PHONY: differential
