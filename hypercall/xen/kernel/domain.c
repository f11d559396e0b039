// SPDX-License-Identifier: GPL-2.0
/*
 * The domains of the kernel's IOMMU API:
 *
 *      identity    dom0 has the device, and its drivers use it as without this module
 *      blocked     Xen's quarantine
 *      paging      a carrier
 *
 * VFIO claims a group by the blocked domain and attaches the paging one; on the way back these
 * two calls must not fail, see owner.c.
 */
#include <linux/err.h>
#include <linux/mm.h>

#include "pviommu_xen.h"

static int attach_identity(struct iommu_domain *domain, struct device *dev)
{
	owner_to_dom0(dev_iommu_priv_get(dev));
	return 0;
}

static int attach_blocked(struct iommu_domain *domain, struct device *dev)
{
	struct xen_device *d = dev_iommu_priv_get(dev);

	if (closing && d->state == OWNER_DOM0)
		return -ENODEV;
	return owner_to_quarantine(d);
}

static int attach_carrier(struct iommu_domain *domain, struct device *dev)
{
	return owner_to_carrier(dev_iommu_priv_get(dev), to_carrier(domain));
}

/*
 * Xen maps a page for reading and writing, or not at all.  What is asked for reading is made
 * writable only when it is the program's own, that is anonymous, memory: VFIO's pin has made it
 * exclusive then.  Others' memory, such as the cache of a file that the program may only read, must
 * not become writable by a device.
 */
static bool is_own(phys_addr_t paddr, size_t count)
{
	unsigned long pfn = PHYS_PFN(paddr);

	for (; count; count--, pfn++) {
		if (!pfn_valid(pfn) || !PageAnon(pfn_to_page(pfn)))
			return false;
	}
	return true;
}

static int map_pages(struct iommu_domain *domain, unsigned long iova, phys_addr_t paddr,
		     size_t size, size_t count, int prot, gfp_t gfp, size_t *mapped)
{
	int ret;

	if (!(prot & IOMMU_WRITE)) {
		pr_notice_once(KBUILD_MODNAME ": Xen has no read-only mappings: of memory that is the program's own they are made writable, others are refused\n");
		if (!is_own(paddr, count))
			return -EPERM;
	}
	ret = mapping_add(to_carrier(domain), iova >> PAGE_SHIFT, paddr >> PAGE_SHIFT, count, gfp);
	if (!ret)
		*mapped = size * count;
	return ret;
}

static size_t unmap_pages(struct iommu_domain *domain, unsigned long iova, size_t size,
			  size_t count, struct iommu_iotlb_gather *gather)
{
	mapping_remove(to_carrier(domain), iova >> PAGE_SHIFT, count);
	return size * count;
}

static phys_addr_t iova_to_phys(struct iommu_domain *domain, dma_addr_t iova)
{
	void *entry = xa_load(&to_carrier(domain)->pages, iova >> PAGE_SHIFT);

	return entry ? PFN_PHYS((u64)xa_to_value(entry)) + offset_in_page(iova) : 0;
}

static void free_domain(struct iommu_domain *domain)
{
	carrier_put(to_carrier(domain));
}

struct iommu_domain *domain_alloc(struct device *dev)
{
	struct carrier *c = carrier_create();

	if (IS_ERR(c))
		return ERR_CAST(c);
	c->domain.pgsize_bitmap = PAGE_SIZE;
	c->domain.geometry.aperture_end = BIT_ULL(firmware_width()) - 1;
	c->domain.geometry.force_aperture = true;
	return &c->domain;
}

const struct iommu_domain_ops carrier_domain_ops = {
	.attach_dev = attach_carrier,
	.map_pages = map_pages,
	.unmap_pages = unmap_pages,
	.iova_to_phys = iova_to_phys,
	.free = free_domain,
};

static const struct iommu_domain_ops identity_ops = {
	.attach_dev = attach_identity,
};

static const struct iommu_domain_ops blocked_ops = {
	.attach_dev = attach_blocked,
};

struct iommu_domain identity_domain = {
	.type = IOMMU_DOMAIN_IDENTITY,
	.ops = &identity_ops,
};

struct iommu_domain blocked_domain = {
	.type = IOMMU_DOMAIN_BLOCKED,
	.ops = &blocked_ops,
};
