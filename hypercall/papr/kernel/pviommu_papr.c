// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/pviommu-papr: DMA windows and MSIs of PCI functions for a program, on pseries.
 *
 * User space cannot make hcalls, and the kernel's VFIO does not work on every kernel
 * (6.1) and sends two hcalls a page where one would do for 512.  This driver makes four
 * hcalls for a program (H_PUT_TCE, H_PUT_TCE_INDIRECT, H_STUFF_TCE, H_GET_TCE) and
 * none else, such that what the program can reach by DMA is what it could have written
 * to itself:
 *
 *   entry of a window  --->  frame  <---  pin (pages of the program)
 *      (slots[])            (frames)        (pins)
 *
 *   - a window is that of functions which no kernel driver has, nor can get: this
 *     driver is bound to all functions behind it meanwhile;
 *   - an entry is made only for a page that the file has pinned, and the page stays
 *     pinned as long as there is one.
 *
 * Locks: claim_lock > device_lock > owner->lock > owner->read_lock > owner->irq_lock
 *
 * iommu_device_claim_dma_owner() is not for us: since 6.11 it takes the default window
 * from the hypervisor for the sake of VFIO, which makes its own.  A driver that does not
 * manage DMA itself is a user of the group's default domain, which keeps VFIO off.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/capability.h>
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/interrupt.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/nospec.h>
#include <linux/of.h>
#include <linux/pci.h>
#include <linux/poll.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <linux/wait.h>
#include <linux/xarray.h>

#include <asm/firmware.h>
#include <asm/hvcall.h>

#include "pviommu_papr.h"

#define DRIVER_NAME "pviommu-papr"

/* Of an entry, and the size that PIN answers in. */
#define TCE_SHIFT 12
#define TCE_BYTES (1ull << TCE_SHIFT)
#define TCE_READ 1ull
#define TCE_WRITE 2ull
/* Of a window: its slots take 8 bytes each.  64 GiB of 4 KiB pages. */
#define MAX_ENTRIES (1ull << 24)

#define BUSY_TRIES 1000
#define BUSY_MSECS 5000

/* A page of the kernel's that is pinned, as often as it may be. */
struct frame {
	unsigned long pfn;
	unsigned long pins, writable_pins;
	unsigned long refs;		/* slots of pins; like `pins`, but when UNPIN tries */
	unsigned long mapped, mapped_write;
	struct pin *pin;		/* one of them, or NULL, for the cursor */
	unsigned long index;
};

struct pin {
	u32 id;
	bool writable;
	unsigned long count;
	struct frame *frames[];
};

/* A slot of a window: the frame, and bit 0 for one that the device may write. */
#define SLOT_WRITE 1ul

struct window {
	struct list_head node;
	struct list_head functions;
	struct device_node *pe;		/* where ibm,dma-window is */
	u32 liobn;
	u64 first, entries;
	u64 mapped;
	unsigned int claimed;		/* functions with ->claimed */
	unsigned long *slots;
};

struct vector {
	struct function *function;
	u32 index;
	u64 count;
	struct list_head node;		/* in owner->pending, when count > 0 */
};

/* What this driver is bound to; only those that were asked for are `claimed`. */
struct function {
	struct list_head node;
	struct owner *owner;
	struct window *window;
	struct pci_dev *pdev;
	bool claimed;
	bool bound;			/* device_driver_attach() was successful */
	bool enabled;
	bool gone;
	struct vector *vectors;
	unsigned int count;
};

struct owner {
	struct mutex lock;
	struct mm_struct *mm;
	struct list_head windows;
	struct xarray pins;		/* id -> struct pin */
	struct xarray frames;		/* pfn -> struct frame */
	struct pin *cursor;		/* where the last entry's page was */
	unsigned long cursor_index;
	unsigned long pinned;		/* pages of the kernel's */
	__be64 *list;			/* of H_PUT_TCE_INDIRECT */
	u64 *tces;
	struct pviommu_papr_info counts;

