// SPDX-License-Identifier: GPL-2.0
/*
 * What the kernel asks of a PCI device: whether this IOMMU has it, its group, what it must not
 * map.  And whose interrupts it has: those of a driver of dom0's are Xen's as before, those of a
 * driver like vfio-pci go through vectors.c.
 */
#include <linux/err.h>
#include <linux/msi.h>
#include <linux/slab.h>

#include "pviommu_xen.h"

#define MSI_WINDOW	0xfee00000
#define MSI_WINDOW_SIZE	0x100000

/* A driver like vfio-pci, which does not use the DMA API. */
bool device_is_managed(struct device *dev)
{
	return dev->driver && to_pci_driver(dev->driver)->driver_managed_dma;
}

struct iommu_device *device_probe(struct device *dev)
{
	struct xen_device *d;

	/* An untrusted one (Thunderbolt) would need a DMA API domain of the IOMMU. */
	if (!dev_is_pci(dev) || to_pci_dev(dev)->untrusted)
		return ERR_PTR(-ENODEV);
	d = kzalloc(sizeof(*d), GFP_KERNEL);
	if (!d)
		return ERR_PTR(-ENOMEM);
	d->pdev = to_pci_dev(dev);
	d->assigned = d->pdev->hdr_type == PCI_HEADER_TYPE_NORMAL &&
		      d->pdev->class >> 8 != PCI_CLASS_BRIDGE_HOST;
	d->uncounted = dev->driver && !device_is_managed(dev);
	d->xen_msi = dev_get_msi_domain(dev);
	if (!dev->driver || device_is_managed(dev))
		dev_set_msi_domain(dev, vectors_domain);
	dev_iommu_priv_set(dev, d);
	owner_add(d);
	return &xen_iommu;
}

void device_release(struct device *dev)
{
	struct xen_device *d = dev_iommu_priv_get(dev);

	owner_remove(d);
	dev_set_msi_domain(dev, d->xen_msi);
	dev_iommu_priv_set(dev, NULL);
	kfree(d);
}

struct iommu_group *device_group(struct device *dev)
{
	return pci_device_group(dev);
}

void device_reserved(struct device *dev, struct list_head *regions)
{
	struct iommu_resv_region *region;

	firmware_reserved(to_pci_dev(dev), regions);
	region = iommu_alloc_resv_region(MSI_WINDOW, MSI_WINDOW_SIZE,
					 IOMMU_WRITE | IOMMU_NOEXEC | IOMMU_MMIO,
					 IOMMU_RESV_MSI, GFP_KERNEL);
	if (region)
		list_add_tail(&region->list, regions);
}

/* dom0's drivers translate for Xen themselves; nobody may ask for another type. */
int device_domain_type(struct device *dev)
{
	return IOMMU_DOMAIN_IDENTITY;
}

/* ---- drivers come and go ------------------------------------------------------ */

static struct xen_device *of_device(struct device *dev)
{
	return dev->iommu && dev->iommu->iommu_dev == &xen_iommu ? dev_iommu_priv_get(dev) : NULL;
}

/*
 * The MSI domain is copied when a driver first asks for interrupts, so it is set before the
 * driver's probe, and again when the driver has gone.
 */
static int driver_event(struct notifier_block *nb, unsigned long event, void *data)
{
	struct device *dev = data;
	struct xen_device *d = of_device(dev);

	if (!d)
		return NOTIFY_DONE;
	switch (event) {
	case BUS_NOTIFY_BIND_DRIVER:
		d->managed = device_is_managed(dev);
		dev_set_msi_domain(dev, d->managed ? vectors_domain : d->xen_msi);
		/* One that Xen did not give back is tried again. */
		if (!d->managed)
			owner_to_dom0(d);
		break;
	case BUS_NOTIFY_DRIVER_NOT_BOUND:
	case BUS_NOTIFY_UNBOUND_DRIVER:
		d->managed = false;
		dev_set_msi_domain(dev, vectors_domain);
		break;
	}
	return NOTIFY_DONE;
}

static struct notifier_block driver_notifier = {
	.notifier_call = driver_event,
};

int device_watch(void)
{
	return bus_register_notifier(&pci_bus_type, &driver_notifier);
}

void device_unwatch(void)
{
	bus_unregister_notifier(&pci_bus_type, &driver_notifier);
}

bool device_busy(void)
{
	struct pci_dev *pdev = NULL;
	bool busy = false;

	for_each_pci_dev(pdev) {
		struct xen_device *d;

		/* Waits for a probe that is under way; one that comes later fails (closing). */
		device_lock(&pdev->dev);
		d = of_device(&pdev->dev);
		if (d && d->managed) {
			pci_notice(pdev, "its driver has to be unbound first\n");
			busy = true;
		}
		device_unlock(&pdev->dev);
	}
	return busy;
}

/*
 * The core counts the drivers of a group that use the DMA API, so that VFIO does not claim it beside
 * them: when such a driver comes and when it goes.  Those that were there before the group are
 * counted here, by the way of the bus that does it for others; and all are counted off before the
 * groups go.
 */
void device_count_drivers(bool come)
{
	struct pci_dev *pdev = NULL;

	for_each_pci_dev(pdev) {
		struct device *dev = &pdev->dev;
		struct xen_device *d;

		device_lock(dev);
		d = of_device(dev);
		if (d && dev->driver && !device_is_managed(dev)) {
			if (!come)
				pci_bus_type.dma_cleanup(dev);
			else if (d->uncounted && pci_bus_type.dma_configure(dev))
				pci_warn(pdev, "its driver is not counted as a user of its group\n");
			d->uncounted = false;
		}
		device_unlock(dev);
	}
}
