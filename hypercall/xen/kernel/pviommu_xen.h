/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A Linux IOMMU driver for the PV dom0 of a stock Xen.
 *
 *      main.c       the IOMMU device, the module, its counters
 *      device.c     what the kernel asks of a PCI device: probe, group, reserved regions
 *      domain.c     domains of the IOMMU API: identity, blocked, paging
 *      owner.c      who has a device: dom0, Xen's quarantine or a carrier
 *      carrier.c    the empty Xen domain whose memory is a paging domain's address space
 *      mapping.c    its pages
 *      vectors.c    MSI and MSI-X of devices that dom0 does not have
 *      firmware.c   what the tables of the IOMMU's firmware say
 *      hypercall.c  calls to Xen
 *
 * Numbers of frames:  gfn = IOVA >> 12, pfn is dom0's, mfn the machine's.
 */
#ifndef PVIOMMU_XEN_H
#define PVIOMMU_XEN_H

#include <linux/atomic.h>
#include <linux/device.h>
#include <linux/iommu.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/types.h>
#include <linux/xarray.h>

#include "domctl.h"

/* ---- hypercall.c ------------------------------------------------------------- */

/* What the module has done, in sysfs (main.c). */
struct counters {
	atomic64_t domctls;
	atomic64_t multicalls;
	atomic64_t physdev_ops;
	atomic64_t event_channel_ops;
	atomic64_t carriers_created;
	atomic64_t carriers_destroyed;
	atomic64_t mapped_pages;	/* now */
	atomic64_t held_pages;		/* now: given back by the user, not by Xen */
	atomic64_t stranded_devices;	/* now: not dom0's again although they should be */
};

extern struct counters counters;

/* The N-th hypercall from now on fails, without being made, and so many more; 0: none.  For tests. */
extern atomic_t hypercall_fail, hypercall_fail_more;

struct multicall_entry;

/* Finds the interface version; -ENODEV, and says why, when Xen has none that is known. */
int hypercall_probe(void);
/* The version in use, and where createdomain has its emulation flags. */
unsigned int hypercall_version(void);
unsigned int hypercall_emulation_flags(void);
/*
 * One domctl.  Negative errno, else what Xen returned: memory_mapping says how many pages it
 * did, 0 for all of them.
 */
long hypercall_domctl(struct domctl *op, u32 cmd, u16 domain);
/* Fills one call of a multicall with a domctl. */
void hypercall_member(struct multicall_entry *call, struct domctl *op, u32 cmd, u16 domain);
/* Negative errno: nobody knows which calls were made. */
int hypercall_multicall(struct multicall_entry *calls, unsigned int count);
int hypercall_physdev(int cmd, void *argument);
int hypercall_event_channel(int cmd, void *argument);

/* ---- carrier.c --------------------------------------------------------------- */

/* Calls in one multicall, and entries of a page table that Xen changes in one call. */
#define BATCH_CALLS	64
#define BATCH_PAGES	64

struct piece {
	u64 gfn;
	u64 mfn;
	u32 pages;
	u32 done;
};

struct batch {
	unsigned int count;
	struct piece pieces[BATCH_CALLS];
	struct piece failed[BATCH_CALLS];	/* a copy, while they are taken back */
	struct domctl ops[BATCH_CALLS];
	struct multicall_entry *calls;
};

struct carrier {
	struct iommu_domain domain;
	struct list_head link;		/* of those that Xen did not destroy */
	u16 domid;
	struct mutex lock;		/* of what follows: one change at a time */
	/*
	 * gfn -> pfn, marked HELD when the page was unmapped by its user and Xen did not
	 * confirm that; read without the lock.
	 */
	struct xarray pages;
	u64 pool;			/* bytes of Xen's memory for page tables */
	struct batch *batch;
};

#define HELD XA_MARK_0

static inline struct carrier *to_carrier(struct iommu_domain *domain)
{
	return container_of(domain, struct carrier, domain);
}

