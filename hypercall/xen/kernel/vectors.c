// SPDX-License-Identifier: GPL-2.0
/*
 * Messages (MSI, MSI-X) of devices that are in a carrier.
 *
 * Xen maps a message to a pirq only while dom0 has the device.  So that the device never goes
 * back to dom0's memory while a program has it, pirqs are mapped ahead:
 *
 *      claim                dom0 has the device: pirqs 0 .. n-1 mapped
 *      vectors on           messages written again, pirq -> event channel -> irq
 *      vectors off          event channels closed
 *      back with dom0       pirqs unmapped
 *
 * For MSI-X as many as the parameter "vectors" says, for a device with MSI alone one.  A program
 * that asks for more is answered how many there are, as on any other system that is short of them.
 * Plain MSI of a device that has MSI-X too is not offered: Xen maps one kind at a time.
 *
 * INTx needs nothing of this: the pirq of a line does not go with the device.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/io.h>
#include <linux/irq.h>
#include <linux/irqdomain.h>
#include <linux/moduleparam.h>
#include <linux/msi.h>
#include <linux/mutex.h>
#include <linux/pm_runtime.h>
#include <linux/slab.h>

#include <xen/events.h>
#include <xen/interface/physdev.h>

#include "pviommu_xen.h"

static unsigned int vectors = 16;
module_param(vectors, uint, 0444);
MODULE_PARM_DESC(vectors, "MSI-X vectors of a device that a program can have (16); Xen and the IOMMU have an entry for each");

/* Of MSI-X's table (PCI 7.7.2), and of its entries. */
#define ENTRY_ADDRESS	0
#define ENTRY_DATA	8

struct irq_domain *vectors_domain;
static struct fwnode_handle *fwnode;
static DEFINE_MUTEX(chip_lock);
static const struct irq_chip *port_chip;	/* Xen's for event channels */
static struct irq_chip eoi_chip;		/* the same, with an end of interrupt */

/* ---- is a device's write to the MSI window checked against what it was given? -------- */

/*
 * Xen does not tell whether it remaps interrupts, but a message that it wrote does.  VT-d marks
 * the format in bit 4 of the address (5.1.2.2).  AMD's data has the index into the device's own
 * table, which begins at 0 (2.2.5), where no vector below 16 can be (Intel SDM 3, 10.11.2).
 */
static bool is_remapped(u32 address, u32 data)
{
	return firmware_is_amd() ? (data & 0x7ff) < 0x10 : address & BIT(4);
}

static void learn_isolation(struct pci_dev *pdev, bool msix)
{
	u32 address = 0, data = 0, table;
	u16 flags, data16;
	void __iomem *entry;

	if (vectors_domain->flags & IRQ_DOMAIN_FLAG_ISOLATED_MSI)
		return;
	if (msix) {
		pci_read_config_dword(pdev, pdev->msix_cap + PCI_MSIX_TABLE, &table);
		entry = ioremap(pci_resource_start(pdev, table & PCI_MSIX_TABLE_BIR) +
				(table & PCI_MSIX_TABLE_OFFSET), PCI_MSIX_ENTRY_SIZE);
		if (!entry)
			return;
		address = readl(entry + ENTRY_ADDRESS);
		data = readl(entry + ENTRY_DATA);
		iounmap(entry);
	} else {
		pci_read_config_word(pdev, pdev->msi_cap + PCI_MSI_FLAGS, &flags);
		pci_read_config_dword(pdev, pdev->msi_cap + PCI_MSI_ADDRESS_LO, &address);
		pci_read_config_word(pdev, pdev->msi_cap +
				     (flags & PCI_MSI_FLAGS_64BIT ? PCI_MSI_DATA_64 : PCI_MSI_DATA_32),
				     &data16);
		data = data16;
	}
	if (address >> 20 != 0xfee || !is_remapped(address, data))
		return;
	vectors_domain->flags |= IRQ_DOMAIN_FLAG_ISOLATED_MSI;
	pr_info("Xen remaps interrupts: devices can send their own only\n");
}

/* ---- mapped ahead -------------------------------------------------------------------- */

static int map_pirq(struct pci_dev *pdev, bool msix, unsigned int entry)
{
	struct physdev_map_pirq map = {
		.domid = DOMID_SELF,
		.type = MAP_PIRQ_TYPE_MSI_SEG,
		.index = -1,
		.pirq = -1,
		.bus = pdev->bus->number | pci_domain_nr(pdev->bus) << 16,
		.devfn = pdev->devfn,
	};
	u32 table;
	int ret;

	if (msix) {
		pci_read_config_dword(pdev, pdev->msix_cap + PCI_MSIX_TABLE, &table);
		map.entry_nr = entry;
		/* Of the BAR; Xen adds the offset. */
		map.table_base = pci_resource_start(pdev, table & PCI_MSIX_TABLE_BIR);
	}
	ret = hypercall_physdev(PHYSDEVOP_map_pirq, &map);
	return ret ?: map.pirq;
}

