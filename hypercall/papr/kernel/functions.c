// SPDX-License-Identifier: GPL-2.0
/*
 * PCI functions: taken from the kernel with the window that they share, and given back.
 *
 * A window is that of all functions behind it.  A claim binds this driver to each of
 * them, so that no other can get in; only those that were asked for are `claimed`.
 *
 * iommu_device_claim_dma_owner() is not for us: since 6.11 it takes the default window
 * from the hypervisor for the sake of VFIO, which makes its own.  A driver that does not
 * manage DMA itself is a user of the group's default domain, which keeps VFIO off.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/mutex.h>
#include <linux/of.h>
#include <linux/pci.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include <asm/hvcall.h>

#include "papr.h"

/* Of a window: its slots take 8 bytes each.  64 GiB of 4 KiB pages. */
#define MAX_ENTRIES (1ull << 24)

static DEFINE_MUTEX(claim_lock);	/* one claim or release at a time */
static struct function *claiming;	/* whose probe() is wanted */

static int papr_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct function *fn = READ_ONCE(claiming);

	/* Bound by a claim only. */
	if (!fn || fn->pdev != pdev)
		return -ENODEV;
	pci_set_drvdata(pdev, fn);
	return 0;
}

/* Stops a function: no DMA of it afterwards, no interrupts.  With owner->lock. */
static void stop_function(struct owner *o, struct function *fn)
{
	struct window *w = fn->window;

	if (!fn->claimed)
		return;
	pci_clear_master(fn->pdev);
	if (w->claimed == 1)
		papr_clear_window(o, w);
	w->claimed--;
	fn->claimed = false;
	papr_free_vectors(o, fn);
}

/* The function goes (hot unplug), or release_window() is at work, which is done with it. */
static void papr_remove(struct pci_dev *pdev)
{
	struct function *fn = pci_get_drvdata(pdev);

	if (!fn)
		return;
	mutex_lock(&fn->owner->lock);
	stop_function(fn->owner, fn);
	if (fn->enabled)
		pci_disable_device(pdev);
	fn->enabled = false;
	fn->gone = true;
	mutex_unlock(&fn->owner->lock);
}

/* Any; no MODULE_DEVICE_TABLE, so that none asks for this module. */
static const struct pci_device_id papr_ids[] = {
	{ PCI_DEVICE(PCI_ANY_ID, PCI_ANY_ID) },
	{}
};

struct pci_driver papr_driver = {
	.name = DRIVER_NAME,
	.id_table = papr_ids,
	.probe = papr_probe,
	.remove = papr_remove,
	.driver = {
		/* Who wants a function back ends the program. */
		.suppress_bind_attrs = true,
	},
};

static u64 read_cells(const __be32 **at, int *left, int cells)
{
	u64 value = 0;

	for (; cells > 0 && *left > 0; cells--, --*left)
		value = value << 32 | be32_to_cpup((*at)++);
	return value;
}

/* The node with the window of a function (PAPR: "ibm,dma-window"), with a reference. */
static struct device_node *find_pe(struct pci_dev *pdev)
{
	struct device_node *node = of_node_get(pci_device_to_OF_node(pdev));

	while (node && !of_find_property(node, "ibm,dma-window", NULL) &&
	       !of_find_property(node, "linux,direct64-ddr-window-info", NULL) &&
	       !of_find_property(node, "linux,dma64-ddr-window-info", NULL))
		node = of_get_next_parent(node);
	return node;
}

static long read_window(struct window *w)
{
	const __be32 *at;
	int left;
	u32 cells;
	u64 bytes;

	/*
	 * A window of the kernel's own has all memory in it, or what its drivers mapped, and the
	 * device could use it.  It is the kernel's to remove.
	 */
	if (of_find_property(w->pe, "linux,direct64-ddr-window-info", NULL) ||
	    of_find_property(w->pe, "linux,dma64-ddr-window-info", NULL)) {
		pr_notice("%pOF: has a dynamic DMA window of a driver that was bound before; boot with disable_ddw\n",
			  w->pe);
		return -EBUSY;
	}
	at = of_get_property(w->pe, "ibm,dma-window", &left);
	if (!at)
		return -ENODEV;
	left /= sizeof(*at);
	w->liobn = read_cells(&at, &left, 1);
	if (of_property_read_u32(w->pe, "ibm,#dma-address-cells", &cells))
		cells = of_n_addr_cells(w->pe);
	w->first = read_cells(&at, &left, cells);
	if (of_property_read_u32(w->pe, "ibm,#dma-size-cells", &cells))
		cells = of_n_size_cells(w->pe);
	bytes = read_cells(&at, &left, cells);
	w->entries = bytes >> TCE_SHIFT;
	if (!w->entries || (w->first & (TCE_BYTES - 1)) || w->first + bytes - 1 < w->first)
		return -ENODEV;
	return 0;
}

