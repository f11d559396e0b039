// SPDX-License-Identifier: GPL-2.0
/*
 * Pins: memory of the program that the kernel holds for DMA, and its pages as frames.
 *
 * Two pins may have the same page; it is one frame, which counts them.  It counts the
 * entries of windows too, so that UNPIN can tell whether another pin still holds what a
 * device can reach.  With owner->lock.
 */
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "papr.h"

static void unpin_page(struct frame *frame, bool dirty)
{
	struct page *page = pfn_to_page(frame->pfn);

	unpin_user_pages_dirty_lock(&page, 1, dirty);
}

/* Gives up the first `count` slots of a pin that no longer count in ->pins. */
static void put_frames(struct owner *o, struct pin *pin, unsigned long count, bool leak)
{
	unsigned long i;

	if (o->cursor == pin)
		o->cursor = NULL;
	for (i = 0; i < count; i++) {
		struct frame *frame = pin->frames[i];

		if (frame->pin == pin)
			frame->pin = NULL;
		if (leak && frame->mapped > 0)
			continue;
		unpin_page(frame, pin->writable);
		if (--frame->refs == 0) {
			xa_erase(&o->frames, frame->pfn);
			kfree(frame);
		}
		if (i % 1024 == 1023)
			cond_resched();
	}
}

/* Enters a page that was just pinned. */
static struct frame *enter_frame(struct owner *o, struct pin *pin, unsigned long index,
				 struct page *page)
{
	unsigned long pfn = page_to_pfn(page);
	struct frame *frame = xa_load(&o->frames, pfn);

	if (!frame) {
		frame = kzalloc(sizeof(*frame), GFP_KERNEL_ACCOUNT);
		if (!frame)
			return NULL;
		frame->pfn = pfn;
		frame->pin = pin;
		frame->index = index;
		if (xa_err(xa_store(&o->frames, pfn, frame, GFP_KERNEL_ACCOUNT))) {
			kfree(frame);
			return NULL;
		}
	}
	frame->pins++;
	frame->refs++;
	if (pin->writable)
		frame->writable_pins++;
	return frame;
}

static void count_pins(struct pin *pin, unsigned long count, long by)
{
	unsigned long i;

	for (i = 0; i < count; i++) {
		pin->frames[i]->pins += by;
		if (pin->writable)
			pin->frames[i]->writable_pins += by;
	}
}

static long fill_pin(struct owner *o, struct pin *pin, unsigned long at)
{
	unsigned int flags = FOLL_LONGTERM | (pin->writable ? FOLL_WRITE : 0);
	struct page **pages;
	unsigned long filled = 0;
	long ret = 0;

	pages = (struct page **)__get_free_page(GFP_KERNEL);
	if (!pages)
		return -ENOMEM;
	while (filled < pin->count) {
		long got, i, entered;

		if (fatal_signal_pending(current)) {
			ret = -EINTR;
			break;
		}
		got = pin_user_pages_fast(at + filled * PAGE_SIZE,
					  min_t(unsigned long, pin->count - filled,
						PAGE_SIZE / sizeof(*pages)),
					  flags, pages);
		if (got <= 0) {
			/* EOVERFLOW: an address that no program has. */
			ret = !got || got == -EOVERFLOW ? -EFAULT : got;
			break;
		}
		for (entered = 0; entered < got; entered++) {
			struct frame *frame = enter_frame(o, pin, filled + entered, pages[entered]);

			if (!frame)
				break;
			pin->frames[filled + entered] = frame;
		}
		filled += entered;
		if (entered < got) {
			for (i = entered; i < got; i++)
				unpin_user_page(pages[i]);
			ret = -ENOMEM;
			break;
		}
		cond_resched();
	}
	free_page((unsigned long)pages);
	if (ret) {
		count_pins(pin, filled, -1);
		put_frames(o, pin, filled, false);
	}
	return ret;
}

static long tell_frames(struct pin *pin, unsigned long offset, u64 bytes, u64 __user *to)
{
	u64 i;

	for (i = 0; i < bytes >> TCE_SHIFT; i++) {
		u64 at = offset + (i << TCE_SHIFT);
		u64 ra = PFN_PHYS(pin->frames[at >> PAGE_SHIFT]->pfn) + (at & ~PAGE_MASK);

		if (put_user(ra, to + i))
			return -EFAULT;
	}
	return 0;
}

