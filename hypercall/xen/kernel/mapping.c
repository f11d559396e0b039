// SPDX-License-Identifier: GPL-2.0
/*
 * Pages of a carrier.
 *
 *      add:     table filled -> pieces -> multicalls of Xen          an error: all taken back
 *      remove:  pieces of the table -> multicalls of Xen -> table emptied
 *
 * A piece is a run of frames in a row, at most what Xen changes in one call.  Scattered frames
 * make many pieces, and up to BATCH_CALLS of them go in one multicall.
 *
 * Xen takes no reference to a page that it maps.  VFIO unpins a page as soon as it was unmapped,
 * so a page that Xen may still have is held here, with a reference, until its carrier is gone.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/minmax.h>
#include <linux/mm.h>

#include <asm/xen/hypercall.h>
#include <asm/xen/page.h>
#include <xen/interface/xen.h>

#include "pviommu_xen.h"

#define REMOVE_TRIES 3

/*
 * The machine's frame of one of dom0's, or a negative errno.  Frames of other domains that dom0
 * has mapped by grant or by privilege are theirs: no device of a dom0 user may write there.
 */
static s64 mfn_of(u64 pfn)
{
	unsigned long mfn = __pfn_to_mfn(pfn);

	if (mfn == INVALID_P2M_ENTRY)
		return -EFAULT;
	if (mfn & FOREIGN_FRAME_BIT)
		return -EPERM;
	return mfn & ~IDENTITY_FRAME_BIT;
}

/* Frames that are no RAM, such as the BAR of another device: above RAM each needs a permission. */
static bool is_identity(u64 pfn)
{
	unsigned long mfn = __pfn_to_mfn(pfn);

	return mfn != INVALID_P2M_ENTRY && !(mfn & FOREIGN_FRAME_BIT) && (mfn & IDENTITY_FRAME_BIT);
}

/* ---- the table ----------------------------------------------------------------- */

static void table_empty(struct carrier *c, u64 gfn, u64 pages)
{
	XA_STATE(xas, &c->pages, gfn);
	void *entry;

	if (!pages)
		return;
	xas_lock(&xas);
	xas_for_each(&xas, entry, gfn + pages - 1) {
		if (!xas_get_mark(&xas, HELD))
			xas_store(&xas, NULL);
	}
	xas_unlock(&xas);
}

static int table_fill(struct carrier *c, u64 gfn, u64 pfn, u64 pages, gfp_t gfp)
{
	XA_STATE(xas, &c->pages, gfn);
	u64 done = 0;

	do {
		xas_lock(&xas);
		for (; done < pages; done++) {
			xas_set(&xas, gfn + done);
			xas_store(&xas, xa_mk_value(pfn + done));
			if (xas_error(&xas))
				break;
		}
		xas_unlock(&xas);
	} while (xas_nomem(&xas, gfp));
	if (!xas_error(&xas))
		return 0;
	table_empty(c, gfn, done);
	return xas_error(&xas);
}

static void hold(struct carrier *c, u64 gfn, u64 pages)
{
	XA_STATE(xas, &c->pages, gfn);
	void *entry;

	if (!pages)
		return;
	xas_lock(&xas);
	xas_for_each(&xas, entry, gfn + pages - 1) {
		unsigned long pfn = xa_to_value(entry);

		if (xas_get_mark(&xas, HELD))
			continue;
		if (!is_identity(pfn) && pfn_valid(pfn))
			get_page(pfn_to_page(pfn));
		xas_set_mark(&xas, HELD);
		atomic64_inc(&counters.held_pages);
	}
	xas_unlock(&xas);
}

static void let_go(unsigned long pfn)
{
	if (!is_identity(pfn) && pfn_valid(pfn))
		put_page(pfn_to_page(pfn));
	atomic64_dec(&counters.held_pages);
}

void mapping_release(struct carrier *c)
{
	unsigned long index;
	void *entry;

	xa_for_each_marked(&c->pages, index, entry, HELD)
		let_go(xa_to_value(entry));
}

/* ---- pieces -------------------------------------------------------------------- */

static void fill(struct domctl *op, const struct piece *piece, bool add)
{
	op->memory_mapping.first_gfn = piece->gfn + piece->done;
	op->memory_mapping.first_mfn = piece->mfn + piece->done;
	op->memory_mapping.nr_mfns = piece->pages - piece->done;
	op->memory_mapping.add_mapping = add ? MAPPING_ADD : MAPPING_REMOVE;
}