static void unmap_pirq(struct xen_device *d, int pirq)
{
	struct physdev_unmap_pirq unmap = { .domid = DOMID_SELF, .pirq = pirq };
	int ret = hypercall_physdev(PHYSDEVOP_unmap_pirq, &unmap);

	if (ret)
		ret = hypercall_physdev(PHYSDEVOP_unmap_pirq, &unmap);
	if (ret)
		pci_err(d->pdev, "Xen does not unmap pirq %d: %d; it is lost until the next boot\n", pirq, ret);
}

void vectors_clear_maskall(struct pci_dev *pdev)
{
	u16 control;

	if (!pdev->msix_cap)
		return;
	pci_read_config_word(pdev, pdev->msix_cap + PCI_MSIX_FLAGS, &control);
	if (control & PCI_MSIX_FLAGS_MASKALL)
		pci_write_config_word(pdev, pdev->msix_cap + PCI_MSIX_FLAGS,
				      control & ~PCI_MSIX_FLAGS_MASKALL);
}

/*
 * As firmware leaves them: off, and no address in MSI's registers, which a program reads.  What
 * is written here again when vectors are bound comes from Xen.
 */
static void messages_off(struct pci_dev *pdev, bool msix)
{
	u16 control, at = msix ? pdev->msix_cap + PCI_MSIX_FLAGS : pdev->msi_cap + PCI_MSI_FLAGS;

	pci_read_config_word(pdev, at, &control);
	control &= msix ? ~(PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL) : ~PCI_MSI_FLAGS_ENABLE;
	pci_write_config_word(pdev, at, control);
	if (msix)
		return;
	pci_write_config_dword(pdev, pdev->msi_cap + PCI_MSI_ADDRESS_LO, 0);
	if (control & PCI_MSI_FLAGS_64BIT) {
		pci_write_config_dword(pdev, pdev->msi_cap + PCI_MSI_ADDRESS_HI, 0);
		pci_write_config_word(pdev, pdev->msi_cap + PCI_MSI_DATA_64, 0);
	} else {
		pci_write_config_word(pdev, pdev->msi_cap + PCI_MSI_DATA_32, 0);
	}
}

void vectors_reserve(struct xen_device *d)
{
	struct pci_dev *pdev = d->pdev;
	unsigned int wanted, i;
	int pirq = 0;
	u16 command;

	if (!d->managed || !d->assigned || pdev->msi_enabled || pdev->msix_enabled)
		return;
	d->msix = pdev->msix_cap;
	if (d->msix) {
		u16 control;

		pci_read_config_word(pdev, pdev->msix_cap + PCI_MSIX_FLAGS, &control);
		wanted = min_t(unsigned int, (control & PCI_MSIX_FLAGS_QSIZE) + 1, vectors);
	} else {
		wanted = pdev->msi_cap ? 1 : 0;
	}
	if (!wanted)
		return;
	d->vectors = kcalloc(wanted, sizeof(*d->vectors), GFP_KERNEL);
	if (!d->vectors)
		return;
	if (pm_runtime_resume_and_get(&pdev->dev) < 0)
		goto free;
	/* Xen writes the messages, in a BAR. */
	pci_read_config_word(pdev, PCI_COMMAND, &command);
	pci_write_config_word(pdev, PCI_COMMAND, command | PCI_COMMAND_MEMORY);
	for (i = 0; i < wanted; i++) {
		pirq = map_pirq(pdev, d->msix, i);
		if (pirq < 0)
			break;
		d->vectors[i].pirq = pirq;
	}
	d->vector_count = i;
	if (i)
		learn_isolation(pdev, d->msix);
	messages_off(pdev, d->msix);
	pci_write_config_word(pdev, PCI_COMMAND, command);
	pm_runtime_put(&pdev->dev);
	if (i < wanted)
		pci_warn(pdev, "%u of %u interrupt vectors: Xen maps no more: %d\n", i, wanted, pirq);
	if (i)
		return;
free:
	kfree(d->vectors);
	d->vectors = NULL;
	d->vector_count = 0;
}

void vectors_unreserve(struct xen_device *d)
{
	unsigned int i;

	for (i = 0; i < d->vector_count; i++)
		unmap_pirq(d, d->vectors[i].pirq);
	kfree(d->vectors);
	d->vectors = NULL;
	d->vector_count = 0;
}

/* ---- bound ------------------------------------------------------------------------- */

static void unbind(struct vector *vector)
{
	if (!vector->port)
		return;
	/* The last reference: closes the port, and the irq is gone. */
	evtchn_put(vector->port);
	vector->port = 0;
}

/*
 * A message that the device cannot mask is kept by Xen's interrupt controller until it hears of
 * an end of interrupt, as Xen's own chip for pirqs says it: behind the acknowledge.
 */
static void ack_eoi(struct irq_data *data)
{
	struct xen_device *d = dev_iommu_priv_get(irq_data_get_msi_desc(data)->dev);
	struct physdev_eoi eoi = { .irq = d->vectors[0].pirq };

	port_chip->irq_ack(data);
	HYPERVISOR_physdev_op(PHYSDEVOP_eoi, &eoi);
}

