# SPDX-License-Identifier: LGPL-2.1-or-later
# Address spaces and the IOMMU driver interface.

nobase_pkginclude_HEADERS += pviommu/iommu_driver.h

libpviommu_la_SOURCES += \
	pviommu/address_space.h \
	pviommu/frame_source.h
