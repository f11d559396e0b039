// SPDX-License-Identifier: GPL-2.0
/*
 * Entries of windows: what the program maps, unmaps and looks at.
 *
 * A slot is what the driver knows of an entry.  It is filled before the hypervisor
 * hears of the page, and emptied only after the hypervisor has emptied the entry: a page
 * that a device can reach is held.  With owner->lock.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/err.h>
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/uaccess.h>

#include <asm/hvcall.h>

#include "papr.h"

/* Their pages are free of them, as far as this window goes. */
static void drop_slots(struct owner *o, struct window *w, u64 entry, u64 count)
{
	u64 i;

	for (i = entry; i < entry + count && w->mapped > 0; i++) {
		struct frame *frame = (struct frame *)(w->slots[i] & ~SLOT_WRITE);

		if (!frame)
			continue;
		frame->mapped--;
		if (w->slots[i] & SLOT_WRITE)
			frame->mapped_write--;
		w->slots[i] = 0;
		w->mapped--;
		o->counts.mapped--;
	}
}

/* No entry, no slot.  When the hypervisor refuses, the pages behind the rest stay. */
void papr_clear_window(struct owner *o, struct window *w)
{
	u64 done;
	long rc = papr_clear_entries(o, w, 0, w->entries, &done);

	drop_slots(o, w, 0, done);
	if (rc != H_SUCCESS)
		pr_err("LIOBN %x: entry %llu cannot be emptied (hcall answers %ld); %llu pages stay pinned for good\n",
		       w->liobn, done, rc, w->mapped);
}

/* The window of `liobn`, and its first entry of `count` from `ioba` on. */
static struct window *find_entries(struct owner *o, u32 liobn, u64 ioba, u64 count, u64 *entry)
{
	struct window *w;

	list_for_each_entry(w, &o->windows, node)
		if (w->liobn == liobn && w->claimed > 0)
			goto found;
	return ERR_PTR(-ENODEV);
found:
	if ((ioba & (TCE_BYTES - 1)) || !count)
		return ERR_PTR(-EINVAL);
	if (ioba < w->first)
		return ERR_PTR(-ERANGE);
	*entry = (ioba - w->first) >> TCE_SHIFT;
	if (*entry >= w->entries || count > w->entries - *entry)
		return ERR_PTR(-ERANGE);
	*entry = array_index_nospec(*entry, w->entries);
	return w;
}

/* Does a call's work on entries: with owner->lock, when they are the program's. */
typedef long (*entry_work)(struct owner *o, struct window *w, u64 entry, struct call *call);

static long on_entries(struct owner *o, u32 liobn, u64 ioba, u64 count, entry_work work,
		       struct call *call)
{
	struct window *w;
	u64 entry;
	long ret;

	mutex_lock(&o->lock);
	w = find_entries(o, liobn, ioba, count, &entry);
	ret = IS_ERR(w) ? PTR_ERR(w) : work(o, w, entry, call);
	mutex_unlock(&o->lock);
	return ret;
}

/* Looks o->tces over, and writes the list. */
static long check_tces(struct owner *o, struct window *w, u64 entry, u32 count)
{
	u32 i;

	for (i = 0; i < count; i++) {
		u64 tce = o->tces[i];
		struct frame *frame;

		if (!(tce & (TCE_READ | TCE_WRITE)) ||
		    (tce & (TCE_BYTES - 1) & ~(TCE_READ | TCE_WRITE)))
			return -EINVAL;
		if (w->slots[entry + i])
			return -EEXIST;
		frame = papr_find_frame(o, tce);
		if (!frame)
			return -EPERM;
		if ((tce & TCE_WRITE) && !frame->writable_pins)
			return -EACCES;
		o->list[i] = cpu_to_be64(tce);
	}
	return 0;
}

static long map_entries(struct owner *o, struct window *w, u64 entry, struct call *call)
{
	struct pviommu_papr_map *a = call->argument;
	u64 done;
	long ret, rc;
	u32 i;

	if (copy_from_user(o->tces, u64_to_user_ptr(a->tces), a->count * sizeof(u64)))
		return -EFAULT;
	ret = check_tces(o, w, entry, a->count);
	if (ret)
		return ret;

	/* Before the hypervisor knows of them: whatever happens, the pages are held. */
	for (i = 0; i < a->count; i++) {
		struct frame *frame = papr_find_frame(o, o->tces[i]);

		frame->mapped++;
		w->slots[entry + i] = (unsigned long)frame;
		if (o->tces[i] & TCE_WRITE) {
			frame->mapped_write++;
			w->slots[entry + i] |= SLOT_WRITE;
		}
	}
	w->mapped += a->count;
	o->counts.mapped += a->count;

	rc = a->count > 1 ? papr_put_tce_indirect(o, w, entry, a->count) : H_FUNCTION;
	if (rc == H_FUNCTION)
		for (i = 0, rc = H_SUCCESS; i < a->count && rc == H_SUCCESS; i++)
			rc = papr_put_tce(o, w, entry + i, o->tces[i]);
	a->rc = rc;
	ret = rc == H_SUCCESS ? 0 : -EIO;
	if (respond(call) && !ret)
		ret = -EFAULT;
	if (ret) {
		/* A list may have been done in part. */
		if (papr_clear_entries(o, w, entry, a->count, &done) != H_SUCCESS)
			pr_err("LIOBN %x: entries cannot be emptied; they count as mapped\n",
			       w->liobn);
		drop_slots(o, w, entry, done);
	}
	return ret;
}

long papr_do_map(struct owner *o, struct call *call)
{
	struct pviommu_papr_map *a = call->argument;

	if (a->flags || a->reserved || !a->count || a->count > PVIOMMU_PAPR_MAX_TCES)
		return -EINVAL;
	return on_entries(o, a->liobn, a->ioba, a->count, map_entries, call);
}

static long unmap_entries(struct owner *o, struct window *w, u64 entry, struct call *call)
{
	struct pviommu_papr_unmap *a = call->argument;

	a->rc = papr_clear_entries(o, w, entry, a->count, &a->done);
	drop_slots(o, w, entry, a->done);
	if (respond(call))
		return -EFAULT;
	return a->rc == H_SUCCESS ? 0 : -EIO;
}

long papr_do_unmap(struct owner *o, struct call *call)
{
	struct pviommu_papr_unmap *a = call->argument;

	if (a->flags)
		return -EINVAL;
	return on_entries(o, a->liobn, a->ioba, a->count, unmap_entries, call);
}

static long get_entry(struct owner *o, struct window *w, u64 entry, struct call *call)
{
	struct pviommu_papr_get_tce *a = call->argument;

	a->rc = papr_get_tce(o, w, entry, &a->tce);
	if (respond(call))
		return -EFAULT;
	return a->rc == H_SUCCESS ? 0 : -EIO;
}

long papr_do_get_tce(struct owner *o, struct call *call)
{
	struct pviommu_papr_get_tce *a = call->argument;

	if (a->flags)
		return -EINVAL;
	return on_entries(o, a->liobn, a->ioba, 1, get_entry, call);
}
