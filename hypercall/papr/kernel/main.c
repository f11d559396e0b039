// SPDX-License-Identifier: GPL-2.0
/*
 * The file /dev/pviommu-papr: open and close, the table of its ioctls, and the module.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/nospec.h>
#include <linux/pci.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include <asm/firmware.h>

#include "papr.h"

static long do_info(struct owner *o, struct call *call)
{
	struct pviommu_papr_info *info = call->argument;

	mutex_lock(&o->lock);
	*info = o->counts;
	info->pinned = PFN_PHYS(o->pinned);
	mutex_unlock(&o->lock);
	info->api = PVIOMMU_PAPR_API;
	info->page_shift = PAGE_SHIFT;
	return respond(call);
}

union argument {
	struct pviommu_papr_info info;
	struct pviommu_papr_claim claim;
	struct pviommu_papr_release release;
	struct pviommu_papr_pin pin;
	struct pviommu_papr_unpin unpin;
	struct pviommu_papr_map map;
	struct pviommu_papr_unmap unmap;
	struct pviommu_papr_get_tce get_tce;
	struct pviommu_papr_vectors vectors;
};

struct operation {
	unsigned int command;
	size_t size;
	long (*run)(struct owner *o, struct call *call);
};

/*
 * A command has the length of its structure in it, and the caller's is that long: there is
 * no shorter one of an older program.  A structure that grew is another command.
 */
#define OPERATION(_command, _member, _run) \
	[_IOC_NR(_command)] = { \
		.command = _command, \
		.size = sizeof(((union argument *)NULL)->_member) + \
			BUILD_BUG_ON_ZERO(sizeof(((union argument *)NULL)->_member) != \
					  _IOC_SIZE(_command)), \
		.run = _run, \
	}

static const struct operation operations[] = {
	OPERATION(PVIOMMU_PAPR_INFO, info, do_info),
	OPERATION(PVIOMMU_PAPR_CLAIM, claim, papr_do_claim),
	OPERATION(PVIOMMU_PAPR_RELEASE, release, papr_do_release),
	OPERATION(PVIOMMU_PAPR_PIN, pin, papr_do_pin),
	OPERATION(PVIOMMU_PAPR_UNPIN, unpin, papr_do_unpin),
	OPERATION(PVIOMMU_PAPR_MAP, map, papr_do_map),
	OPERATION(PVIOMMU_PAPR_UNMAP, unmap, papr_do_unmap),
	OPERATION(PVIOMMU_PAPR_GET_TCE, get_tce, papr_do_get_tce),
	OPERATION(PVIOMMU_PAPR_VECTORS, vectors, papr_do_vectors),
};

static long papr_ioctl(struct file *file, unsigned int request, unsigned long user)
{
	unsigned int number = _IOC_NR(request);
	const struct operation *operation;
	union argument argument = {};
	struct call call = {
		.argument = &argument,
		.user = (void __user *)user,
	};

	if (number >= ARRAY_SIZE(operations))
		return -ENOTTY;
	operation = &operations[array_index_nospec(number, ARRAY_SIZE(operations))];
	if (operation->command != request)
		return -ENOTTY;
	call.size = operation->size;
	if ((_IOC_DIR(request) & _IOC_WRITE) && copy_from_user(&argument, call.user, call.size))
		return -EFAULT;
	return operation->run(file->private_data, &call);
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

static int papr_close(struct inode *inode, struct file *file)
{
	struct owner *o = file->private_data;

	papr_release_all(o);
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
	.name = DRIVER_NAME,
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
