#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Xen's argument for making a domain grew in its middle, at an unchanged size of the call.
#
# Software   libxen-dev 4.17.7 (Debian 12) and 4.20.4 (Debian 13): the public headers of Xen.
# Seen       struct xen_domctl_createdomain has a new member before others, so that what lies behind
#            it has moved by 4 bytes: arch.emulation_flags was at 56 and is at 60.  Its own size went
#            from 64 to 68.  struct xen_domctl around it has 144 bytes in both, as the union in it is
#            padded; the number of the operation is the same, and so are the places of all members
#            before the new one (flags, max_vcpus, grant_opts).
#            The interface numbers do not move together: that of domctl went from 0x15 to 0x17, that of
#            sysctl is 0x15 in both.
# Expected   Reserved room at the end, or another number of the operation, as stable interfaces do.
# It matters to whoever makes Xen calls without libxenctrl (one build that is to serve two
#            versions, a kernel module, another language's binding): with the old layout and the new
#            number, the flags of the emulated devices land in cpupool_id, and a domain without a local
#            APIC is asked for.  No size check can tell.  And a program that has found out one of the
#            two numbers does not know the other.
. "$(dirname "$0")/finding.sh"
need cc:gcc
package bookworm libxen-dev 4.17.7+13-g2445b30a44-0+deb12u1 \
  0c248b179f1d58277bdf2d67660b75219172bc812aa89cfe4b70a6e12f913a4c
package trixie libxen-dev 4.20.4+63-g7abfd2bce2-0+deb13u1 \
  88916515c77fba70ee7b7407c73e167d62dc9c28a73063b80911998a33c3bc0e
cat >"$temp/layout.c" <<'C'
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#define __XEN_TOOLS__ 1
#include <xen/xen.h>
#include <xen/domctl.h>
#include <xen/sysctl.h>
#define AT(member) offsetof(struct xen_domctl_createdomain, member)
int main(void)
{
    printf("call %zu, createdomain is operation %d of %zu: flags %zu, max_vcpus %zu, grant_opts %zu, "
           "vmtrace_size %zu, cpupool_id %zu, emulation_flags %zu; domctl %#x, sysctl %#x\n",
           sizeof(struct xen_domctl), XEN_DOMCTL_createdomain, sizeof(struct xen_domctl_createdomain),
           AT(flags), AT(max_vcpus), AT(grant_opts), AT(vmtrace_size), AT(cpupool_id), AT(arch.emulation_flags),
           XEN_DOMCTL_INTERFACE_VERSION, XEN_SYSCTL_INTERFACE_VERSION);
    return 0;
}
C
layout() {  # SUITE
  cc -isystem "$temp/$1/usr/include" -o "$temp/layout-$1" "$temp/layout.c" || die "layout.c does not compile"
  "$temp/layout-$1"
}
seen 4.17 "call 144, createdomain is operation 1 of 64: flags 20, max_vcpus 28, grant_opts 44, \
vmtrace_size 48, cpupool_id 52, emulation_flags 56; domctl 0x15, sysctl 0x15" "$(layout bookworm)"
seen 4.20 "call 144, createdomain is operation 1 of 68: flags 20, max_vcpus 28, grant_opts 44, \
vmtrace_size 52, cpupool_id 56, emulation_flags 60; domctl 0x17, sysctl 0x15" "$(layout trixie)"
finish
