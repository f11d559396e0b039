# SPDX-License-Identifier: LGPL-2.1-or-later

EXTRA_DIST += \
	findings/README.md \
	findings/debian-kernels-lack-what-headers-have.sh \
	findings/finding.sh \
	findings/intel-iommu-width-of-machine.sh \
	findings/libxenctrl-of-one-version.sh \
	findings/libvirt-error-of-missing-file.sh \
	findings/qemu-img-bench-last-block.sh \
	findings/xen-createdomain-grows.sh
