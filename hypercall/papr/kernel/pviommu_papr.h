/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * What /dev/pviommu-papr understands.
 *
 * One open file owns what it claims and pins:
 *
 *   CLAIM    a PCI function; its DMA window comes with it   RELEASE
 *   PIN      memory of this process; its real addresses     UNPIN
 *   MAP      pinned pages into a claimed window             UNMAP, GET_TCE
 *   VECTORS  MSIs, whose arrivals read() hands out
 *
 * All goes back when the file is closed, by whatever end of the process.
 *
 * Every structure is read whole; flags that are not named here, and `reserved`,
 * are 0 (else EINVAL).  Addresses are bytes.  PCI functions are named by their sbdf:
 * domain << 16 | bus << 8 | device << 3 | function.
 */
#ifndef PVIOMMU_PAPR_H
#define PVIOMMU_PAPR_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define PVIOMMU_PAPR_API 1
#define PVIOMMU_PAPR_DEVICE "/dev/pviommu-papr"

#define PVIOMMU_PAPR_MAX_TCES 512u            /* in one MAP: what one H_PUT_TCE_INDIRECT takes */
#define PVIOMMU_PAPR_MAX_PIN (1ull << 30)     /* bytes in one PIN */
#define PVIOMMU_PAPR_MAX_PINS 65535u          /* in one file */
#define PVIOMMU_PAPR_MAX_VECTORS 256u         /* of one device */

/* Counted by this file: hcalls made, busy answers that were followed included. */
struct pviommu_papr_info {
	__u32 api;		/* PVIOMMU_PAPR_API */
	__u32 page_shift;	/* of the kernel's pages: what PIN takes at least */
	__u64 put_tce;
	__u64 put_tce_indirect;
	__u64 stuff_tce;
	__u64 get_tce;
	__u64 busy;		/* of all these, answers H_BUSY and H_LONG_BUSY_* */
	__u64 pinned;		/* bytes now held, by whole pages of the kernel */
	__u64 mapped;		/* entries now in windows of this file */
	__u64 reserved[4];
};

/* A DMA window, as the device tree has it. */
struct pviommu_papr_window {
	__u32 liobn;		/* names the window in the other calls */
	__u32 page_shift;
	__u64 first;		/* I/O bus address */
	__u64 bytes;
};

/*
 * Takes a function from the kernel: no driver of it or of another function with the
 * same window can bind until the release.  The window is emptied.
 * ENODEV: no such function, a bridge, or without a window.  EBUSY: a driver, or
 * another file, has it or another function behind the same window; or the kernel made
 * a window of its own there (boot with disable_ddw).  EEXIST: CHECK_EMPTY, and an entry
 * was not.
 */
#define PVIOMMU_PAPR_CLAIM_CHECK_EMPTY 1u	/* look at each entry (slow), empty none */
struct pviommu_papr_claim {
	__u32 sbdf;
	__u32 flags;
	struct pviommu_papr_window window;	/* out */
	__u64 occupied;				/* out, EEXIST: the first such I/O bus address */
	__u64 reserved;
};

/*
 * Bus mastering off, its interrupts away; with the last function of the window all
 * entries too; then reset and given back.
 */
struct pviommu_papr_release {
	__u32 sbdf;
	__u32 flags;
};

/*
 * Holds memory for DMA until UNPIN.  `address` and `bytes` are multiples of 4 KiB;
 * `frames` points to bytes / 4096 real addresses to be filled in.  Counted against
 * RLIMIT_MEMLOCK.  ENOMEM: over the limit.  EFAULT: not memory, or not writable.
 * E2BIG: over MAX_PIN.  ENOSPC: MAX_PINS.  EPERM: not the process that opened the file.
 */
#define PVIOMMU_PAPR_PIN_WRITE 1u	/* the device may write */
struct pviommu_papr_pin {
	__u64 address;
	__u64 bytes;
	__u64 frames;
	__u32 flags;
	__u32 pin;		/* out: for UNPIN */
};

/* EBUSY: a page is in a window and no other PIN holds it. */
struct pviommu_papr_unpin {
	__u32 pin;
	__u32 flags;
};

/*
 * Enters tces[0..count) from `ioba` on: real address | 2 (write) | 1 (read), in
 * the order of bytes of this CPU.  All or nothing, in one hcall where the hypervisor
 * has H_PUT_TCE_INDIRECT.  ENODEV: the window is not of this file.  ERANGE: outside of
 * it.  EPERM: a page that is not pinned here.  EACCES: write, but pinned without.
 * EEXIST: an entry is in use.  EIO: refused by the hypervisor, `rc` is its answer.
 */
struct pviommu_papr_map {
	__u32 liobn;
	__u32 count;		/* 1 to MAX_TCES */
	__u64 ioba;
	__u64 tces;
	__s64 rc;		/* out */
	__u32 flags;
	__u32 reserved;
};

/* Empties entries, used or not.  `done` of them are when it fails. */
struct pviommu_papr_unmap {
	__u32 liobn;
	__u32 flags;
	__u64 ioba;
	__u64 count;
	__u64 done;		/* out */
	__s64 rc;		/* out */
};

struct pviommu_papr_get_tce {
	__u32 liobn;
	__u32 flags;
	__u64 ioba;
	__u64 tce;		/* out */
	__s64 rc;		/* out */
};

/*
 * Interrupt messages of a claimed function.  count 0 gives them back.  EBUSY: there are
 * some already.  ENOSPC: none to be had; else at least one is granted.
 */
#define PVIOMMU_PAPR_MSI 1u
#define PVIOMMU_PAPR_MSIX 2u
struct pviommu_papr_vectors {
	__u32 sbdf;
	__u32 kind;		/* PVIOMMU_PAPR_MSI, PVIOMMU_PAPR_MSIX; with count 0: 0 */
	__u32 count;		/* in: asked for, out: granted */
	__u32 flags;
};

/* read() gives whole ones; EINVAL for a buffer without room for one. */
struct pviommu_papr_arrival {
	__u32 sbdf;
	__u32 vector;
	__u64 count;		/* since the last record of this vector, > 0 */
};

#define PVIOMMU_PAPR_TYPE 0xd7
#define PVIOMMU_PAPR_INFO _IOR(PVIOMMU_PAPR_TYPE, 0, struct pviommu_papr_info)
#define PVIOMMU_PAPR_CLAIM _IOWR(PVIOMMU_PAPR_TYPE, 1, struct pviommu_papr_claim)
#define PVIOMMU_PAPR_RELEASE _IOW(PVIOMMU_PAPR_TYPE, 2, struct pviommu_papr_release)
#define PVIOMMU_PAPR_PIN _IOWR(PVIOMMU_PAPR_TYPE, 3, struct pviommu_papr_pin)
#define PVIOMMU_PAPR_UNPIN _IOW(PVIOMMU_PAPR_TYPE, 4, struct pviommu_papr_unpin)
#define PVIOMMU_PAPR_MAP _IOWR(PVIOMMU_PAPR_TYPE, 5, struct pviommu_papr_map)
#define PVIOMMU_PAPR_UNMAP _IOWR(PVIOMMU_PAPR_TYPE, 6, struct pviommu_papr_unmap)
#define PVIOMMU_PAPR_GET_TCE _IOWR(PVIOMMU_PAPR_TYPE, 7, struct pviommu_papr_get_tce)
#define PVIOMMU_PAPR_VECTORS _IOWR(PVIOMMU_PAPR_TYPE, 8, struct pviommu_papr_vectors)

#endif