	struct mutex read_lock;
	spinlock_t irq_lock;
	struct list_head pending;
	wait_queue_head_t wait;
};

static DEFINE_MUTEX(claim_lock);	/* one claim or release at a time */
static struct function *claiming;	/* whose probe() is wanted */

/* ---- hcalls ---------------------------------------------------------------- */

struct patience {
	unsigned int tries, msecs;
};

/* True after a wait when the call is to be made again. */
static bool again(struct owner *o, struct patience *p, long rc)
{
	unsigned int msecs;

	if (rc != H_BUSY && !H_IS_LONG_BUSY(rc))
		return false;
	o->counts.busy++;
	if (rc == H_BUSY) {
		if (p->tries++ >= BUSY_TRIES)
			return false;
		cond_resched();
		return true;
	}
	if (p->msecs >= BUSY_MSECS)
		return false;
	msecs = min(get_longbusy_msecs(rc), BUSY_MSECS - p->msecs);
	p->msecs += msecs;
	msleep(msecs);
	return true;
}

static long put_tce(struct owner *o, struct window *w, u64 entry, u64 tce)
{
	struct patience p = {};
	long rc;

	do {
		o->counts.put_tce++;
		rc = plpar_hcall_norets(H_PUT_TCE, (u64)w->liobn, w->first + (entry << TCE_SHIFT), tce);
	} while (again(o, &p, rc));
	return rc;
}

static long put_tce_indirect(struct owner *o, struct window *w, u64 entry, u64 count)
{
	struct patience p = {};
	long rc;

	do {
		o->counts.put_tce_indirect++;
		rc = plpar_hcall_norets(H_PUT_TCE_INDIRECT, (u64)w->liobn, w->first + (entry << TCE_SHIFT),
					__pa(o->list), count);
	} while (again(o, &p, rc));
	return rc;
}

static long stuff_tce(struct owner *o, struct window *w, u64 entry, u64 count)
{
	struct patience p = {};
	long rc;

	do {
		o->counts.stuff_tce++;
		rc = plpar_hcall_norets(H_STUFF_TCE, (u64)w->liobn, w->first + (entry << TCE_SHIFT), 0ul,
					count);
	} while (again(o, &p, rc));
	return rc;
}

static long get_tce(struct owner *o, struct window *w, u64 entry, u64 *tce)
{
	unsigned long out[PLPAR_HCALL_BUFSIZE];
	struct patience p = {};
	long rc;

	do {
		o->counts.get_tce++;
		rc = plpar_hcall(H_GET_TCE, out, (u64)w->liobn, w->first + (entry << TCE_SHIFT));
	} while (again(o, &p, rc));
	*tce = out[0];
	return rc;
}

/* Empties entries; *done of them are when it fails. */
static long clear_entries(struct owner *o, struct window *w, u64 entry, u64 count, u64 *done)
{
	long rc;

	for (*done = 0; *done < count;) {
		u64 part = min_t(u64, count - *done, PVIOMMU_PAPR_MAX_TCES), i;

		if (part > 1 && stuff_tce(o, w, entry + *done, part) == H_SUCCESS) {
			*done += part;
			cond_resched();
			continue;
		}
		/* H_FUNCTION, or something is wrong: then it is tried one by one, twice. */
		for (i = 0; i < part; i++, ++*done) {
			rc = put_tce(o, w, entry + *done, 0);
			if (rc != H_SUCCESS)
				rc = put_tce(o, w, entry + *done, 0);
			if (rc != H_SUCCESS)
				return rc;
		}
		cond_resched();
	}
	return H_SUCCESS;
}

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
static void clear_window(struct owner *o, struct window *w)
{
	u64 done;
	long rc = clear_entries(o, w, 0, w->entries, &done);

	drop_slots(o, w, 0, done);
	if (rc != H_SUCCESS)
		pr_err("LIOBN %x: entry %llu cannot be emptied (hcall answers %ld); %llu pages stay pinned for good\n",
		       w->liobn, done, rc, w->mapped);
}

