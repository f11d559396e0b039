# SPDX-License-Identifier: LGPL-2.1-or-later
# Address spaces and the IOMMU driver interface.

nobase_pkginclude_HEADERS += pviommu/iommu_driver.h

PVIOMMU_PARTS = \
	pviommu/address_space.cc \
	pviommu/address_space.h \
	pviommu/backing.cc \
	pviommu/backing.h \
	pviommu/copying_pins.cc \
	pviommu/copying_pins.h \
	pviommu/frame_source.cc \
	pviommu/frame_source.h \
	pviommu/hypercall_iommu.cc \
	pviommu/hypercall_iommu.h \
	pviommu/io_uring_pins.cc \
	pviommu/io_uring_pins.h \
	pviommu/io_uring_ring.cc \
	pviommu/io_uring_ring.h \
	pviommu/iommu_registry.cc \
	pviommu/locked_memory.cc \
	pviommu/locked_memory.h \
	pviommu/mapping_index.cc \
	pviommu/mapping_index_arena.cc \
	pviommu/mapping_index_check.cc \
	pviommu/mapping_index_nodes.h \
	pviommu/mapping_index.h \
	pviommu/named_memory.cc \
	pviommu/named_memory.h
LIBRARY_PARTS += $(PVIOMMU_PARTS)
LIBRARY_UNITS += unity/pviommu.cc
unity/pviommu.cc: Makefile
	$(AM_V_GEN)$(UNIFY) $(PVIOMMU_PARTS) >$@
