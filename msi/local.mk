# SPDX-License-Identifier: LGPL-2.1-or-later
# MSI and MSI-X capability semantics, vector routing, INTx.

MSI_PARTS = \
	msi/capabilities.cc \
	msi/capabilities.h \
	msi/eventfd_watcher.cc \
	msi/eventfd_watcher.h \
	msi/interrupt_registers.cc \
	msi/interrupt_registers.h \
	msi/msix_shadow.cc \
	msi/msix_shadow.h \
	msi/vector_router.cc \
	msi/vector_router.h \
	msi/vector_slot.cc \
	msi/vector_slot.h \
	msi/vector_targets.cc \
	msi/virtual_capability.cc \
	msi/virtual_capability.h
LIBRARY_PARTS += $(MSI_PARTS)
LIBRARY_UNITS += unity/msi.cc
unity/msi.cc: Makefile
	$(AM_V_GEN)$(UNIFY) $(MSI_PARTS) >$@