/* ---- pins -------------------------------------------------------------------- */

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
static struct frame *enter_frame(struct owner *o, struct pin *pin, unsigned long index, struct page *page)
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
					  min_t(unsigned long, pin->count - filled, PAGE_SIZE / sizeof(*pages)),
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
		u64 ra = ((u64)pin->frames[at >> PAGE_SHIFT]->pfn << PAGE_SHIFT) + (at & ~PAGE_MASK);

		if (put_user(ra, to + i))
			return -EFAULT;
	}
	return 0;
}

static long do_pin(struct owner *o, void __user *argument)
{
	struct pviommu_papr_pin a;
	unsigned long count, offset;
	struct pin *pin;
	long ret;

	if (copy_from_user(&a, argument, sizeof(a)))
		return -EFAULT;
	if ((a.flags & ~PVIOMMU_PAPR_PIN_WRITE) || ((a.address | a.bytes) & (TCE_BYTES - 1)) || !a.bytes ||
	    a.address + a.bytes - 1 < a.address)
		return -EINVAL;
	if (a.bytes > PVIOMMU_PAPR_MAX_PIN)
		return -E2BIG;
	if (current->mm != o->mm)
		return -EPERM;
	offset = a.address & ~PAGE_MASK;
	count = (offset + a.bytes + PAGE_SIZE - 1) >> PAGE_SHIFT;

	pin = kvzalloc(struct_size(pin, frames, count), GFP_KERNEL_ACCOUNT);
	if (!pin)
		return -ENOMEM;
	pin->count = count;
	pin->writable = a.flags & PVIOMMU_PAPR_PIN_WRITE;
	ret = account_locked_vm(o->mm, count, true);
	if (ret)
		goto free;
	mutex_lock(&o->lock);
	ret = fill_pin(o, pin, a.address & PAGE_MASK);
	if (ret)
		goto unaccount;
	ret = xa_alloc(&o->pins, &pin->id, pin, XA_LIMIT(1, PVIOMMU_PAPR_MAX_PINS), GFP_KERNEL_ACCOUNT);
	if (ret) {
		ret = ret == -EBUSY ? -ENOSPC : ret;
		goto unpin;
	}
	ret = tell_frames(pin, offset, a.bytes, u64_to_user_ptr(a.frames));
	if (!ret && put_user(pin->id, &((struct pviommu_papr_pin __user *)argument)->pin))
		ret = -EFAULT;
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

static long do_unpin(struct owner *o, void __user *argument)
{
	struct pviommu_papr_unpin a;
	struct pin *pin;
	unsigned long i;

	if (copy_from_user(&a, argument, sizeof(a)))
		return -EFAULT;
	if (a.flags)
		return -EINVAL;
	mutex_lock(&o->lock);
	pin = xa_load(&o->pins, a.pin);
	if (!pin) {
		mutex_unlock(&o->lock);
		return -ENOENT;
	}
	count_pins(pin, pin->count, -1);
	for (i = 0; i < pin->count; i++) {
		struct frame *frame = pin->frames[i];

		if ((frame->mapped && !frame->pins) || (frame->mapped_write && !frame->writable_pins)) {
			count_pins(pin, pin->count, 1);
			mutex_unlock(&o->lock);
			return -EBUSY;
		}
	}
	xa_erase(&o->pins, a.pin);
	put_frames(o, pin, pin->count, false);
	o->pinned -= pin->count;
	mutex_unlock(&o->lock);
	account_locked_vm(o->mm, pin->count, false);
	kvfree(pin);
	return 0;
}

/* The frame of an address.  Neighbours in a window are mostly neighbours in a pin. */
static struct frame *find_frame(struct owner *o, u64 ra)
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

/* ---- windows ----------------------------------------------------------------- */

static struct window *find_window(struct owner *o, u32 liobn)
{
	struct window *w;

	list_for_each_entry(w, &o->windows, node)
		if (w->liobn == liobn && w->claimed > 0)
			return w;
	return NULL;
}

/* The first entry of `count` from `ioba` on. */
static long find_entries(struct window *w, u64 ioba, u64 count, u64 *entry)
{
	if ((ioba & (TCE_BYTES - 1)) || !count)
		return -EINVAL;
	if (ioba < w->first)
		return -ERANGE;
	*entry = (ioba - w->first) >> TCE_SHIFT;
	if (*entry >= w->entries || count > w->entries - *entry)
		return -ERANGE;
	*entry = array_index_nospec(*entry, w->entries);
	return 0;
}

/* Looks o->tces over, and writes the list. */
static long check_tces(struct owner *o, struct window *w, u64 entry, u32 count)
{
	u32 i;

	for (i = 0; i < count; i++) {
		u64 tce = o->tces[i];
		struct frame *frame;

		if (!(tce & (TCE_READ | TCE_WRITE)) || (tce & (TCE_BYTES - 1) & ~(TCE_READ | TCE_WRITE)))
			return -EINVAL;
		if (w->slots[entry + i])
			return -EEXIST;
		frame = find_frame(o, tce);
		if (!frame)
			return -EPERM;
		if ((tce & TCE_WRITE) && !frame->writable_pins)
			return -EACCES;
		o->list[i] = cpu_to_be64(tce);
	}
	return 0;
}

static long do_map(struct owner *o, void __user *argument)
{
	struct pviommu_papr_map a;
	struct window *w;
	u64 entry, done;
	long ret, rc;
	u32 i;

	if (copy_from_user(&a, argument, sizeof(a)))
		return -EFAULT;
	if (a.flags || a.reserved || !a.count || a.count > PVIOMMU_PAPR_MAX_TCES)
		return -EINVAL;
	mutex_lock(&o->lock);
	ret = -ENODEV;
	w = find_window(o, a.liobn);
	if (!w)
		goto out;
	ret = find_entries(w, a.ioba, a.count, &entry);
	if (ret)
		goto out;
	ret = -EFAULT;
	if (copy_from_user(o->tces, u64_to_user_ptr(a.tces), a.count * sizeof(u64)))
		goto out;
	ret = check_tces(o, w, entry, a.count);
	if (ret)
		goto out;

	/* Before the hypervisor knows of them: whatever happens, the pages are held. */
	for (i = 0; i < a.count; i++) {
		struct frame *frame = find_frame(o, o->tces[i]);

		frame->mapped++;
		if (o->tces[i] & TCE_WRITE)
			frame->mapped_write++;
		w->slots[entry + i] = (unsigned long)frame | (o->tces[i] & TCE_WRITE ? SLOT_WRITE : 0);
	}
	w->mapped += a.count;
	o->counts.mapped += a.count;

	rc = a.count > 1 ? put_tce_indirect(o, w, entry, a.count) : H_FUNCTION;
	if (rc == H_FUNCTION)
		for (i = 0, rc = H_SUCCESS; i < a.count && rc == H_SUCCESS; i++)
			rc = put_tce(o, w, entry + i, o->tces[i]);
	if (rc != H_SUCCESS) {
		/* A list may have been done in part. */
		ret = -EIO;
		if (clear_entries(o, w, entry, a.count, &done) != H_SUCCESS)
			pr_err("LIOBN %x: entries cannot be emptied; they count as mapped\n", w->liobn);
		drop_slots(o, w, entry, done);
	}
	if (put_user((__s64)rc, &((struct pviommu_papr_map __user *)argument)->rc) && !ret) {
		ret = -EFAULT;
		if (clear_entries(o, w, entry, a.count, &done) != H_SUCCESS)
			pr_err("LIOBN %x: entries cannot be emptied; they count as mapped\n", w->liobn);
		drop_slots(o, w, entry, done);
	}
out:
	mutex_unlock(&o->lock);
	return ret;
}

static long do_unmap(struct owner *o, void __user *argument)
{
	struct pviommu_papr_unmap a;
	struct window *w;
	u64 entry;
	long ret, rc;

	if (copy_from_user(&a, argument, sizeof(a)))
		return -EFAULT;
	if (a.flags)
		return -EINVAL;
	mutex_lock(&o->lock);
	ret = -ENODEV;
	w = find_window(o, a.liobn);
	if (!w)
		goto out;
	ret = find_entries(w, a.ioba, a.count, &entry);
	if (ret)
		goto out;
	rc = clear_entries(o, w, entry, a.count, &a.done);
	drop_slots(o, w, entry, a.done);
	ret = rc == H_SUCCESS ? 0 : -EIO;
	a.rc = rc;
	if (copy_to_user(argument, &a, sizeof(a)))
		ret = -EFAULT;
out:
	mutex_unlock(&o->lock);
	return ret;
}

static long do_get_tce(struct owner *o, void __user *argument)
{
	struct pviommu_papr_get_tce a;
	struct window *w;
	u64 entry;
	long ret;

	if (copy_from_user(&a, argument, sizeof(a)))
		return -EFAULT;
	if (a.flags)
		return -EINVAL;
	mutex_lock(&o->lock);
	ret = -ENODEV;
	w = find_window(o, a.liobn);
	if (w)
		ret = find_entries(w, a.ioba, 1, &entry);
	if (!ret) {
		a.rc = get_tce(o, w, entry, &a.tce);
		ret = a.rc == H_SUCCESS ? 0 : -EIO;
	}
	mutex_unlock(&o->lock);
	if (!ret || ret == -EIO)
		if (copy_to_user(argument, &a, sizeof(a)))
			ret = -EFAULT;
	return ret;
}

/* ---- interrupts ---------------------------------------------------------------- */

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

static void free_vectors(struct owner *o, struct function *fn)
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
	granted = pci_alloc_irq_vectors(fn->pdev, 1, asked, kind == PVIOMMU_PAPR_MSI ? PCI_IRQ_MSI : PCI_IRQ_MSIX);
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
		free_vectors(o, fn);
		return ret;
	}
	return granted;
}

