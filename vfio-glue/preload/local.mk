# SPDX-License-Identifier: LGPL-2.1-or-later
# The preload front end: build/.libs/libpviommu-preload.so, installed in
# $(pkglibdir).

# The parts that tests use without the wrapped functions.
PRELOAD_PARTS = \
	vfio-glue/preload/bus_errors.cc \
	vfio-glue/preload/bus_errors.h \
	vfio-glue/preload/engine_of_process.cc \
	vfio-glue/preload/engine_of_process.h \
	vfio-glue/preload/fd_table.cc \
	vfio-glue/preload/fd_table.h \
	vfio-glue/preload/front_end.cc \
	vfio-glue/preload/front_end.h \
	vfio-glue/preload/large_stack.cc \
	vfio-glue/preload/large_stack.h \
	vfio-glue/preload/mappings.cc \
	vfio-glue/preload/mappings.h \
	vfio-glue/preload/nodes.cc \
	vfio-glue/preload/path_walk.cc \
	vfio-glue/preload/path_walk.h \
	vfio-glue/preload/process.cc \
	vfio-glue/preload/process.h \
	vfio-glue/preload/real.cc \
	vfio-glue/preload/real.h \
	vfio-glue/preload/run_member.cc \
	vfio-glue/preload/run_member.h \
	vfio-glue/preload/signals.cc \
	vfio-glue/preload/signals.h \
	vfio-glue/preload/traps.h \
	vfio-glue/preload/user_memory.cc \
	vfio-glue/preload/user_memory.h
X86_TRAPS = \
	vfio-glue/preload/trap_bus.h \
	vfio-glue/preload/traps_x86.cc \
	vfio-glue/preload/x86_arithmetic.h \
	vfio-glue/preload/x86_condition.h \
	vfio-glue/preload/x86_instruction.cc \
	vfio-glue/preload/x86_instruction.h \
	vfio-glue/preload/x86_state.cc \
	vfio-glue/preload/x86_state.h
NO_TRAPS = vfio-glue/preload/no_traps.cc
if X86_TRAPS
PRELOAD_PARTS += $(X86_TRAPS)
EXTRA_DIST += $(NO_TRAPS)
else
PRELOAD_PARTS += $(NO_TRAPS)
EXTRA_DIST += $(X86_TRAPS)
endif

pkglib_LTLIBRARIES += libpviommu-preload.la
WRAPPERS = \
	vfio-glue/preload/disk_calls.cc \
	vfio-glue/preload/exec_calls.cc \
	vfio-glue/preload/files.cc \
	vfio-glue/preload/folders.cc \
	vfio-glue/preload/ftw.cc \
	vfio-glue/preload/path_calls.cc \
	vfio-glue/preload/paths.cc \
	vfio-glue/preload/signal_calls.cc \
	vfio-glue/preload/wrap.h
# fts.cc has the names that folders.cc has, as they do the same.
if UNITY
libpviommu_preload_la_SOURCES = vfio-glue/preload/fts.cc
nodist_libpviommu_preload_la_SOURCES = unity/preload.cc unity/wrappers.cc
else
libpviommu_preload_la_SOURCES = $(PRELOAD_PARTS) $(WRAPPERS) vfio-glue/preload/fts.cc
endif
unity/preload.cc: Makefile
	$(AM_V_GEN)$(UNIFY) $(PRELOAD_PARTS) >$@
unity/wrappers.cc: Makefile
	$(AM_V_GEN)$(UNIFY) $(WRAPPERS) >$@
libpviommu_preload_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version -shared \
	-Wl,--version-script=$(srcdir)/vfio-glue/preload/preload.map
EXTRA_libpviommu_preload_la_DEPENDENCIES = $(srcdir)/vfio-glue/preload/preload.map
libpviommu_preload_la_LIBADD = libpviommu.la $(ZYDIS_LIBS) $(SYSTEM_LIBS)
EXTRA_DIST += vfio-glue/preload/preload.map
