// SPDX-License-Identifier: GPL-2.0
/*
 * Interrupts: MSIs of claimed functions, counted on arrival and handed out by read().
 */
#include <linux/fs.h>
#include <linux/interrupt.h>
#include <linux/pci.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "papr.h"

static irqreturn_t arrived(int irq, void *data)
{
	struct vector *v = data;
	struct owner *o = v->function->owner;
	unsigned long flags;

	spin_lock_irqsave(&o->irq_lock, flags);
	v->count++;
	if (list_empty(&v->node))
		list_add_tail(&v->node, &o->pending);
	spin_unlock_irqrestore(&o->irq_lock, flags);
	wake_up_interruptible(&o->wait);
	return IRQ_HANDLED;
}

void papr_free_vectors(struct owner *o, struct function *fn)
{
	unsigned int i;

	if (!fn->vectors)
		return;
	for (i = 0; i < fn->count; i++)
		free_irq(pci_irq_vector(fn->pdev, i), &fn->vectors[i]);
	pci_free_irq_vectors(fn->pdev);
	mutex_lock(&o->read_lock);
	spin_lock_irq(&o->irq_lock);
	for (i = 0; i < fn->count; i++)
		list_del_init(&fn->vectors[i].node);
	spin_unlock_irq(&o->irq_lock);
	kfree(fn->vectors);
	fn->vectors = NULL;
	fn->count = 0;
	mutex_unlock(&o->read_lock);
}

static long allocate_vectors(struct owner *o, struct function *fn, u32 kind, u32 asked)
{
	int granted, i, ret = 0;

	if (fn->vectors)
		return -EBUSY;
	granted = pci_alloc_irq_vectors(fn->pdev, 1, asked,
					kind == PVIOMMU_PAPR_MSI ? PCI_IRQ_MSI : PCI_IRQ_MSIX);
	if (granted < 0)
		return granted;
	fn->vectors = kcalloc(granted, sizeof(*fn->vectors), GFP_KERNEL_ACCOUNT);
	if (!fn->vectors) {
		pci_free_irq_vectors(fn->pdev);
		return -ENOMEM;
	}
	for (i = 0; i < granted; i++) {
		struct vector *v = &fn->vectors[i];

		v->function = fn;
		v->index = i;
		INIT_LIST_HEAD(&v->node);
	}
	for (fn->count = 0; fn->count < granted; fn->count++) {
		ret = request_irq(pci_irq_vector(fn->pdev, fn->count), arrived, 0, DRIVER_NAME,
				  &fn->vectors[fn->count]);
		if (ret)
			break;
	}
	if (ret) {
		papr_free_vectors(o, fn);
		return ret;
	}
	return granted;
}

long papr_do_vectors(struct owner *o, struct call *call)
{
	struct pviommu_papr_vectors *a = call->argument;
	struct function *fn;
	long ret;

	if (a->flags || a->count > PVIOMMU_PAPR_MAX_VECTORS ||
	    (a->count ? a->kind != PVIOMMU_PAPR_MSI && a->kind != PVIOMMU_PAPR_MSIX : a->kind != 0))
		return -EINVAL;
	mutex_lock(&o->lock);
	fn = papr_find_function(o, a->sbdf);
	if (!fn || fn->gone) {
		ret = -ENODEV;
	} else if (!a->count) {
		papr_free_vectors(o, fn);
		ret = 0;
	} else {
		ret = allocate_vectors(o, fn, a->kind, a->count);
		if (ret > 0) {
			a->count = ret;
			ret = respond(call);
			if (ret)
				papr_free_vectors(o, fn);
		}
	}
	mutex_unlock(&o->lock);
	return ret;
}

#define ARRIVALS_AT_ONCE 16

/* Takes what has arrived; with read_lock, so that the vectors stay. */
static ssize_t take_arrivals(struct owner *o, char __user *to, size_t room)
{
	struct pviommu_papr_arrival out[ARRIVALS_AT_ONCE];
	struct vector *taken[ARRIVALS_AT_ONCE], *v;
	size_t n = 0;

	room = min_t(size_t, room, ARRIVALS_AT_ONCE);
	spin_lock_irq(&o->irq_lock);
	while (n < room && !list_empty(&o->pending)) {
		v = list_first_entry(&o->pending, struct vector, node);
		list_del_init(&v->node);
		taken[n] = v;
		out[n].sbdf = papr_sbdf(v->function->pdev);
		out[n].vector = v->index;
		out[n].count = v->count;
		v->count = 0;
		n++;
	}
	spin_unlock_irq(&o->irq_lock);
	if (!copy_to_user(to, out, n * sizeof(out[0])))
		return n * sizeof(out[0]);
	spin_lock_irq(&o->irq_lock);
	while (n-- > 0) {
		taken[n]->count += out[n].count;
		if (list_empty(&taken[n]->node))
			list_add(&taken[n]->node, &o->pending);
	}
	spin_unlock_irq(&o->irq_lock);
	return -EFAULT;
}

ssize_t papr_read(struct file *file, char __user *to, size_t size, loff_t *pos)
{
	struct owner *o = file->private_data;
	ssize_t got;

	if (size < sizeof(struct pviommu_papr_arrival))
		return -EINVAL;
	for (;;) {
		if (mutex_lock_interruptible(&o->read_lock))
			return -ERESTARTSYS;
		got = take_arrivals(o, to, size / sizeof(struct pviommu_papr_arrival));
		mutex_unlock(&o->read_lock);
		if (got)
			return got;
		if (file->f_flags & O_NONBLOCK)
			return -EAGAIN;
		if (wait_event_interruptible(o->wait, !list_empty_careful(&o->pending)))
			return -ERESTARTSYS;
	}
}

__poll_t papr_poll(struct file *file, poll_table *table)
{
	struct owner *o = file->private_data;

	poll_wait(file, &o->wait, table);
	return list_empty_careful(&o->pending) ? 0 : EPOLLIN | EPOLLRDNORM;
}
