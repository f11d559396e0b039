# SPDX-License-Identifier: LGPL-2.1-or-later
# bind, unbind and list --host: over a machine of files, and by libvirt's own driver
# for tests; detach and attach.

HOST_COMMANDS = \
	vfio-glue/command/command.h \
	vfio-glue/command/bind.cc \
	vfio-glue/command/json.cc \
	vfio-glue/command/json.h \
	vfio-glue/command/list_host.cc \
	vfio-glue/command/output.cc

if UNITY
nodist_unit_host_SOURCES = unity/host.cc
nodist_unit_libvirt_SOURCES = unity/host.cc
else
unit_host_SOURCES += $(HOST_PARTS)
endif
unit_host_SOURCES += \
	$(HOST_COMMANDS) \
	vfio-glue/command/attach.cc \
	tests/unit/host_attach_test.cc \
	tests/unit/host_command_rig.h \
	tests/unit/host_devices_test.cc \
	tests/unit/host_fake.h \
	tests/unit/host_holders_test.cc

EXTRA_DIST += tests/unit/libvirt_node.xml tests/unit/libvirt_test.cc
if WITH_LIBVIRT
UNIT_BINARIES += unit_libvirt
unit_libvirt_SOURCES = \
	$(HOST_COMMANDS) \
	vfio-glue/host/libvirt/node_device_xml.cc \
	vfio-glue/host/libvirt/node_device_xml.h \
	tests/unit/libvirt_test.cc
if !UNITY
unit_libvirt_SOURCES += $(HOST_PARTS)
endif
unit_libvirt_CPPFLAGS = $(UNIT_CPPFLAGS) $(LIBVIRT_CFLAGS)
unit_libvirt_CXXFLAGS = $(UNIT_CXXFLAGS)
$(unit_libvirt_OBJECTS): | $(UNIT_PCH)
unit_libvirt_LDADD = $(UNIT_LIBS) $(LIBVIRT_LIBS)
endif