/* The rest of a piece.  Xen does it in parts, and may need memory for page tables. */
static int finish(struct carrier *c, struct piece *piece, bool add)
{
	struct domctl op = {};

	while (piece->done < piece->pages) {
		long did;

		fill(&op, piece, add);
		did = hypercall_domctl(&op, DOMCTL_MEMORY_MAPPING, c->domid);
		if (add && did == -ENOMEM && !carrier_grow_pool(c))
			continue;
		if (did < 0)
			return did;
		piece->done = did ? min_t(u64, piece->done + did, piece->pages) : piece->pages;
	}
	return 0;
}

static int remove_piece(struct carrier *c, struct piece *piece)
{
	unsigned int again;
	int ret = 0;

	for (again = 0; again < REMOVE_TRIES; again++) {
		ret = finish(c, piece, false);
		/* The domain is gone, and what it mapped with it. */
		if (ret == -ESRCH) {
			piece->done = piece->pages;
			ret = 0;
		}
		if (!ret)
			break;
	}
	return ret;
}

/*
 * Sends the batch once, and what of each piece was done is in it.  0, or an errno when the
 * multicall itself failed: then nobody knows what was done.
 */
static int send(struct carrier *c, bool add)
{
	struct batch *batch = c->batch;
	unsigned int i;
	int ret;

	for (i = 0; i < batch->count; i++) {
		fill(&batch->ops[i], &batch->pieces[i], add);
		hypercall_member(&batch->calls[i], &batch->ops[i], DOMCTL_MEMORY_MAPPING, c->domid);
	}
	ret = hypercall_multicall(batch->calls, batch->count);
	if (ret)
		return ret;
	for (i = 0; i < batch->count; i++) {
		struct piece *piece = &batch->pieces[i];
		long did = batch->calls[i].result;

		if (did >= 0)
			piece->done = did ? min_t(u64, did, piece->pages) : piece->pages;
	}
	return 0;
}

/* What the calls of the batch did not do, one by one; stops at the first error of an add. */
static int add_rest(struct carrier *c)
{
	struct batch *batch = c->batch;
	unsigned int i;
	int ret;

	for (i = 0; i < batch->count; i++) {
		if (batch->pieces[i].done == batch->pieces[i].pages)
			continue;
		if (batch->count > 1) {
			long did = batch->calls[i].result;

			/* Out of memory for tables is the one error that is worth another try. */
			if (did < 0 && did != -ENOMEM)
				return did;
		}
		ret = finish(c, &batch->pieces[i], true);
		if (ret)
			return ret;
	}
	return 0;
}

static void remove_or_hold(struct carrier *c, struct piece *piece)
{
	int ret = remove_piece(c, piece);

	table_empty(c, piece->gfn, piece->done);
	if (!ret)
		return;
	hold(c, piece->gfn + piece->done, piece->pages - piece->done);
	pr_err_ratelimited("Xen does not remove %u pages at gfn %#llx of carrier %u: %d; they are held until it is gone\n",
			   piece->pages - piece->done, piece->gfn + piece->done, c->domid, ret);
}

static void remove_batch(struct carrier *c)
{
	struct batch *batch = c->batch;
	unsigned int i;

	/* What is not done after the multicall is done one by one. */
	if (batch->count > 1)
		send(c, false);
	for (i = 0; i < batch->count; i++)
		remove_or_hold(c, &batch->pieces[i]);
	batch->count = 0;
}

/* Appends a page to the batch; false when it is full. */
static bool append(struct batch *batch, u64 gfn, u64 mfn)
{
	struct piece *last = batch->count ? &batch->pieces[batch->count - 1] : NULL;

	if (last && last->pages < BATCH_PAGES && last->gfn + last->pages == gfn &&
	    last->mfn + last->pages == mfn) {
		last->pages++;
		return true;
	}
	if (batch->count == BATCH_CALLS)
		return false;
	batch->pieces[batch->count++] = (struct piece){ .gfn = gfn, .mfn = mfn, .pages = 1 };
	return true;
}

/* ---- add and remove -------------------------------------------------------------- */