long papr_do_pin(struct owner *o, struct call *call)
{
	struct pviommu_papr_pin *a = call->argument;
	unsigned long count, offset;
	struct pin *pin;
	long ret;

	if ((a->flags & ~PVIOMMU_PAPR_PIN_WRITE) || ((a->address | a->bytes) & (TCE_BYTES - 1)) ||
	    !a->bytes || a->address + a->bytes - 1 < a->address)
		return -EINVAL;
	if (a->bytes > PVIOMMU_PAPR_MAX_PIN)
		return -E2BIG;
	if (current->mm != o->mm)
		return -EPERM;
	offset = a->address & ~PAGE_MASK;
	count = (offset + a->bytes + PAGE_SIZE - 1) >> PAGE_SHIFT;

	pin = kvzalloc(struct_size(pin, frames, count), GFP_KERNEL_ACCOUNT);
	if (!pin)
		return -ENOMEM;
	pin->count = count;
	pin->writable = a->flags & PVIOMMU_PAPR_PIN_WRITE;
	ret = account_locked_vm(o->mm, count, true);
	if (ret)
		goto free;
	mutex_lock(&o->lock);
	ret = fill_pin(o, pin, a->address & PAGE_MASK);
	if (ret)
		goto unaccount;
	ret = xa_alloc(&o->pins, &pin->id, pin, XA_LIMIT(1, PVIOMMU_PAPR_MAX_PINS),
		       GFP_KERNEL_ACCOUNT);
	if (ret) {
		ret = ret == -EBUSY ? -ENOSPC : ret;
		goto unpin;
	}
	a->pin = pin->id;
	ret = tell_frames(pin, offset, a->bytes, u64_to_user_ptr(a->frames));
	if (!ret)
		ret = respond(call);
	if (ret) {
		/* Nobody else can have used it, the lock was not free. */
		xa_erase(&o->pins, pin->id);
		goto unpin;
	}
	o->pinned += count;
	mutex_unlock(&o->lock);
	return 0;

unpin:
	count_pins(pin, count, -1);
	put_frames(o, pin, count, false);
unaccount:
	mutex_unlock(&o->lock);
	account_locked_vm(o->mm, count, false);
free:
	kvfree(pin);
	return ret;
}

long papr_do_unpin(struct owner *o, struct call *call)
{
	struct pviommu_papr_unpin *a = call->argument;
	struct pin *pin;
	unsigned long i;

	if (a->flags)
		return -EINVAL;
	mutex_lock(&o->lock);
	pin = xa_load(&o->pins, a->pin);
	if (!pin) {
		mutex_unlock(&o->lock);
		return -ENOENT;
	}
	count_pins(pin, pin->count, -1);
	for (i = 0; i < pin->count; i++) {
		struct frame *frame = pin->frames[i];

		if ((frame->mapped && !frame->pins) ||
		    (frame->mapped_write && !frame->writable_pins)) {
			count_pins(pin, pin->count, 1);
			mutex_unlock(&o->lock);
			return -EBUSY;
		}
	}
	xa_erase(&o->pins, a->pin);
	put_frames(o, pin, pin->count, false);
	o->pinned -= pin->count;
	mutex_unlock(&o->lock);
	account_locked_vm(o->mm, pin->count, false);
	kvfree(pin);
	return 0;
}

/* The pins of a file that is closed.  Pages that a window still has are never given back. */
void papr_drop_pins(struct owner *o)
{
	unsigned long id;
	struct pin *pin;

	xa_for_each(&o->pins, id, pin) {
		xa_erase(&o->pins, id);
		count_pins(pin, pin->count, -1);
		put_frames(o, pin, pin->count, true);
		account_locked_vm(o->mm, pin->count, false);
		kvfree(pin);
	}
}

/* The frame of an address.  Neighbours in a window are mostly neighbours in a pin. */
struct frame *papr_find_frame(struct owner *o, u64 ra)
{
	unsigned long pfn = ra >> PAGE_SHIFT;
	struct frame *frame;

	if (o->cursor) {
		frame = o->cursor->frames[o->cursor_index];
		if (frame->pfn == pfn)
			return frame;
		if (o->cursor_index + 1 < o->cursor->count) {
			frame = o->cursor->frames[o->cursor_index + 1];
			if (frame->pfn == pfn) {
				o->cursor_index++;
				return frame;
			}
		}
	}
	frame = xa_load(&o->frames, pfn);
	if (frame && frame->pin) {
		o->cursor = frame->pin;
		o->cursor_index = frame->index;
	}
	return frame;
}
