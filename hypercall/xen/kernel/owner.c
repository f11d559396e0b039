// SPDX-License-Identifier: GPL-2.0
/*
 * Who has a device.  Nothing else assigns one.
 *
 *              claim                    attach
 *      DOM0 ----------> QUARANTINE ----------------> CARRIER
 *       ^ ^ <----------  |   ^ ^ ^ <----------------  |
 *       | |    home      |   | | |      leave         | Xen did not take it from the carrier
 *       | |              |   | | |                    v
 *       | |              |   | | +-----------------  STUCK
 *       | |              |   | |    leave, or the carrier's end
 *       | |   home       |   | |
 *       | STRANDED <-----+   | |      Xen did not give it back to dom0: it stays in
 *       +----+               | |      quarantine, where it reaches nothing
 *
 * The kernel's core lets a claim and an attach fail, and neither a way back: leave and home end
 * in a state where the device reaches nothing that is not its user's, and are tried again with
 * the next request.  STRANDED and STUCK are told in the log and counted.
 *
 * Quarantine is Xen's DOMID_IO, whose devices have no memory.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/mutex.h>
#include <linux/pci.h>

#include <xen/interface/xen.h>

#include "pviommu_xen.h"

#define LEAVE_TRIES 3

static DEFINE_MUTEX(owner_lock);
static LIST_HEAD(devices);

static const unsigned int next_states[OWNER_STATES] = {
	[OWNER_DOM0] = BIT(OWNER_QUARANTINE),
	[OWNER_QUARANTINE] = BIT(OWNER_DOM0) | BIT(OWNER_CARRIER) | BIT(OWNER_STRANDED),
	[OWNER_CARRIER] = BIT(OWNER_QUARANTINE) | BIT(OWNER_STUCK),
	[OWNER_STUCK] = BIT(OWNER_QUARANTINE),
	[OWNER_STRANDED] = BIT(OWNER_DOM0),
};

static bool is_lost(enum owner_state state)
{
	return state == OWNER_STUCK || state == OWNER_STRANDED;
}

static void set_state(struct xen_device *d, enum owner_state state, struct carrier *c)
{
	lockdep_assert_held(&owner_lock);
	WARN_ON_ONCE(!(next_states[d->state] & BIT(state)));
	WARN_ON_ONCE(!c != (state != OWNER_CARRIER && state != OWNER_STUCK));
	atomic64_add(is_lost(state) - is_lost(d->state), &counters.stranded_devices);
	d->state = state;
	d->carrier = c;
}

static int move(struct xen_device *d, u32 cmd, u16 domid)
{
	struct domctl op = {
		.assign_device = {
			.sbdf = pci_domain_nr(d->pdev->bus) << 16 | pci_dev_id(d->pdev),
		},
	};

	return d->assigned ? hypercall_domctl(&op, cmd, domid) : 0;
}

static int claim(struct xen_device *d)
{
	int ret;

	/* The core counts a group's drivers; that it counts well is not all that dom0's disk hangs on. */
	if (d->assigned && d->pdev->dev.driver && !device_is_managed(&d->pdev->dev)) {
		pci_err(d->pdev, "a driver of dom0's has it\n");
		return -EBUSY;
	}
	vectors_reserve(d);
	if (d->assigned)
		vectors_clear_maskall(d->pdev);
	ret = move(d, DOMCTL_ASSIGN_DEVICE, DOMID_IO);
	if (ret) {
		pci_err(d->pdev, "Xen does not give it out: %d%s\n", ret,
			ret == -EBUSY ? " (another domain or program has it)" : "");
		vectors_unreserve(d);
		return ret;
	}
	set_state(d, OWNER_QUARANTINE, NULL);
	return 0;
}

static int attach(struct xen_device *d, struct carrier *c)
{
	int ret;

	if (d->assigned)
		vectors_clear_maskall(d->pdev);
	ret = move(d, DOMCTL_ASSIGN_DEVICE, c->domid);
	if (ret) {
		pci_err(d->pdev, "Xen does not assign it to carrier %u: %d\n", c->domid, ret);
		return ret;
	}
	set_state(d, OWNER_CARRIER, c);
	return 0;
}