static void use_eoi_chip(int irq)
{
	mutex_lock(&chip_lock);
	if (!port_chip) {
		port_chip = irq_get_chip(irq);
		eoi_chip = *port_chip;
		eoi_chip.name = "pviommu-msi";
		eoi_chip.irq_ack = ack_eoi;
		eoi_chip.irq_mask_ack = NULL;	/* the core calls both */
	}
	mutex_unlock(&chip_lock);
	irq_set_chip(irq, &eoi_chip);
}

static int bind(struct xen_device *d, struct msi_desc *desc)
{
	struct vector *vector = &d->vectors[d->msix ? desc->msi_index : 0];
	struct evtchn_bind_pirq bind = { .pirq = vector->pirq };
	int ret, irq;

	ret = hypercall_event_channel(EVTCHNOP_bind_pirq, &bind);
	if (ret)
		return ret;
	irq = bind_evtchn_to_irq(bind.port);
	if (irq < 0) {
		struct evtchn_close close = { .port = bind.port };

		hypercall_event_channel(EVTCHNOP_close, &close);
		return irq;
	}
	evtchn_make_refcounted(bind.port, false);
	vector->port = bind.port;
	/* irq_set_msi_desc() is not exported; VFIO asks for the message by the irq. */
	irq_get_irq_data(irq)->common->msi_desc = desc;
	desc->irq = irq;
	if (!d->msix)
		use_eoi_chip(irq);
	return 0;
}

static struct msi_domain_info *xen_info(struct xen_device *d)
{
	return d->xen_msi->host_data;
}

static int restore_messages(struct pci_dev *pdev)
{
	struct physdev_pci_device device = {
		.seg = pci_domain_nr(pdev->bus), .bus = pdev->bus->number, .devfn = pdev->devfn,
	};

	return hypercall_physdev(PHYSDEVOP_restore_msi_ext, &device);
}

static int vectors_alloc(struct irq_domain *domain, struct device *dev, int count)
{
	struct xen_device *d = dev_iommu_priv_get(dev);
	struct pci_dev *pdev = to_pci_dev(dev);
	struct msi_desc *desc;
	int ret;

	if (d->state == OWNER_DOM0) {
		ret = xen_info(d)->ops->domain_alloc_irqs(d->xen_msi, dev, count);
		d->by_xen = !ret;
		return ret;
	}
	if (!d->vector_count || pdev->msix_enabled != d->msix)
		return -ENOSPC;
	if (count > d->vector_count)
		return d->vector_count;
	/* The device was reset since they were mapped. */
	ret = restore_messages(pdev);
	if (ret)
		return ret;
	msi_for_each_desc(desc, dev, MSI_DESC_NOTASSOCIATED) {
		ret = desc->msi_index < d->vector_count && desc->nvec_used == 1 ? bind(d, desc) : -ENOSPC;
		if (ret)
			return ret;
	}
	return 0;
}

static void vectors_free(struct irq_domain *domain, struct device *dev)
{
	struct xen_device *d = dev_iommu_priv_get(dev);
	struct msi_desc *desc;
	unsigned int i;

	if (d->by_xen) {
		xen_info(d)->ops->domain_free_irqs(d->xen_msi, dev);
		d->by_xen = false;
		return;
	}
	msi_for_each_desc(desc, dev, MSI_DESC_ASSOCIATED)
		desc->irq = 0;
	for (i = 0; i < d->vector_count; i++)
		unbind(&d->vectors[i]);
}

static struct msi_domain_ops vectors_ops = {
	.domain_alloc_irqs = vectors_alloc,
	.domain_free_irqs = vectors_free,
};

static struct msi_domain_info vectors_info = {
	.flags = MSI_FLAG_PCI_MSIX | MSI_FLAG_FREE_MSI_DESCS,
	.hwsize = PCI_MSIX_FLAGS_QSIZE + 1,
	.ops = &vectors_ops,
};

/* Makes it a domain with a hierarchy, which the core's MSI code wants; nobody calls it. */
static int no_alloc(struct irq_domain *domain, unsigned int virq, unsigned int count, void *argument)
{
	return -EOPNOTSUPP;
}

static const struct irq_domain_ops domain_ops = {
	.alloc = no_alloc,
};

/* What dom0's drivers had from Xen when the module came says whether interrupts are remapped. */
static void learn_from_dom0(void)
{
	struct pci_dev *pdev = NULL;

	for_each_pci_dev(pdev) {
		if (pdev->msix_enabled || pdev->msi_enabled)
			learn_isolation(pdev, pdev->msix_enabled);
	}
}

int vectors_init(void)
{
	fwnode = irq_domain_alloc_named_fwnode("pviommu-xen");
	if (!fwnode)
		return -ENOMEM;
	vectors_domain = irq_domain_create_hierarchy(NULL, IRQ_DOMAIN_FLAG_MSI, 0, fwnode,
						     &domain_ops, &vectors_info);
	if (!vectors_domain) {
		irq_domain_free_fwnode(fwnode);
		return -ENOMEM;
	}
	learn_from_dom0();
	return 0;
}

void vectors_exit(void)
{
	irq_domain_remove(vectors_domain);
	irq_domain_free_fwnode(fwnode);
}
