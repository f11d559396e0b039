// SPDX-License-Identifier: LGPL-2.1-or-later
// /dev/xen/evtchn with what Xen 4.17's copy of include/uapi/xen/evtchn.h is too old for.
#pragma once

#include "hypercall/xen/xen_calls.h"  // declares domid_t
#include <xen/sys/evtchn.h>

// Linux 6.6.
#ifndef IOCTL_EVTCHN_BIND_STATIC
struct ioctl_evtchn_bind {
  unsigned int port;
};
#define IOCTL_EVTCHN_BIND_STATIC _IOC(_IOC_NONE, 'E', 7, sizeof(struct ioctl_evtchn_bind))
#endif

