// SPDX-License-Identifier: GPL-2.0
/*
 * Calls to Xen: counted, and made to fail one by one for tests.
 *
 * Xen checks the interface version of a domctl exactly and answers -EACCES to another, so it
 * is found by trying; the numbers are those of the programs (../interface_table.h).
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/errno.h>
#include <linux/string.h>

#include <asm/xen/hypercall.h>
#include <xen/interface/xen.h>

#include "interface_table.h"
#include "pviommu_xen.h"

struct counters counters;
atomic_t hypercall_fail = ATOMIC_INIT(0);
atomic_t hypercall_fail_more = ATOMIC_INIT(0);

static const struct pviommu_xen_interface *interface;

/* No hypercall has this number: Xen answers -ENOSYS. */
#define NO_HYPERCALL 63

static bool fails(void)
{
	if (likely(atomic_read(&hypercall_fail) == 0))
		return false;
	if (atomic_dec_return(&hypercall_fail))
		return false;
	if (atomic_dec_if_positive(&hypercall_fail_more) >= 0)
		atomic_set(&hypercall_fail, 1);
	return true;
}

unsigned int hypercall_version(void)
{
	return interface->domctl;
}

unsigned int hypercall_emulation_flags(void)
{
	return interface->emulation_flags;
}

static long domctl(struct domctl *op, u32 version)
{
	op->interface_version = version;
	atomic64_inc(&counters.domctls);
	return xen_single_call(__HYPERVISOR_domctl, (unsigned long)op, 0, 0, 0, 0);
}

long hypercall_domctl(struct domctl *op, u32 cmd, u16 domain)
{
	if (fails())
		return -EIO;
	op->cmd = cmd;
	op->domain = domain;
	return domctl(op, interface->domctl);
}

void hypercall_member(struct multicall_entry *call, struct domctl *op, u32 cmd, u16 domain)
{
	op->cmd = cmd;
	op->domain = domain;
	op->interface_version = interface->domctl;
	call->op = fails() ? NO_HYPERCALL : __HYPERVISOR_domctl;
	call->args[0] = (unsigned long)op;
}

int hypercall_multicall(struct multicall_entry *calls, unsigned int count)
{
	if (fails())
		return -EIO;
	atomic64_inc(&counters.multicalls);
	atomic64_add(count, &counters.domctls);
	return HYPERVISOR_multicall(calls, count);
}

int hypercall_physdev(int cmd, void *argument)
{
	if (fails())
		return -EIO;
	atomic64_inc(&counters.physdev_ops);
	return HYPERVISOR_physdev_op(cmd, argument);
}

int hypercall_event_channel(int cmd, void *argument)
{
	if (fails())
		return -EIO;
	atomic64_inc(&counters.event_channel_ops);
	return HYPERVISOR_event_channel_op(cmd, argument);
}

int hypercall_probe(void)
{
	unsigned int i;

	for (i = 0; i < PVIOMMU_XEN_INTERFACES; i++) {
		struct domctl op = { .cmd = DOMCTL_GETDOMAININFO };

		if (domctl(&op, pviommu_xen_interfaces[i].domctl) == -EACCES)
			continue;
		interface = &pviommu_xen_interfaces[i];
		return 0;
	}
	pr_err("Xen takes none of the control interfaces from %#x to %#x (Xen %s to %s): this module is of another time than this Xen\n",
	       pviommu_xen_interfaces[0].domctl,
	       pviommu_xen_interfaces[PVIOMMU_XEN_INTERFACES - 1].domctl,
	       pviommu_xen_interfaces[0].xen,
	       pviommu_xen_interfaces[PVIOMMU_XEN_INTERFACES - 1].xen);
	return -ENODEV;
}
