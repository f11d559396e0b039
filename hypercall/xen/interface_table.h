/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The versions of Xen's interface to its tools, and what differs between them: plain C
 * data, for programs and for a kernel module.  Nothing else knows a number of these.
 *
 * domctl.h and sysctl.h have a number each, and Xen refuses a call with another (EACCES).
 * The two move apart, and for reasons that are none of ours (an Arm field, livepatch): the
 * operations that pviommu uses are laid out the same in all, but for the columns below.
 *
 *   struct xen_domctl_createdomain, behind grant_opts at 44:
 *
 *         4.17, 4.18          48 vmtrace_size | 56 arch.emulation_flags
 *         4.19 and later      48 altp2m | 52 vmtrace_size | 60 arch.emulation_flags
 */
#ifndef PVIOMMU_XEN_INTERFACE_TABLE_H
#define PVIOMMU_XEN_INTERFACE_TABLE_H

struct pviommu_xen_interface {
	unsigned int domctl;		/* XEN_DOMCTL_INTERFACE_VERSION */
	unsigned int sysctl;		/* XEN_SYSCTL_INTERFACE_VERSION */
	unsigned int emulation_flags;	/* its offset in struct xen_domctl_createdomain */
	const char *xen;		/* which versions have these */
};

/* Oldest first.  A new Xen is a row here, after its headers were compared. */
static const struct pviommu_xen_interface pviommu_xen_interfaces[] = {
	{ 0x15, 0x15, 56, "4.17" },
	{ 0x16, 0x15, 56, "4.18" },
	{ 0x17, 0x15, 60, "4.19, 4.20" },
	{ 0x17, 0x16, 60, "4.21" },
	{ 0x18, 0x16, 60, "4.22, 4.23" },
};

#define PVIOMMU_XEN_INTERFACES \
	(sizeof(pviommu_xen_interfaces) / sizeof(pviommu_xen_interfaces[0]))

/*
 * In a createdomain: Xen chooses the number.  DOMID_ANY of Xen 4.22; before that every
 * reserved number did the same, while 0, which did too, is domain 0 from then on.
 */
#define PVIOMMU_XEN_DOMID_ANY 0x7ff5

#endif
