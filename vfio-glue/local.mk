# SPDX-License-Identifier: LGPL-2.1-or-later
# The VFIO engine (in libpviommu), the preload front end and the command.

nobase_pkginclude_HEADERS += vfio-glue/vfio_notification.h

libpviommu_la_SOURCES += \
	vfio-glue/config_extended.cc \
	vfio-glue/config_space.cc \
	vfio-glue/config_space.h \
	vfio-glue/container.cc \
	vfio-glue/container.h \
	vfio-glue/device.cc \
	vfio-glue/device.h \
	vfio-glue/device_file.cc \
	vfio-glue/device_file.h \
	vfio-glue/device_ioeventfds.cc \
	vfio-glue/device_irqs.cc \
	vfio-glue/device_regions.cc \
	vfio-glue/dirty_bitmap.cc \
	vfio-glue/doctor_report.cc \
	vfio-glue/doctor_report.h \
	vfio-glue/engine.cc \
	vfio-glue/engine.h \
	vfio-glue/file.h \
	vfio-glue/group.cc \
	vfio-glue/group.h \
	vfio-glue/guest_device.cc \
	vfio-glue/guest_device.h \
	vfio-glue/info_chain.h \
	vfio-glue/ioctl_table.h \
	vfio-glue/stopwatch.h

# ---- front ends and the command ----------------------------------------------

libpviommu_la_SOURCES += \
	vfio-glue/sysfs_view.cc \
	vfio-glue/sysfs_view.h

# The parts of the preload front end that tests use without the wrapped functions.
PRELOAD_PARTS = \
	vfio-glue/fd_table.cc \
	vfio-glue/fd_table.h \
	vfio-glue/preload_front_end.cc \
	vfio-glue/preload_front_end.h \
	vfio-glue/preload_mappings.cc \
	vfio-glue/preload_mappings.h \
	vfio-glue/preload_process.cc \
	vfio-glue/preload_process.h \
	vfio-glue/preload_real.cc \
	vfio-glue/preload_real.h \
	vfio-glue/user_memory.cc \
	vfio-glue/user_memory.h

# The preload front end: build/.libs/libpviommu-preload.so, installed in
# $(pkglibdir).
pkglib_LTLIBRARIES += libpviommu-preload.la
libpviommu_preload_la_SOURCES = \
	$(PRELOAD_PARTS) \
	vfio-glue/preload_disk_calls.cc \
	vfio-glue/preload_files.cc \
	vfio-glue/preload_paths.cc \
	vfio-glue/preload_wrap.h
libpviommu_preload_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version -shared \
	-Wl,--version-script=$(srcdir)/vfio-glue/preload.map
EXTRA_libpviommu_preload_la_DEPENDENCIES = $(srcdir)/vfio-glue/preload.map
libpviommu_preload_la_LIBADD = libpviommu.la $(SYSTEM_LIBS)
EXTRA_DIST += vfio-glue/preload.map

# Devices and guests of the machine; tests use it without the command.
HOST_PARTS = \
	vfio-glue/guest_domains.h \
	vfio-glue/host_connection.cc \
	vfio-glue/host_connection.h \
	vfio-glue/host_devices.h \
	vfio-glue/host_devices_sysfs.cc \
	vfio-glue/host_holders.cc \
	vfio-glue/host_holders.h

# The command.  In this folder because pviommu/ beside the Makefile is a folder.
bin_PROGRAMS += vfio-glue/pviommu
vfio_glue_pviommu_SOURCES = \
	$(HOST_PARTS) \
	vfio-glue/command.cc \
	vfio-glue/command.h \
	vfio-glue/command_attach.cc \
	vfio-glue/command_bind.cc \
	vfio-glue/command_doctor.cc \
	vfio-glue/command_info.cc \
	vfio-glue/command_list.cc \
	vfio-glue/command_list_host.cc \
	vfio-glue/command_output.cc \
	vfio-glue/command_reap.cc \
	vfio-glue/command_run.cc \
	vfio-glue/run_folder.cc \
	vfio-glue/run_folder.h \
	vfio-glue/stats_report.cc \
	vfio-glue/stats_report.h
vfio_glue_pviommu_LDADD = libpviommu.la $(SYSTEM_LIBS)
