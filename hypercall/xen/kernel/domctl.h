/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What this module says to Xen's control interface, which Linux has no header for.
 *
 * Every call is a structure of 144 bytes:
 *
 *      0 cmd | 4 interface_version | 8 domain | 16 arguments, 128 bytes
 *
 * The arguments of createdomain differ with the version behind grant_opts
 * (../interface_table.h); those of the other calls have been the same since 4.17.
 */
#ifndef PVIOMMU_XEN_DOMCTL_H
#define PVIOMMU_XEN_DOMCTL_H

#include <linux/build_bug.h>
#include <linux/stddef.h>
#include <linux/types.h>

#define DOMCTL_CREATEDOMAIN		1
#define DOMCTL_DESTROYDOMAIN		2
#define DOMCTL_GETDOMAININFO		5
#define DOMCTL_MAX_VCPUS		15
#define DOMCTL_IOMEM_PERMISSION		20
#define DOMCTL_ASSIGN_DEVICE		37
#define DOMCTL_MEMORY_MAPPING		39
#define DOMCTL_DEASSIGN_DEVICE		47
#define DOMCTL_GET_PAGING_MEMPOOL	85
#define DOMCTL_SET_PAGING_MEMPOOL	86

#define CREATE_HVM			0x01	/* flags */
#define CREATE_HAP			0x02
#define CREATE_IOMMU			0x20
#define CREATE_NO_SHAREPT		0x01	/* iommu_opts */
#define CREATE_EMULATE_LAPIC		0x01	/* arch.emulation_flags */

#define MAPPING_ADD			1
#define MAPPING_REMOVE			0

struct domctl_createdomain {
	u32 ssidref;
	u8 handle[16];
	u32 flags;
	u32 iommu_opts;
	u32 max_vcpus;
	u32 max_evtchn_port;
	s32 max_grant_frames;
	s32 max_maptrack_frames;
	u32 grant_opts;
	u8 differs[80];
};

struct domctl_assign_device {
	u32 dev;		/* 0: PCI */
	u32 flags;
	u32 sbdf;
};

struct domctl_memory_mapping {
	u64 first_gfn;
	u64 first_mfn;
	u64 nr_mfns;
	u32 add_mapping;
	u32 padding;
};

struct domctl_iomem_permission {
	u64 first_mfn;
	u64 nr_mfns;
	u8 allow_access;
};

struct domctl {
	u32 cmd;
	u32 interface_version;
	u16 domain;
	u16 pad[3];
	union {
		struct domctl_createdomain createdomain;
		struct domctl_assign_device assign_device;
		struct domctl_memory_mapping memory_mapping;
		struct domctl_iomem_permission iomem_permission;
		u64 paging_mempool;
		u32 max_vcpus;
		u8 size[128];
	};
} __aligned(8);

static_assert(sizeof(struct domctl) == 144);
static_assert(offsetof(struct domctl, createdomain) == 16);
static_assert(offsetof(struct domctl_createdomain, flags) == 20);
static_assert(offsetof(struct domctl_createdomain, grant_opts) == 44);

#endif
