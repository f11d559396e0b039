#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# libxenctrl changes all its names with each Xen, and its sisters none.
#
# Software   libxenmisc, libxencall1, libxenforeignmemory1, libxenevtchn1 and libxendevicemodel1 of Xen
#            4.17.7 (Debian 12) and 4.20.4 (Debian 13).
# Seen       libxenctrl's SONAME has Xen's version in it, and each of its symbols carries that version
#            too, in a form that changed besides: VERS_4.17.0, then libxenctrl_4.20.0.  xc_domain_getinfo
#            is gone; xc_domain_getinfo_single is no new name for it, it answers for that domain only and
#            not for the next one above.
#            The libraries beside it, of the same source tree, have SONAMEs ending in .so.1 in both, and
#            every symbol that they had in 4.17 is in 4.20 with the same version.
# Expected   One rule for the libraries of one package.
# It matters to a program that is to run on more than one Xen: what is linked with libxenctrl starts on
#            one version only, what makes its control calls through libxencall starts on all of them (and
#            has to know the interface numbers).  And who walked the domains with xc_domain_getinfo ends at the first unused number where it was
#            ported by name.
. "$(dirname "$0")/finding.sh"
need nm:binutils readelf:binutils
old=4.17.7+13-g2445b30a44-0+deb12u1
package bookworm libxenmisc4.17 "$old" bb43a3633976c8dfa79e0cad473ffeb4f014a5f666b3b62a32bd42ab6daf8862
package bookworm libxencall1 "$old" 7479a19973fc1f5d35a73370e3ace8968d3bfb6c49f6b723b2ce85103fd7ebf1
package bookworm libxenforeignmemory1 "$old" c3a57bceb6eb06d77b960a133ac0591024d992fd1e820b25c4e3323d4635e04e
package bookworm libxenevtchn1 "$old" 95f4a1a52c95c62360881c1a2770a47b5ff52bed6658e008754bda0cf5c92f0b
package bookworm libxendevicemodel1 "$old" 205a8f266517dee5ac9c676aa2540e2865758cc584e2602ed978a76f160ef042
new=4.20.4+63-g7abfd2bce2-0+deb13u1
package trixie libxenmisc4.20 "$new" 89be18662c2b192e7c6568002674df88e28393eaf791d113c36d4656a45dd69e
package trixie libxencall1 "$new" 53c00b9ff1bddb35b5eb36907ad34fd539b72fe9c9de780cc44fa707d5fed663
package trixie libxenforeignmemory1 "$new" 37f606e238f5c89c5fdb78852c7584e9c2a979e2583570c7d007e4ce946a9b18
package trixie libxenevtchn1 "$new" 6f22bdd3b6e1821222e6dc0b5b16af26b71daca9745f3c2bc8e967c8879594a4
package trixie libxendevicemodel1 "$new" 8a2c721fd23953f69f10dfdb73f308b816322c1870dfa6ee98b19a4b40714e09

library() { find "$temp/$1" -type f -name "$2.so.*" | head -n 1; }
soname() { readelf -d "$(library "$1" "$2")" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p'; }
# Names and their versions, functions and variables; the versions' own names are left out.
symbols() { nm -D --defined-only "$(library "$1" "$2")" | awk '$2 != "A" { sub("@@", "@", $3); print $3 }' | LC_ALL=C sort -u; }
versions() { symbols "$1" "$2" | sed -n 's/.*@//p' | LC_ALL=C sort -u | tr '\n' ' '; }
getinfo() { symbols "$1" libxenctrl | sed -n 's/@.*//; /^xc_domain_getinfo/p' | tr '\n' ' '; }

seen "libxenctrl of 4.17" "libxenctrl.so.4.17 VERS_4.17.0 " "$(soname bookworm libxenctrl) $(versions bookworm libxenctrl)"
seen "libxenctrl of 4.20" "libxenctrl.so.4.20 libxenctrl_4.20.0 " "$(soname trixie libxenctrl) $(versions trixie libxenctrl)"
seen "getinfo in 4.17" "xc_domain_getinfo xc_domain_getinfolist " "$(getinfo bookworm)"
seen "getinfo in 4.20" "xc_domain_getinfo_single xc_domain_getinfolist " "$(getinfo trixie)"
for name in libxencall libxenforeignmemory libxenevtchn libxendevicemodel; do
  symbols bookworm "$name" >"$temp/old"
  symbols trixie "$name" >"$temp/new"
  [ -s "$temp/old" ] || die "$name has no symbols"
  seen "$name" "$name.so.1, $name.so.1, 0 symbols lost" "$(soname bookworm "$name"), $(soname trixie "$name"), \
$(LC_ALL=C comm -23 "$temp/old" "$temp/new" | wc -l) symbols lost"
done
finish
