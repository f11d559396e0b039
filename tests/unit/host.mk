# SPDX-License-Identifier: LGPL-2.1-or-later
# bind, unbind and list --host, over a machine of files.

unit_host_SOURCES += \
	$(HOST_PARTS) \
	vfio-glue/command.h \
	vfio-glue/command_bind.cc \
	vfio-glue/command_list_host.cc \
	tests/unit/host_devices_test.cc \
	tests/unit/host_fake.h
