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

# In dom0: nothing of pviommu's is left of Xen, after at most ten seconds.
nothing_left() {
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    left=$(pviommu reap --dry-run --hypervisor=xen 2>&1) && break
    sleep 1
  done
  equal "nothing is left${1:+ ($1)}" "nothing to be done" "$left"
}

in_dom0() { in_guest "$@"; }
gtest_in_dom0() { gtest_in_guest "$@"; }