/* Gives functions of a window back to the kernel, all stopped before.  With claim_lock. */
static void release_window(struct window *w)
{
	struct function *fn, *next;

	list_for_each_entry_safe(fn, next, &w->functions, node) {
		/* Not all know how; nothing of the program's is left in the window at least. */
		if (!fn->gone)
			pci_try_reset_function(fn->pdev);
		/* Also waits for a papr_remove() that is under way. */
		if (fn->bound)
			device_release_driver(&fn->pdev->dev);
		list_del(&fn->node);
		pci_dev_put(fn->pdev);
		kfree(fn);
	}
	of_node_put(w->pe);
	vfree(w->slots);
	kfree(w);
}

/* Binds this driver to one function.  With claim_lock. */
static long take_function(struct owner *o, struct window *w, struct pci_dev *pdev)
{
	struct function *fn = kzalloc(sizeof(*fn), GFP_KERNEL_ACCOUNT);
	long ret;

	if (!fn)
		return -ENOMEM;
	fn->owner = o;
	fn->window = w;
	fn->pdev = pci_dev_get(pdev);
	/* From here on release_window() undoes it. */
	list_add_tail(&fn->node, &w->functions);
	WRITE_ONCE(claiming, fn);
	ret = device_driver_attach(&papr_driver.driver, &pdev->dev);
	WRITE_ONCE(claiming, NULL);
	if (ret) {
		fn->gone = true;
		/* ENODEV: its driver_override names another driver. */
		return ret == -ENODEV ? -EBUSY : ret;
	}
	fn->bound = true;
	mutex_lock(&o->lock);
	ret = fn->gone ? -ENODEV : pci_enable_device(pdev);
	fn->enabled = !ret;
	if (!ret)
		pci_clear_master(pdev);
	mutex_unlock(&o->lock);
	return ret;
}

/* All functions behind the window, or none. */
static long take_functions(struct owner *o, struct window *w)
{
	struct pci_dev *pdev = NULL;
	long ret = 0;

	for_each_pci_dev(pdev) {
		struct device_node *pe = find_pe(pdev);
		bool ours = pe == w->pe;

		of_node_put(pe);
		if (!ours || pdev->hdr_type != PCI_HEADER_TYPE_NORMAL)
			continue;
		ret = pci_dev_driver(pdev) ? -EBUSY : take_function(o, w, pdev);
		if (ret) {
			pci_dev_put(pdev);
			break;
		}
	}
	return ret;
}

static long check_empty(struct owner *o, struct window *w, u64 *occupied)
{
	u64 i, tce;

	for (i = 0; i < w->entries; i++) {
		if (papr_get_tce(o, w, i, &tce) != H_SUCCESS)
			return -EIO;
		if (tce & (TCE_READ | TCE_WRITE)) {
			*occupied = w->first + (i << TCE_SHIFT);
			return -EEXIST;
		}
		if (i % 1024 == 1023) {
			cond_resched();
			if (fatal_signal_pending(current))
				return -EINTR;
		}
	}
	return 0;
}

static struct window *take_window(struct owner *o, struct device_node *pe,
				  struct pviommu_papr_claim *a)
{
	struct window *w = kzalloc(sizeof(*w), GFP_KERNEL_ACCOUNT);
	u64 done;
	long ret;

	if (!w)
		return ERR_PTR(-ENOMEM);
	INIT_LIST_HEAD(&w->functions);
	w->pe = of_node_get(pe);
	ret = read_window(w);
	if (!ret)
		ret = take_functions(o, w);
	if (!ret) {
		/* Of a huge window the rest is emptied, and then left alone. */
		u64 all = w->entries;

		mutex_lock(&o->lock);
		if (a->flags & PVIOMMU_PAPR_CLAIM_CHECK_EMPTY)
			ret = check_empty(o, w, &a->occupied);
		else if (papr_clear_entries(o, w, 0, all, &done) != H_SUCCESS)
			ret = -EIO;
		mutex_unlock(&o->lock);
		w->entries = min_t(u64, all, MAX_ENTRIES);
	}
	if (!ret) {
		w->slots = __vmalloc(array_size(w->entries, sizeof(*w->slots)),
				     GFP_KERNEL_ACCOUNT | __GFP_ZERO);
		if (!w->slots)
			ret = -ENOMEM;
	}
	if (ret) {
		release_window(w);
		return ERR_PTR(ret);
	}
	mutex_lock(&o->lock);
	list_add_tail(&w->node, &o->windows);
	mutex_unlock(&o->lock);
	return w;
}

