// SPDX-License-Identifier: GPL-2.0
/*
 * A carrier: an empty HVM domain that never runs.  What is mapped in its memory is what a
 * device that is assigned to it reaches, so its guest frame numbers are the IOVAs.
 *
 *      create -> one vCPU -> memory for page tables -> rights to RAM -> ... -> destroy
 *
 * A carrier that Xen does not destroy may still let a device reach pages.  It is kept, with
 * the pages, and tried again later.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/delay.h>
#include <linux/err.h>
#include <linux/minmax.h>
#include <linux/slab.h>
#include <linux/string.h>

#include <asm/xen/hypercall.h>
#include <xen/interface/memory.h>

#include "pviommu_xen.h"

/* Xen chooses the number (DOMID_ANY of 4.22; any reserved one before). */
#define DOMID_ANY	0x7ff5

/* Interrupt controllers and the MSI window: no domain may map these. */
#define HOLE_FIRST	0xfec00
#define HOLE_END	0x100000

/* A few thousand scattered pages; then it is doubled, up to a table for each of 2^25 pages. */
#define FIRST_POOL	(4ULL << 20)
#define MOST_POOL	(1ULL << 30)

#define DESTROY_TRIES	5

/* Programs of the same project know their own by another last byte, and leave these alone. */
static const u8 handle[16] = { 'p', 'v', 'i', 'o', 'm', 'm', 'u', 2 };

static LIST_HEAD(kept);
static DEFINE_MUTEX(kept_lock);

u64 carrier_ram_end(void)
{
	long last = HYPERVISOR_memory_op(XENMEM_maximum_ram_page, NULL);

	/* Frames above 4 GiB are asked for when they are mapped, if this is not known. */
	return last < 0 ? HOLE_END : (u64)last + 1;
}

int carrier_permit(struct carrier *c, u64 mfn, u64 frames)
{
	struct domctl op = {
		.iomem_permission = { .first_mfn = mfn, .nr_mfns = frames, .allow_access = 1 },
	};

	return hypercall_domctl(&op, DOMCTL_IOMEM_PERMISSION, c->domid);
}

/* Something in the range may not be dom0's to give, such as an IOMMU's registers. */
static int permit_around(struct carrier *c, u64 mfn, u64 frames)
{
	int ret = carrier_permit(c, mfn, frames);

	if (ret != -EPERM || frames == 1)
		return ret == -EPERM ? 0 : ret;
	ret = permit_around(c, mfn, frames / 2);
	return ret ?: permit_around(c, mfn + frames / 2, frames - frames / 2);
}

static int set_pool(struct carrier *c, u64 bytes)
{
	struct domctl op = { .paging_mempool = bytes };
	int ret = hypercall_domctl(&op, DOMCTL_SET_PAGING_MEMPOOL, c->domid);

	if (!ret)
		c->pool = bytes;
	return ret;
}

int carrier_grow_pool(struct carrier *c)
{
	return c->pool >= MOST_POOL ? -ENOMEM : set_pool(c, c->pool * 2);
}

static int set_up(struct carrier *c)
{
	struct domctl op = { .max_vcpus = 1 };
	u64 end = carrier_ram_end();
	int ret;

	ret = hypercall_domctl(&op, DOMCTL_MAX_VCPUS, c->domid);
	if (!ret)
		ret = set_pool(c, FIRST_POOL);
	if (!ret)
		ret = permit_around(c, 0, min_t(u64, end, HOLE_FIRST));
	if (!ret && end > HOLE_END)
		ret = permit_around(c, HOLE_END, end - HOLE_END);
	return ret;
}

static int create(struct carrier *c)
{
	u32 emulation = CREATE_EMULATE_LAPIC;
	struct domctl op = {
		.createdomain = {
			.flags = CREATE_HVM | CREATE_HAP | CREATE_IOMMU,
			/* Nobody runs in it: tables of the IOMMU only. */
			.iommu_opts = CREATE_NO_SHAREPT,
			.max_vcpus = 1,
			.max_evtchn_port = 15,
			.max_grant_frames = 1,	/* 0 is EINVAL */
			.max_maptrack_frames = 1,
			.grant_opts = 1,
		},
	};
	int ret;

	memcpy(op.createdomain.handle, handle, sizeof(handle));
	memcpy((u8 *)&op.createdomain + hypercall_emulation_flags(), &emulation, sizeof(emulation));
	ret = hypercall_domctl(&op, DOMCTL_CREATEDOMAIN, DOMID_ANY);
	if (!ret)
		c->domid = op.domain;
	return ret;
}

static int destroy(struct carrier *c)
{
	struct domctl op = {};
	unsigned int again;
	int ret;

	for (again = 0; again < DESTROY_TRIES; again++) {
		if (again)
			msleep(10);
		ret = hypercall_domctl(&op, DOMCTL_DESTROYDOMAIN, c->domid);
		/* Somebody else was faster, such as xl destroy. */
		if (!ret || ret == -ESRCH)
			return 0;
	}
	return ret;
}

static void free_carrier(struct carrier *c)
{
	xa_destroy(&c->pages);
	kfree(c->batch->calls);
	kvfree(c->batch);
	kfree(c);
}

static void gone(struct carrier *c)
{
	atomic64_inc(&counters.carriers_destroyed);
	owner_carrier_gone(c);
	mapping_release(c);
	free_carrier(c);
}

struct carrier *carrier_create(void)
{
	struct carrier *c;
	int ret = -ENOMEM;

	carrier_retry();
	c = kzalloc(sizeof(*c), GFP_KERNEL_ACCOUNT);
	if (!c)
		return ERR_PTR(-ENOMEM);
	c->batch = kvzalloc(sizeof(*c->batch), GFP_KERNEL_ACCOUNT);
	if (!c->batch)
		goto free;
	c->batch->calls = kcalloc(BATCH_CALLS, sizeof(*c->batch->calls), GFP_KERNEL_ACCOUNT);
	if (!c->batch->calls)
		goto free_batch;
	mutex_init(&c->lock);
	xa_init(&c->pages);
	ret = create(c);
	if (ret) {
		pr_err_ratelimited("no carrier: Xen's createdomain fails with %d%s\n", ret,
				   ret == -EINVAL || ret == -EOPNOTSUPP ?
				   " (is the IOMMU on, in the firmware and in Xen?)" : "");
		goto free_calls;
	}
	atomic64_inc(&counters.carriers_created);
	ret = set_up(c);
	if (!ret)
		return c;
	pr_err_ratelimited("no carrier: Xen's domain %u cannot be set up: %d\n", c->domid, ret);
	carrier_put(c);
	return ERR_PTR(ret);
free_calls:
	kfree(c->batch->calls);
free_batch:
	kvfree(c->batch);
free:
	kfree(c);
	return ERR_PTR(ret);
}

void carrier_put(struct carrier *c)
{
	int ret = destroy(c);

	if (!ret) {
		gone(c);
		return;
	}
	pr_err("carrier %u stays: Xen's destroydomain fails with %d; it is tried again with the next one\n",
	       c->domid, ret);
	mutex_lock(&kept_lock);
	list_add(&c->link, &kept);
	mutex_unlock(&kept_lock);
}

unsigned int carrier_retry(void)
{
	struct carrier *c, *next;
	unsigned int left = 0;

	mutex_lock(&kept_lock);
	list_for_each_entry_safe(c, next, &kept, link) {
		if (destroy(c)) {
			left++;
			continue;
		}
		list_del(&c->link);
		pr_info("carrier %u is gone now\n", c->domid);
		gone(c);
	}
	mutex_unlock(&kept_lock);
	return left;
}
