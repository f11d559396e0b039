/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Interrupts of a VFIO device that arrive elsewhere than on an eventfd.
 *
 * An addition to <linux/vfio.h> for C and C++; doc/notification.md is its specification.
 * A program asks once for each open device, and only then may use the second part:
 *
 *   VFIO_DEVICE_GET_IRQ_INFO   with PVIOMMU_IRQ_INFO_FLAG_CAPS in flags and an argsz that
 *                              takes the chain: which kinds an index supports
 *   VFIO_DEVICE_SET_IRQS       with PVIOMMU_IRQ_SET_DATA_NOTIFICATION | ACTION_TRIGGER:
 *                              an array of struct pviommu_notification, one a vector
 *
 * The kernel's VFIO answers the first without the flag, and the second with EINVAL; so
 * does pviommu to a program that has not asked.
 */
#ifndef PVIOMMU_VFIO_NOTIFICATION_H
#define PVIOMMU_VFIO_NOTIFICATION_H

#include <linux/types.h>
#include <linux/vfio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* In: the capability chain is wanted.  Out: there is one. */
#define PVIOMMU_IRQ_INFO_FLAG_CAPS (1U << 31)

/* argsz below the chain's end: argsz tells what is needed, cap_offset is 0. */
struct pviommu_irq_info {
  struct vfio_irq_info info;
  __u32 cap_offset; /* from the start of this structure */
  __u32 reserved;
};

/* What a vector can be bound to; bits of pviommu_irq_info_cap_notifications.kinds. */
#define PVIOMMU_NOTIFY_NONE 0U
#define PVIOMMU_NOTIFY_EVENTFD (1U << 0)
#define PVIOMMU_NOTIFY_EVENT_CHANNEL (1U << 1)
#define PVIOMMU_NOTIFY_GUEST_VECTOR (1U << 2)

#define PVIOMMU_IRQ_INFO_CAP_NOTIFICATIONS 0x7076
struct pviommu_irq_info_cap_notifications {
  struct vfio_info_cap_header header; /* version 1 */
  __u32 kinds;                        /* NONE is always possible */
  /*
   * Descriptor of this process on which the ports that were made for it (EVENT_CHANNEL of
   * PVIOMMU_DOMID_SELF, port 0) are read, as on /dev/xen/evtchn: read(2) gives ports of 4
   * bytes, each written back when its consumer is ready for the next; non-blocking, for
   * poll(2).  -1: there is none.  pviommu's own, and open as long as the device is: a
   * program does not close it, and duplicates what it keeps or passes on.
   */
  __s32 event_fd;
};

/* A data kind of SET_IRQS beside VFIO_IRQ_SET_DATA_*; with ACTION_TRIGGER only. */
#define PVIOMMU_IRQ_SET_DATA_NOTIFICATION (1U << 31)

/* Event channel of the domain that the program runs in. */
#define PVIOMMU_DOMID_SELF 0x7ff0U

struct pviommu_notification {
  __u32 kind;  /* one PVIOMMU_NOTIFY_* */
  __u32 domid; /* EVENT_CHANNEL, GUEST_VECTOR; else 0 */
  union {
    __s32 eventfd; /* EVENTFD */
    /*
     * EVENT_CHANNEL.  Of another domain: a port that it has allocated for this one.  Of
     * PVIOMMU_DOMID_SELF: a port of this domain that is sent to; 0: a port is made, its
     * number is written back here, and it is read on event_fd.
     */
    __u32 port;
    /*
     * GUEST_VECTOR: vector of the local APIC, 16 to 255; 0: the event channel that the guest
     * has bound, or will bind, to its pirq gflags.
     */
    __u32 gvec;
    __u32 none; /* NONE: 0 */
  };
  /* GUEST_VECTOR: destination and delivery mode, as XEN_DOMCTL_VMSI_X86_*; else 0. */
  __u32 gflags;
};

#ifdef __cplusplus
}
#endif

#endif