static long claim(struct owner *o, struct pci_dev *pdev, struct pviommu_papr_claim *a)
{
	struct device_node *pe;
	struct window *w, *found = NULL;
	struct function *fn;
	long ret = -EBUSY;

	if (pdev->hdr_type != PCI_HEADER_TYPE_NORMAL)
		return -ENODEV;
	pe = find_pe(pdev);
	if (!pe)
		return -ENODEV;
	mutex_lock(&o->lock);
	list_for_each_entry(w, &o->windows, node)
		if (w->pe == pe)
			found = w;
	mutex_unlock(&o->lock);
	if (!found)
		found = take_window(o, pe, a);
	of_node_put(pe);
	if (IS_ERR(found))
		return PTR_ERR(found);

	mutex_lock(&o->lock);
	list_for_each_entry(fn, &found->functions, node) {
		if (fn->pdev != pdev)
			continue;
		ret = fn->gone ? -ENODEV : fn->claimed ? -EBUSY : 0;
		if (!ret) {
			fn->claimed = true;
			found->claimed++;
			a->window.liobn = found->liobn;
			a->window.page_shift = TCE_SHIFT;
			a->window.first = found->first;
			a->window.bytes = found->entries << TCE_SHIFT;
		}
	}
	mutex_unlock(&o->lock);
	return ret;
}

/* Stops a function, and gives the window back after its last one.  With claim_lock. */
static void release(struct owner *o, struct function *fn)
{
	struct window *w = fn->window;

	mutex_lock(&o->lock);
	stop_function(o, fn);
	/* What could not be emptied keeps its pages until the file is closed, and longer. */
	if (w->claimed || w->mapped) {
		mutex_unlock(&o->lock);
		pci_try_reset_function(fn->pdev);
		return;
	}
	list_del(&w->node);
	mutex_unlock(&o->lock);
	release_window(w);
}

struct function *papr_find_function(struct owner *o, u32 sbdf)
{
	struct window *w;
	struct function *fn;

	list_for_each_entry(w, &o->windows, node)
		list_for_each_entry(fn, &w->functions, node)
			if (fn->claimed && sbdf == papr_sbdf(fn->pdev))
				return fn;
	return NULL;
}

static long release_sbdf(struct owner *o, u32 sbdf)
{
	struct function *fn;

	mutex_lock(&claim_lock);
	mutex_lock(&o->lock);
	fn = papr_find_function(o, sbdf);
	mutex_unlock(&o->lock);
	if (fn)
		release(o, fn);
	mutex_unlock(&claim_lock);
	return fn ? 0 : -ENODEV;
}

long papr_do_claim(struct owner *o, struct call *call)
{
	struct pviommu_papr_claim *a = call->argument;
	struct pci_dev *pdev;
	long ret;

	if ((a->flags & ~PVIOMMU_PAPR_CLAIM_CHECK_EMPTY) || a->reserved)
		return -EINVAL;
	pdev = pci_get_domain_bus_and_slot(a->sbdf >> 16, a->sbdf >> 8 & 0xff, a->sbdf & 0xff);
	if (!pdev)
		return -ENODEV;
	if (mutex_lock_killable(&claim_lock)) {
		pci_dev_put(pdev);
		return -EINTR;
	}
	ret = claim(o, pdev, a);
	mutex_unlock(&claim_lock);
	pci_dev_put(pdev);
	/* Without the lock: what happens at user addresses can take as long as it likes. */
	if ((!ret || ret == -EEXIST) && respond(call)) {
		if (!ret)
			release_sbdf(o, a->sbdf);
		ret = -EFAULT;
	}
	return ret;
}

long papr_do_release(struct owner *o, struct call *call)
{
	struct pviommu_papr_release *a = call->argument;

	if (a->flags)
		return -EINVAL;
	return release_sbdf(o, a->sbdf);
}

/*
 * For a file that is closed, by the program or by its end: bus mastering off, entries away,
 * pages free, functions back, in this order.
 */
void papr_release_all(struct owner *o)
{
	struct window *w, *next_window;
	struct function *fn;

	mutex_lock(&claim_lock);
	mutex_lock(&o->lock);
	/* All of them off first: functions behind one window can reach it all. */
	list_for_each_entry(w, &o->windows, node)
		list_for_each_entry(fn, &w->functions, node)
			if (fn->claimed)
				pci_clear_master(fn->pdev);
	list_for_each_entry(w, &o->windows, node)
		list_for_each_entry(fn, &w->functions, node)
			stop_function(o, fn);
	papr_drop_pins(o);
	mutex_unlock(&o->lock);
	list_for_each_entry_safe(w, next_window, &o->windows, node)
		release_window(w);
	mutex_unlock(&claim_lock);
}