/* Called with the lock. */
static void remove_range(struct carrier *c, u64 gfn, u64 pages)
{
	unsigned long index = gfn;
	void *entry;

	if (!pages)
		return;
	c->batch->count = 0;
	xa_for_each_range(&c->pages, index, entry, gfn, gfn + pages - 1) {
		s64 mfn = mfn_of(xa_to_value(entry));

		/* It was looked up when it was mapped, and pinned pages keep their frame. */
		if (WARN_ON_ONCE(mfn < 0)) {
			hold(c, index, 1);
			continue;
		}
		if (append(c->batch, index, mfn))
			continue;
		remove_batch(c);
		append(c->batch, index, mfn);
	}
	remove_batch(c);
}

void mapping_remove(struct carrier *c, u64 gfn, u64 pages)
{
	mutex_lock(&c->lock);
	remove_range(c, gfn, pages);
	mutex_unlock(&c->lock);
	atomic64_sub(pages, &counters.mapped_pages);
}

/* What of the batch was done, or may have been when @unknown, is taken back. */
static void undo_batch(struct carrier *c, bool unknown)
{
	struct batch *batch = c->batch;
	unsigned int count = batch->count, i;

	memcpy(batch->failed, batch->pieces, count * sizeof(batch->pieces[0]));
	for (i = 0; i < count; i++) {
		struct piece *piece = &batch->failed[i];

		if (!unknown)
			piece->pages = piece->done;
		piece->done = 0;
		remove_or_hold(c, piece);
	}
	batch->count = 0;
}

/* Sends the batch for an add; on an error nothing of it is left in Xen. */
static int add_batch(struct carrier *c)
{
	int ret = 0;

	if (!c->batch->count)
		return 0;
	if (c->batch->count > 1) {
		ret = send(c, true);
		if (ret) {
			undo_batch(c, true);
			return ret;
		}
	}
	ret = add_rest(c);
	if (ret)
		undo_batch(c, false);
	else
		c->batch->count = 0;
	/* What a test made fail. */
	return ret == -ENOSYS ? -EIO : ret;
}

/* A held page is in the way of another: a last try to get rid of it. */
static int make_room(struct carrier *c, u64 gfn, u64 pages)
{
	unsigned long index = gfn;
	void *entry;

	if (!xa_find(&c->pages, &index, gfn + pages - 1, XA_PRESENT))
		return 0;
	xa_for_each_range(&c->pages, index, entry, gfn, gfn + pages - 1) {
		struct piece piece = { .gfn = index, .mfn = mfn_of(xa_to_value(entry)), .pages = 1 };

		if (!xa_get_mark(&c->pages, index, HELD))
			return -EEXIST;
		if (remove_piece(c, &piece))
			return -EBUSY;
		xa_erase(&c->pages, index);
		let_go(xa_to_value(entry));
	}
	return 0;
}

/* Of frames that are no RAM, from @first of @pages on: the right to those above RAM. */
static int permit_run(struct carrier *c, u64 pfn, u64 first, u64 pages, u64 *end)
{
	u64 i = first;

	while (i < pages && is_identity(pfn + i))
		i++;
	*end = i;
	return pfn + first < carrier_ram_end() ? 0 : carrier_permit(c, pfn + first, i - first);
}

int mapping_add(struct carrier *c, u64 gfn, u64 pfn, u64 pages, gfp_t gfp)
{
	u64 sent = 0, permitted = 0, i;
	int ret;

	mutex_lock(&c->lock);
	ret = make_room(c, gfn, pages);
	if (!ret)
		ret = table_fill(c, gfn, pfn, pages, gfp);
	if (ret)
		goto unlock;
	c->batch->count = 0;
	for (i = 0; i < pages; i++) {
		s64 mfn = mfn_of(pfn + i);

		if (mfn < 0) {
			ret = mfn;
			break;
		}
		if (i >= permitted && is_identity(pfn + i)) {
			ret = permit_run(c, pfn, i, pages, &permitted);
			if (ret)
				break;
		}
		if (append(c->batch, gfn + i, mfn))
			continue;
		ret = add_batch(c);
		if (ret)
			break;
		sent = i;
		append(c->batch, gfn + i, mfn);
	}
	if (!ret)
		ret = add_batch(c);
	if (ret) {
		c->batch->count = 0;
		remove_range(c, gfn, sent);
		table_empty(c, gfn, pages);
	} else {
		atomic64_add(pages, &counters.mapped_pages);
	}
unlock:
	mutex_unlock(&c->lock);
	return ret;
}
