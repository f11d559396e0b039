# SPDX-License-Identifier: LGPL-2.1-or-later
# Third-party programs, as scripts, in the order in which they are run.

CLIENT_LIST = \
	tests/clients/errors.sh \
	tests/clients/completion.sh \
	tests/clients/reach.sh \
	tests/clients/signals.sh \
	tests/clients/qemu-io.sh \
	tests/clients/qemu-img.sh \
	tests/clients/memory.sh \
	tests/clients/qemu-system.sh \
	tests/clients/dpdk.sh \
	tests/clients/kill.sh

CLIENT_TESTS += $(CLIENT_LIST)

EXTRA_DIST += $(CLIENT_LIST) \
	tests/clients/boot-sector.S \
	tests/clients/guest-init \
	tests/clients/guest.sh \
	tests/clients/lib.sh

# A plain VFIO program in C, built as anybody would build it.
CLIENT_BINARIES += tests/clients/edu-dma
tests_clients_edu_dma_SOURCES = tests/clients/edu-dma.c
tests_clients_edu_dma_CPPFLAGS = -D_GNU_SOURCE
tests_clients_edu_dma_LDFLAGS =

CLIENT_BINARIES += tests/clients/json-get
tests_clients_json_get_SOURCES = tests/clients/json-get.cc
tests_clients_json_get_CXXFLAGS = $(COLD_CXXFLAGS)

# Counts its signals, and sends them as people and supervisors do.
CLIENT_BINARIES += tests/clients/signals
tests_clients_signals_SOURCES = tests/clients/signals.c
tests_clients_signals_CPPFLAGS = -D_GNU_SOURCE
tests_clients_signals_LDFLAGS =
tests_clients_signals_LDADD = -lutil
