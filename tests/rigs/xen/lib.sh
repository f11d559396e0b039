# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=sh
# For tests on real Xen: ../lib.sh and what only dom0 has.
#
# $debian, $xen_version and $kernels are those of the release, see releases.  When somebody's own
# Xen runs, $xen_version is that one's, in dom0 only.
die() { echo "$*" >&2; exit 1; }
if [ -e /rig/settings ]; then
  . /rig/releases
  use_release "$(cat /rig/debian)"
  [ ! -e /rig/own-xen ] || xen_version=$(cat /sys/hypervisor/version/major).$(cat /sys/hypervisor/version/minor)
else
  . "$(dirname "$0")/../lib.sh"
  . "$rig/releases"
  use_release "${XEN_DEBIAN:-12}"
fi

# In dom0: the carriers there are, by Xen's own list and the UUIDs that pviommu gives them; or
# what keeps the list from being read.
carriers_left() {
  listed=$(rig_domains 2>&1) || { echo "$listed"; return; }
  case $listed in
    '0 '*) printf '%s\n' "$listed" | sed -n 's/^\([0-9]* 7076696f6d6d75.*\)/domain \1/p' ;;
    *) echo "not a list of domains: $listed" ;;
  esac
}

# In dom0: each device and whose it is, by Xen's own words: a domain, or DomIO, its quarantine.
owners() { rig_domains devices; }
# In dom0: each device is where it was when `owners >/tmp/owners` was done.
same_owners() { equal "each device is where it was, by Xen's own words" "$(cat /tmp/owners)" "$(owners 2>&1)"; }
# In dom0: pages that are pinned for a device, by the kernel's count.
pinned() { awk '/^nr_foll_pin_acquired/ { n += $2 } /^nr_foll_pin_released/ { n -= $2 } END { print n + 0 }' /proc/vmstat; }

# In dom0: nothing of pviommu's is left of Xen, after at most ten seconds, by its own account
# and by Xen's.
nothing_left() {
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    left=$(pviommu reap --dry-run --hypervisor=xen 2>&1) && carriers=$(carriers_left) && [ -z "$carriers" ] && break
    sleep 1
  done
  equal "nothing is left${1:+ ($1)}" "nothing to be done" "$left${carriers:+; $carriers}"
}

in_dom0() { in_guest "$@"; }
gtest_in_dom0() { gtest_in_guest "$@"; }
