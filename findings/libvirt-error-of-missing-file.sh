#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# What libvirt's test driver says of a file that is not there changed its kind, code and meaning.
#
# Software   libvirt0 9.0.0 (Debian 12) and 11.3.0 (Debian 13), headers of libvirt-dev 9.0.0.
# Seen       virConnectOpen("test:///FILE") with a FILE that does not exist fails in both.  9.0.0 gives
#            code 27, VIR_ERR_XML_ERROR, of domain 12, VIR_FROM_TEST, with no errno: the file could not
#            be parsed.  11.3.0 gives code 38, VIR_ERR_SYSTEM_ERROR, of domain 0, VIR_FROM_NONE, with
#            ENOENT in int1.
# Expected   One code for the same mistake: codes are what a program can decide by.
# It matters because VIR_ERR_SYSTEM_ERROR with ENOENT is also what virConnectOpen() gives where nobody
#            listens at libvirtd's socket (seen with 9.0.0; of domain 7, VIR_FROM_RPC).  A program that
#            tells its users whether to start libvirtd or to mend the URI by the code alone, and was
#            written with 9.0, says the wrong one with 11.3; it has to look at the domain or at the URI.
#            And the new error does not say any more that it is the test driver's.
. "$(dirname "$0")/finding.sh"
need cc:gcc
package bookworm libvirt-dev 9.0.0-4+deb12u2 \
  3bf6830c320fea9f1245ce24405db58f6573abb76688e83e501383666f6c1acd
program bookworm libvirt0 9.0.0-4+deb12u2 5021f64571270ac49ea59a471d819444d13a5fd316b1bac18105bd0e6e8db0a6
program trixie libvirt0 11.3.0-3+deb13u3 6a1226638353d6914ff4fdf6db693a5aff4b8fb450c7e642cfb92abb73a1c294
cat >"$temp/open.c" <<'C'
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <stdio.h>
static void quiet(void *data, virErrorPtr error)
{
    (void)data;
    (void)error;
}
int main(int count, char **words)
{
    virErrorPtr error;
    virSetErrorFunc(NULL, quiet);
    if (count != 2 || virConnectOpen(words[1]))
        return 1;
    error = virGetLastError();
    if (!error)
        return 1;
    printf("code %d, domain %d, errno %d\n", error->code, error->domain, error->int1 > 0 ? error->int1 : 0);
    return 0;
}
C
missing() {  # SUITE
  cc -isystem "$temp/bookworm/usr/include" -o "$temp/$1/open" "$temp/open.c" \
    "$temp/$1/usr/lib/x86_64-linux-gnu/libvirt.so.0" -Wl,--unresolved-symbols=ignore-in-shared-libs ||
    die "open.c does not compile"
  run "$1" /open "test://$temp/missing.xml" 2>"$temp/log" || { cat "$temp/log" >&2; die "open fails"; }
}
seen 9.0.0 "code 27, domain 12, errno 0" "$(missing bookworm)"
seen 11.3.0 "code 38, domain 0, errno 2" "$(missing trixie)"
finish