struct carrier *carrier_create(void);
/* Destroys it in Xen; keeps it, with the pages that it may reach, when that fails. */
void carrier_put(struct carrier *c);
/* Tries again those that were kept; how many are left. */
unsigned int carrier_retry(void);
int carrier_grow_pool(struct carrier *c);
int carrier_permit(struct carrier *c, u64 mfn, u64 frames);
/* Frames from this one on are not RAM and need a permission of their own. */
u64 carrier_ram_end(void);

/* ---- mapping.c --------------------------------------------------------------- */

/* All or nothing.  @gfp is for the table. */
int mapping_add(struct carrier *c, u64 gfn, u64 pfn, u64 pages, gfp_t gfp);
/* Never fails: pages whose removal Xen does not confirm are held until the carrier's end. */
void mapping_remove(struct carrier *c, u64 gfn, u64 pages);
/* Gives held pages back; Xen has destroyed the carrier. */
void mapping_release(struct carrier *c);

/* ---- owner.c ----------------------------------------------------------------- */

enum owner_state {
	OWNER_DOM0,
	OWNER_QUARANTINE,
	OWNER_CARRIER,
	OWNER_STUCK,		/* in a carrier that Xen did not take it from */
	OWNER_STRANDED,		/* in quarantine, while the kernel believes dom0 has it */
	OWNER_STATES
};

struct vector {
	int pirq;		/* negative: none */
	u32 port;		/* 0: none */
};

struct xen_device {
	struct list_head link;
	struct pci_dev *pdev;
	struct irq_domain *xen_msi;	/* what the device had before this module */
	bool assigned;			/* bridges are in groups, but never assigned */
	bool managed;			/* its driver does not use the DMA API: vfio-pci */
	bool uncounted;			/* its driver was there before the group */

	enum owner_state state;		/* these two by owner.c, under its lock */
	struct carrier *carrier;

	bool msix;			/* the vectors: of MSI-X, or of MSI */
	bool by_xen;			/* they are dom0's own, by Xen's irq domain */
	unsigned int vector_count;
	struct vector *vectors;
};

int owner_to_quarantine(struct xen_device *d);
int owner_to_carrier(struct xen_device *d, struct carrier *c);
void owner_to_dom0(struct xen_device *d);
/* Xen has destroyed the carrier: what was stuck in it is in quarantine. */
void owner_carrier_gone(struct carrier *c);
/* Is any device not dom0's?  They are told. */
bool owner_busy(void);
void owner_add(struct xen_device *d);
void owner_remove(struct xen_device *d);

/* ---- vectors.c --------------------------------------------------------------- */

int vectors_init(void);
void vectors_exit(void);
extern struct irq_domain *vectors_domain;
/* Maps the device's messages to pirqs, while dom0 has it. */
void vectors_reserve(struct xen_device *d);
void vectors_unreserve(struct xen_device *d);
/* MSI-X's function mask, with which Xen refuses to assign a device. */
void vectors_clear_maskall(struct pci_dev *pdev);

/* ---- firmware.c -------------------------------------------------------------- */

/* Address bits of the IOMMU. */
unsigned int firmware_width(void);
bool firmware_is_amd(void);
void firmware_reserved(struct pci_dev *pdev, struct list_head *regions);

/* ---- device.c, domain.c, main.c ---------------------------------------------- */

extern struct iommu_device xen_iommu;
extern bool closing;		/* no device is given out any more */
struct iommu_device *device_probe(struct device *dev);
void device_release(struct device *dev);
struct iommu_group *device_group(struct device *dev);
void device_reserved(struct device *dev, struct list_head *regions);
int device_domain_type(struct device *dev);
bool device_is_managed(struct device *dev);
void device_count_drivers(bool come);
int device_watch(void);
void device_unwatch(void);
/* Is there a driver that came while this module was there and must go before it?  Told. */
bool device_busy(void);

extern struct iommu_domain identity_domain, blocked_domain;
extern const struct iommu_domain_ops carrier_domain_ops;
struct iommu_domain *domain_alloc(struct device *dev);

#endif