static struct function *find_function(struct owner *o, u32 sbdf)
{
	struct window *w;
	struct function *fn;

	list_for_each_entry(w, &o->windows, node)
		list_for_each_entry(fn, &w->functions, node)
			if (fn->claimed && sbdf == ((u32)pci_domain_nr(fn->pdev->bus) << 16 | pci_dev_id(fn->pdev)))
				return fn;
	return NULL;
}

static long do_vectors(struct owner *o, void __user *argument)
{
	struct pviommu_papr_vectors a;
	struct function *fn;
	long ret;

	if (copy_from_user(&a, argument, sizeof(a)))
		return -EFAULT;
	if (a.flags || a.count > PVIOMMU_PAPR_MAX_VECTORS ||
	    (a.count ? a.kind != PVIOMMU_PAPR_MSI && a.kind != PVIOMMU_PAPR_MSIX : a.kind != 0))
		return -EINVAL;
	mutex_lock(&o->lock);
	fn = find_function(o, a.sbdf);
	if (!fn || fn->gone) {
		ret = -ENODEV;
	} else if (!a.count) {
		free_vectors(o, fn);
		ret = 0;
	} else {
		ret = allocate_vectors(o, fn, a.kind, a.count);
		if (ret > 0) {
			a.count = ret;
			ret = 0;
			if (copy_to_user(argument, &a, sizeof(a))) {
				free_vectors(o, fn);
				ret = -EFAULT;
			}
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
		out[n].sbdf = (u32)pci_domain_nr(v->function->pdev->bus) << 16 | pci_dev_id(v->function->pdev);
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

static ssize_t papr_read(struct file *file, char __user *to, size_t size, loff_t *pos)
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

static __poll_t papr_poll(struct file *file, poll_table *table)
{
	struct owner *o = file->private_data;

	poll_wait(file, &o->wait, table);
	return list_empty_careful(&o->pending) ? 0 : EPOLLIN | EPOLLRDNORM;
}

/* ---- taking functions from the kernel ------------------------------------------- */

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
		clear_window(o, w);
	w->claimed--;
	fn->claimed = false;
	free_vectors(o, fn);
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

static struct pci_driver papr_driver = {
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
		if (get_tce(o, w, i, &tce) != H_SUCCESS)
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

static struct window *take_window(struct owner *o, struct device_node *pe, struct pviommu_papr_claim *a)
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
		else if (clear_entries(o, w, 0, all, &done) != H_SUCCESS)
			ret = -EIO;
		mutex_unlock(&o->lock);
		w->entries = min_t(u64, all, MAX_ENTRIES);
	}
	if (!ret) {
		w->slots = __vmalloc(array_size(w->entries, sizeof(*w->slots)), GFP_KERNEL_ACCOUNT | __GFP_ZERO);
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

static long release_sbdf(struct owner *o, u32 sbdf)
{
	struct function *fn;

	mutex_lock(&claim_lock);
	mutex_lock(&o->lock);
	fn = find_function(o, sbdf);
	mutex_unlock(&o->lock);
	if (fn)
		release(o, fn);
	mutex_unlock(&claim_lock);
	return fn ? 0 : -ENODEV;
}

static long do_claim(struct owner *o, void __user *argument)
{
	struct pviommu_papr_claim a;
	struct pci_dev *pdev;
	long ret;

	if (copy_from_user(&a, argument, sizeof(a)))
		return -EFAULT;
	if ((a.flags & ~PVIOMMU_PAPR_CLAIM_CHECK_EMPTY) || a.reserved)
		return -EINVAL;
	pdev = pci_get_domain_bus_and_slot(a.sbdf >> 16, a.sbdf >> 8 & 0xff, a.sbdf & 0xff);
	if (!pdev)
		return -ENODEV;
	if (mutex_lock_killable(&claim_lock)) {
		pci_dev_put(pdev);
		return -EINTR;
	}
	ret = claim(o, pdev, &a);
	mutex_unlock(&claim_lock);
	pci_dev_put(pdev);
	/* Without the lock: what happens at user addresses can take as long as it likes. */
	if ((!ret || ret == -EEXIST) && copy_to_user(argument, &a, sizeof(a))) {
		if (!ret)
			release_sbdf(o, a.sbdf);
		ret = -EFAULT;
	}
	return ret;
}

static long do_release(struct owner *o, void __user *argument)
{
	struct pviommu_papr_release a;

	if (copy_from_user(&a, argument, sizeof(a)))
		return -EFAULT;
	if (a.flags)
		return -EINVAL;
	return release_sbdf(o, a.sbdf);
}

/* ---- the file -------------------------------------------------------------------- */

static long do_info(struct owner *o, void __user *argument)
{
	struct pviommu_papr_info info;

	mutex_lock(&o->lock);
	info = o->counts;
	info.pinned = (u64)o->pinned << PAGE_SHIFT;
	mutex_unlock(&o->lock);
	info.api = PVIOMMU_PAPR_API;
	info.page_shift = PAGE_SHIFT;
	return copy_to_user(argument, &info, sizeof(info)) ? -EFAULT : 0;
}

static long papr_ioctl(struct file *file, unsigned int request, unsigned long argument)
{
	struct owner *o = file->private_data;
	void __user *a = (void __user *)argument;

	switch (request) {
	case PVIOMMU_PAPR_INFO:
		return do_info(o, a);
	case PVIOMMU_PAPR_CLAIM:
		return do_claim(o, a);
	case PVIOMMU_PAPR_RELEASE:
		return do_release(o, a);
	case PVIOMMU_PAPR_PIN:
		return do_pin(o, a);
	case PVIOMMU_PAPR_UNPIN:
		return do_unpin(o, a);
	case PVIOMMU_PAPR_MAP:
		return do_map(o, a);
	case PVIOMMU_PAPR_UNMAP:
		return do_unmap(o, a);
	case PVIOMMU_PAPR_GET_TCE:
		return do_get_tce(o, a);
	case PVIOMMU_PAPR_VECTORS:
		return do_vectors(o, a);
	}
	return -ENOTTY;
}

static int papr_open(struct inode *inode, struct file *file)
{
	struct owner *o;

	if (!capable(CAP_SYS_RAWIO))
		return -EPERM;
	o = kzalloc(sizeof(*o), GFP_KERNEL_ACCOUNT);
	if (!o)
		return -ENOMEM;
	/* Pages: an hcall takes a list that begins at one of 4 KiB and ends in it. */
	o->list = (__be64 *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	o->tces = (u64 *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (!o->list || !o->tces) {
		free_page((unsigned long)o->list);
		free_page((unsigned long)o->tces);
		kfree(o);
		return -ENOMEM;
	}
	mutex_init(&o->lock);
	mutex_init(&o->read_lock);
	spin_lock_init(&o->irq_lock);
	INIT_LIST_HEAD(&o->windows);
	INIT_LIST_HEAD(&o->pending);
	init_waitqueue_head(&o->wait);
	xa_init_flags(&o->pins, XA_FLAGS_ALLOC1);
	xa_init(&o->frames);
	o->mm = current->mm;
	mmgrab(o->mm);
	file->private_data = o;
	return stream_open(inode, file);
}

/*
 * Bus mastering off, entries away, pages free, function back: in this order.  Whether
 * the process closed the file or was killed.
 */
static int papr_close(struct inode *inode, struct file *file)
{
	struct owner *o = file->private_data;
	struct window *w, *next_window;
	struct function *fn;
	struct pin *pin;
	unsigned long id;

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
	xa_for_each(&o->pins, id, pin) {
		xa_erase(&o->pins, id);
		count_pins(pin, pin->count, -1);
		put_frames(o, pin, pin->count, true);
		account_locked_vm(o->mm, pin->count, false);
		kvfree(pin);
	}
	mutex_unlock(&o->lock);
	list_for_each_entry_safe(w, next_window, &o->windows, node)
		release_window(w);
	mutex_unlock(&claim_lock);

	xa_destroy(&o->pins);
	xa_destroy(&o->frames);
	mmdrop(o->mm);
	free_page((unsigned long)o->list);
	free_page((unsigned long)o->tces);
	kfree(o);
	return 0;
}

static const struct file_operations papr_operations = {
	.owner = THIS_MODULE,
	.open = papr_open,
	.release = papr_close,
	.read = papr_read,
	.poll = papr_poll,
	.unlocked_ioctl = papr_ioctl,
	.llseek = noop_llseek,
};

static struct miscdevice papr_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "pviommu-papr",
	.fops = &papr_operations,
	.mode = 0600,
};

static int __init papr_init(void)
{
	int ret;

	if (!firmware_has_feature(FW_FEATURE_LPAR)) {
		pr_err("this is no logical partition: there is no hypervisor to call\n");
		return -ENODEV;
	}
	ret = pci_register_driver(&papr_driver);
	if (ret)
		return ret;
	ret = misc_register(&papr_device);
	if (ret)
		pci_unregister_driver(&papr_driver);
	return ret;
}

static void __exit papr_exit(void)
{
	misc_deregister(&papr_device);
	pci_unregister_driver(&papr_driver);
}

module_init(papr_init);
module_exit(papr_exit);
MODULE_DESCRIPTION("DMA windows and MSIs of PCI functions for pviommu, by allow-listed hcalls");
MODULE_LICENSE("GPL");
