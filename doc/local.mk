# SPDX-License-Identifier: LGPL-2.1-or-later

dist_man_MANS += doc/pviommu.1
EXTRA_DIST += \
	doc/architecture.md \
	doc/developer.md \
	doc/iommu-drivers.md \
	doc/notification.md \
	doc/packages.md \
	doc/power.md \
	doc/systemd/pviommu-example.service \
	doc/systemd/pviommu-reap.service \
	doc/vfio-differences.md \
	doc/xen-dom0.md
