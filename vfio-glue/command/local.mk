# SPDX-License-Identifier: LGPL-2.1-or-later
# The command pviommu.

# What tests use without the command.
COMMAND_REPORTS = \
	vfio-glue/command/doctor_report.cc \
	vfio-glue/command/doctor_report.h \
	vfio-glue/command/json.cc \
	vfio-glue/command/json.h

# Built in vfio-glue/ because pviommu/ beside the Makefile is a folder.
bin_PROGRAMS += vfio-glue/pviommu
COMMAND_PARTS = \
	vfio-glue/command/access.cc \
	vfio-glue/command/attach.cc \
	vfio-glue/command/bind.cc \
	vfio-glue/command/command.h \
	vfio-glue/command/doctor.cc \
	$(COMMAND_REPORTS) \
	vfio-glue/command/info.cc \
	vfio-glue/command/list.cc \
	vfio-glue/command/list_host.cc \
	vfio-glue/command/output.cc \
	vfio-glue/command/reap.cc \
	vfio-glue/command/program_file.cc \
	vfio-glue/command/process_name.cc \
	vfio-glue/command/process_name.h \
	vfio-glue/command/program_file.h \
	vfio-glue/command/program_process.cc \
	vfio-glue/command/program_process.h \
	vfio-glue/command/run.cc \
	vfio-glue/command/run_folder.cc \
	vfio-glue/command/run_folder.h \
	vfio-glue/command/signal_witness.cc \
	vfio-glue/command/signal_witness.h \
	vfio-glue/command/stats_report.cc \
	vfio-glue/command/stats_report.h
if UNITY
vfio_glue_pviommu_SOURCES =
nodist_vfio_glue_pviommu_SOURCES = unity/host.cc unity/command.cc
else
vfio_glue_pviommu_SOURCES = $(HOST_PARTS) $(COMMAND_PARTS)
endif
unity/host.cc: Makefile
	$(AM_V_GEN)$(UNIFY) $(HOST_PARTS) >$@
unity/command.cc: Makefile
	$(AM_V_GEN)$(UNIFY) $(COMMAND_PARTS) >$@
# As position independent as the library, for its precompiled header.
vfio_glue_pviommu_CXXFLAGS = $(PRODUCT_CXXFLAGS) -fPIC -DPIC
$(vfio_glue_pviommu_OBJECTS): | $(PRODUCT_PCH)
vfio_glue_pviommu_LDADD = libcommand-line.la libpviommu.la $(SYSTEM_LIBS)

# The parser runs once, and its templates would take longest of all to optimise.
noinst_LTLIBRARIES += libcommand-line.la
libcommand_line_la_SOURCES = vfio-glue/command/main.cc
libcommand_line_la_CXXFLAGS = $(COLD_CXXFLAGS)

bashcompletiondir = $(datadir)/bash-completion/completions
dist_bashcompletion_DATA = vfio-glue/command/bash-completion/pviommu
