// SPDX-License-Identifier: GPL-2.0
/*
 * The IOMMU device, what it counts, and the module.
 *
 *      /sys/class/iommu/pviommu_xen/pviommu/NAME            counters, doc/xen-dom0.md
 *      /sys/module/pviommu_xen/parameters/unregister        write 1: the module can be removed
 *      /sys/kernel/debug/pviommu_xen/fail                   write N: the N-th hypercall fails,
 *      /sys/kernel/debug/pviommu_xen/fail_more              and so many behind it
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/debugfs.h>
#include <linux/err.h>
#include <linux/kstrtox.h>
#include <linux/module.h>
#include <linux/sysfs.h>

#include <xen/xen.h>

#include "pviommu_xen.h"

struct iommu_device xen_iommu;
bool closing;

static bool registered;
static DEFINE_MUTEX(register_lock);
static struct dentry *debug_folder;

static bool is_capable(struct device *dev, enum iommu_cap cap)
{
	/* x86's DMA is coherent.  VFIO takes no device without this. */
	return cap == IOMMU_CAP_CACHE_COHERENCY && !closing;
}

static const struct iommu_ops ops = {
	.capable = is_capable,
	.domain_alloc_paging = domain_alloc,
	.probe_device = device_probe,
	.release_device = device_release,
	.device_group = device_group,
	.get_resv_regions = device_reserved,
	.def_domain_type = device_domain_type,
	.default_domain_ops = &carrier_domain_ops,
	.pgsize_bitmap = PAGE_SIZE,
	.owner = THIS_MODULE,
	.identity_domain = &identity_domain,
	.blocked_domain = &blocked_domain,
};

/* ---- counters ------------------------------------------------------------------- */

#define COUNTER(_name) \
	static ssize_t _name##_show(struct device *dev, struct device_attribute *attribute, \
				    char *text) \
	{ \
		return sysfs_emit(text, "%lld\n", (long long)atomic64_read(&counters._name)); \
	} \
	static DEVICE_ATTR_RO(_name)

COUNTER(domctls);
COUNTER(multicalls);
COUNTER(physdev_ops);
COUNTER(event_channel_ops);
COUNTER(carriers_created);
COUNTER(carriers_destroyed);
COUNTER(mapped_pages);
COUNTER(held_pages);
COUNTER(stranded_devices);

static struct attribute *attributes[] = {
	&dev_attr_domctls.attr,
	&dev_attr_multicalls.attr,
	&dev_attr_physdev_ops.attr,
	&dev_attr_event_channel_ops.attr,
	&dev_attr_carriers_created.attr,
	&dev_attr_carriers_destroyed.attr,
	&dev_attr_mapped_pages.attr,
	&dev_attr_held_pages.attr,
	&dev_attr_stranded_devices.attr,
	NULL
};

static const struct attribute_group group = {
	.name = "pviommu",
	.attrs = attributes,
};

static const struct attribute_group *groups[] = { &group, NULL };

/* ---- registration ----------------------------------------------------------------- */

/* The lock is held; called once, as the kernel's IOMMU core holds the module until then. */
static int unregister(void)
{
	if (!registered)
		return 0;
	/* From here on no driver like vfio-pci is bound, and no group claimed. */
	WRITE_ONCE(closing, true);
	if (device_busy() || owner_busy()) {
		WRITE_ONCE(closing, false);
		return -EBUSY;
	}
	device_unwatch();
	device_count_drivers(false);
	iommu_device_unregister(&xen_iommu);
	iommu_device_sysfs_remove(&xen_iommu);
	registered = false;
	pr_info("unregistered: devices have no IOMMU groups any more\n");
	return 0;
}

static int unregister_set(const char *text, const struct kernel_param *parameter)
{
	bool yes;
	int ret = kstrtobool(text, &yes);

	if (ret || !yes)
		return ret;
	mutex_lock(&register_lock);
	ret = unregister();
	mutex_unlock(&register_lock);
	return ret;
}

static const struct kernel_param_ops unregister_ops = {
	.set = unregister_set,
};

module_param_cb(unregister, &unregister_ops, NULL, 0200);
MODULE_PARM_DESC(unregister, "write 1 to take the IOMMU away, when no device is in use; then the module can be removed");

/* Is there anything to do here?  Asked of Xen by making a carrier. */
static int try_carrier(void)
{
	struct carrier *c = carrier_create();

	if (IS_ERR(c))
		return PTR_ERR(c);
	carrier_put(c);
	return 0;
}

static int __init xen_init(void)
{
	int ret;

	if (!xen_pv_domain() || !xen_initial_domain()) {
		pr_err("this is no PV dom0 of Xen%s\n",
		       xen_initial_domain() ? ": a PVH dom0 cannot tell the machine's frames of its memory" : "");
		return -ENODEV;
	}
	ret = hypercall_probe();
	if (!ret)
		ret = try_carrier();
	if (!ret)
		ret = vectors_init();
	if (ret)
		return ret;
	ret = device_watch();
	if (ret)
		goto vectors;
	ret = iommu_device_sysfs_add(&xen_iommu, NULL, groups, KBUILD_MODNAME);
	if (ret)
		goto unwatch;
	ret = iommu_device_register(&xen_iommu, &ops, NULL);
	if (ret)
		goto sysfs;
	registered = true;
	device_count_drivers(true);
	debug_folder = debugfs_create_dir(KBUILD_MODNAME, NULL);
	debugfs_create_atomic_t("fail", 0600, debug_folder, &hypercall_fail);
	debugfs_create_atomic_t("fail_more", 0600, debug_folder, &hypercall_fail_more);
	pr_info("registered; control interface %#x of Xen, %u address bits\n", hypercall_version(),
		firmware_width());
	return 0;
sysfs:
	iommu_device_sysfs_remove(&xen_iommu);
unwatch:
	device_unwatch();
vectors:
	vectors_exit();
	return ret;
}

static void __exit xen_exit(void)
{
	/* Reached only behind unregister(): each probed device holds the module. */
	mutex_lock(&register_lock);
	if (unregister())
		pr_err("removed while devices are in use\n");
	mutex_unlock(&register_lock);
	debugfs_remove_recursive(debug_folder);
	if (carrier_retry())
		pr_err("Xen keeps carriers of this module until the next boot, and the pages in them\n");
	vectors_exit();
}

module_init(xen_init);
module_exit(xen_exit);
MODULE_DESCRIPTION("The IOMMU of a Xen PV dom0, by hypercalls");
MODULE_LICENSE("GPL");
