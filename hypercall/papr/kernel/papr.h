/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the parts of this driver know of each other.  The driver gives a program DMA windows
 * and MSIs of PCI functions, on pseries, through /dev/pviommu-papr (pviommu_papr.h).
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
 * Each part may call those to its right:
 *
 *   main.c (the file) > functions.c > interrupts.c, windows.c > pins.c, hcalls.c
 *
 * but for papr_find_function(), which interrupts.c asks of functions.c.
 *
 * Locks: claim_lock > device_lock > owner->lock > owner->read_lock > owner->irq_lock
 */
#ifndef PAPR_H
#define PAPR_H

#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/poll.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/uaccess.h>
#include <linux/wait.h>
#include <linux/xarray.h>

#include "pviommu_papr.h"

#define DRIVER_NAME "pviommu-papr"

/* Of an entry, and the size that PIN answers in. */
#define TCE_SHIFT 12
#define TCE_BYTES (1ull << TCE_SHIFT)
#define TCE_READ 1ull
#define TCE_WRITE 2ull

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

/* An open file. */
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

/* An ioctl under way: its structure, copied in by main.c, and where the program has it. */
struct call {
	void *argument;
	void __user *user;
	size_t size;
};

/* As the program names a function: domain, bus, device and function. */
static inline u32 papr_sbdf(const struct pci_dev *pdev)
{
	return (u32)pci_domain_nr(pdev->bus) << 16 | PCI_DEVID(pdev->bus->number, pdev->devfn);
}

/* Gives the structure back to the program. */
static inline long respond(const struct call *call)
{
	return copy_to_user(call->user, call->argument, call->size) ? -EFAULT : 0;
}

/* hcalls.c: with owner->lock, which keeps the counters and the list.  They answer H_*. */
long papr_put_tce(struct owner *o, struct window *w, u64 entry, u64 tce);
long papr_put_tce_indirect(struct owner *o, struct window *w, u64 entry, u64 count);
long papr_get_tce(struct owner *o, struct window *w, u64 entry, u64 *tce);
long papr_clear_entries(struct owner *o, struct window *w, u64 entry, u64 count, u64 *done);

/* pins.c: the first two with owner->lock. */
struct frame *papr_find_frame(struct owner *o, u64 ra);
void papr_drop_pins(struct owner *o);
long papr_do_pin(struct owner *o, struct call *call);
long papr_do_unpin(struct owner *o, struct call *call);

/* windows.c: the first with owner->lock. */
void papr_clear_window(struct owner *o, struct window *w);
long papr_do_map(struct owner *o, struct call *call);
long papr_do_unmap(struct owner *o, struct call *call);
long papr_do_get_tce(struct owner *o, struct call *call);

/* interrupts.c: the first with owner->lock. */
void papr_free_vectors(struct owner *o, struct function *fn);
long papr_do_vectors(struct owner *o, struct call *call);
ssize_t papr_read(struct file *file, char __user *to, size_t size, loff_t *pos);
__poll_t papr_poll(struct file *file, poll_table *table);

/* functions.c: the first with owner->lock. */
struct function *papr_find_function(struct owner *o, u32 sbdf);
void papr_release_all(struct owner *o);
long papr_do_claim(struct owner *o, struct call *call);
long papr_do_release(struct owner *o, struct call *call);
extern struct pci_driver papr_driver;

#endif
