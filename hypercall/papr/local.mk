# SPDX-License-Identifier: LGPL-2.1-or-later
# The hcall backend.

# Needs no C library: compiled into the module "papr", into the freestanding
# guest of the rig, and into the unit tests.
PAPR_CORE = \
	hypercall/papr/dynamic_window.cc \
	hypercall/papr/dynamic_window.h \
	hypercall/papr/hcall.cc \
	hypercall/papr/hcall.h \
	hypercall/papr/port.cc \
	hypercall/papr/port.h \
	hypercall/papr/rtas.cc \
	hypercall/papr/rtas.h \
	hypercall/papr/rtas_msi.cc \
	hypercall/papr/rtas_msi.h \
	hypercall/papr/tce_window.cc \
	hypercall/papr/tce_window.h \
	hypercall/papr/xics.cc \
	hypercall/papr/xics.h \
	hypercall/papr/xive.cc \
	hypercall/papr/xive.h
EXTRA_DIST += $(PAPR_CORE)