/* From CARRIER or STUCK; ends in QUARANTINE or STUCK. */
static void leave(struct xen_device *d)
{
	u16 domid = d->carrier->domid;
	unsigned int again;
	int ret = 0;

	for (again = 0; again < LEAVE_TRIES; again++) {
		ret = move(d, DOMCTL_DEASSIGN_DEVICE, domid);
		/* The carrier is gone, and Xen has put the device into quarantine. */
		if (ret == -ESRCH || ret == -ENODEV)
			ret = 0;
		if (!ret)
			break;
	}
	if (!ret) {
		set_state(d, OWNER_QUARANTINE, NULL);
		return;
	}
	if (d->state == OWNER_STUCK)
		return;
	set_state(d, OWNER_STUCK, d->carrier);
	pci_err(d->pdev, "Xen does not take it from carrier %u: %d; it stays there until the carrier ends\n",
		domid, ret);
}

/* From QUARANTINE or STRANDED; ends in DOM0 or STRANDED. */
static void home(struct xen_device *d)
{
	unsigned int again;
	int ret = 0;

	/* What a driverless function of the group may have left on. */
	if (d->assigned)
		pci_clear_master(d->pdev);
	for (again = 0; again < LEAVE_TRIES; again++) {
		ret = move(d, DOMCTL_DEASSIGN_DEVICE, DOMID_IO);
		if (!ret)
			break;
	}
	if (!ret) {
		set_state(d, OWNER_DOM0, NULL);
		vectors_unreserve(d);
		return;
	}
	if (d->state == OWNER_STRANDED)
		return;
	set_state(d, OWNER_STRANDED, NULL);
	pci_err(d->pdev, "Xen does not give it back to dom0: %d; it stays in quarantine, without DMA, until a driver comes\n",
		ret);
}

int owner_to_quarantine(struct xen_device *d)
{
	int ret = 0;

	mutex_lock(&owner_lock);
	if (d->state == OWNER_STRANDED)
		home(d);
	switch (d->state) {
	case OWNER_DOM0:
		ret = claim(d);
		break;
	case OWNER_CARRIER:
	case OWNER_STUCK:
		leave(d);
		break;
	case OWNER_STRANDED:
		ret = -EIO;
		break;
	default:
		break;
	}
	mutex_unlock(&owner_lock);
	return ret;
}

int owner_to_carrier(struct xen_device *d, struct carrier *c)
{
	int ret = 0;

	mutex_lock(&owner_lock);
	if (d->state == OWNER_CARRIER && d->carrier == c)
		goto unlock;
	if (d->state == OWNER_CARRIER || d->state == OWNER_STUCK)
		leave(d);
	if (d->state == OWNER_STRANDED)
		home(d);
	if (d->state == OWNER_DOM0)
		ret = claim(d);
	if (!ret)
		ret = d->state == OWNER_QUARANTINE ? attach(d, c) : -EIO;
unlock:
	mutex_unlock(&owner_lock);
	return ret;
}

void owner_to_dom0(struct xen_device *d)
{
	mutex_lock(&owner_lock);
	if (d->state == OWNER_CARRIER || d->state == OWNER_STUCK)
		leave(d);
	if (d->state == OWNER_QUARANTINE || d->state == OWNER_STRANDED)
		home(d);
	mutex_unlock(&owner_lock);
}

void owner_carrier_gone(struct carrier *c)
{
	struct xen_device *d;

	mutex_lock(&owner_lock);
	list_for_each_entry(d, &devices, link) {
		if (d->carrier == c)
			set_state(d, OWNER_QUARANTINE, NULL);
	}
	mutex_unlock(&owner_lock);
}

bool owner_busy(void)
{
	struct xen_device *d;
	bool busy = false;

	mutex_lock(&owner_lock);
	list_for_each_entry(d, &devices, link) {
		if (d->state == OWNER_DOM0)
			continue;
		pci_notice(d->pdev, "dom0 does not have it\n");
		busy = true;
	}
	mutex_unlock(&owner_lock);
	return busy;
}

void owner_add(struct xen_device *d)
{
	mutex_lock(&owner_lock);
	list_add_tail(&d->link, &devices);
	mutex_unlock(&owner_lock);
}

void owner_remove(struct xen_device *d)
{
	mutex_lock(&owner_lock);
	/* The device leaves the machine, or the module does. */
	if (d->state == OWNER_CARRIER || d->state == OWNER_STUCK)
		leave(d);
	if (d->state == OWNER_QUARANTINE || d->state == OWNER_STRANDED)
		home(d);
	if (is_lost(d->state))
		atomic64_dec(&counters.stranded_devices);
	list_del(&d->link);
	mutex_unlock(&owner_lock);
}
