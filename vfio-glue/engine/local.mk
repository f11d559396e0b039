# SPDX-License-Identifier: LGPL-2.1-or-later
# The VFIO engine, in libpviommu.

ENGINE_PARTS = \
	vfio-glue/iommufd_abi.h \
	vfio-glue/engine/config_extended.cc \
	vfio-glue/engine/config_space.cc \
	vfio-glue/engine/config_space.h \
	vfio-glue/engine/container.cc \
	vfio-glue/engine/container.h \
	vfio-glue/engine/device.cc \
	vfio-glue/engine/device.h \
	vfio-glue/engine/device_file.cc \
	vfio-glue/engine/device_file.h \
	vfio-glue/engine/device_ioeventfds.cc \
	vfio-glue/engine/device_irqs.cc \
	vfio-glue/engine/device_node.cc \
	vfio-glue/engine/device_node.h \
	vfio-glue/engine/device_regions.cc \
	vfio-glue/engine/dirty_bitmap.cc \
	vfio-glue/engine/engine.cc \
	vfio-glue/engine/engine.h \
	vfio-glue/engine/engine_config.cc \
	vfio-glue/engine/engine_config.h \
	vfio-glue/engine/file.h \
	vfio-glue/engine/group.cc \
	vfio-glue/engine/group.h \
	vfio-glue/engine/info_chain.h \
	vfio-glue/engine/ioas.cc \
	vfio-glue/engine/ioas.h \
	vfio-glue/engine/ioctl_table.h \
	vfio-glue/engine/iommufd.cc \
	vfio-glue/engine/iommufd.h \
	vfio-glue/engine/iommufd_calls.cc \
	vfio-glue/engine/iommufd_compat.cc \
	vfio-glue/engine/map_notes.cc \
	vfio-glue/engine/map_notes.h \
	vfio-glue/engine/stopwatch.h \
	vfio-glue/engine/sysfs_view.cc \
	vfio-glue/engine/sysfs_view.h
LIBRARY_PARTS += $(ENGINE_PARTS)
LIBRARY_UNITS += unity/engine.cc
unity/engine.cc: Makefile
	$(AM_V_GEN)$(UNIFY) $(ENGINE_PARTS) >$@
