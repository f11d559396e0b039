#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The Debian packages in a release of Debian that has nothing else: installed, used, upgraded,
# removed and purged, and nothing is left.  Runs in a copy of the folder that .ci/debian makes.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
packages=$PWD/build-packages
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
export DEBIAN_FRONTEND=noninteractive

step() {  # NAME COMMAND...
  name=$1
  shift
  if "$@" >"$scratch/log" 2>&1; then
    ok "$name"
    return 0
  fi
  show "$scratch/log"
  not_ok "$name" "status other than 0"
  return 1
}
apt() { apt-get --quiet --yes --no-install-recommends "$@"; }
# What there is, but for what every installation changes.
files() {
  find / -xdev \( -path /root/pviommu -o -path "$scratch" -o -path /proc -o -path /sys -o -path /dev -o -path /tmp -o -path /run \
    -o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/cache -o -path /var/log \) -prune -o -print | sort
}

apt update >/dev/null 2>&1
step "what the test itself needs" apt install qemu-utils procps || finish
files >"$scratch/before"

# ---- the user's way in ---------------------------------------------------------------------

# Modules of kernels are for machines with a kernel.
ls "$packages"/first/*.deb | grep -v -e -dkms_ -e -dbgsym_ >"$scratch/list"
# shellcheck disable=SC2046 # words wanted
step "apt install ./*.deb" apt install $(cat "$scratch/list") || finish
step "dpkg finds nothing changed" dpkg --verify
step "pviommu --version" pviommu --version
step "pviommu info" pviommu info
step "the modules of the packages are found" sh -c 'pviommu info --json | grep -q "\"xen\""'
truncate -s 64M "$scratch/disk.img"
chmod 666 "$scratch/disk.img"
chmod 755 "$scratch"
reads_back() {  # AS...
  "$@" pviommu run --hypervisor="model:nvme,file=$scratch/disk.img" -- \
    qemu-io -f raw -c 'write -P 0x5a 0 4M' -c 'read -P 0x5a 0 4M' nvme://0000:00:05.0/1 >"$scratch/out" 2>&1 || { cat "$scratch/out"; return 1; }
  cat "$scratch/out"
  grep -q 'read 4194304/4194304' "$scratch/out" && ! grep -q 'Pattern verification failed' "$scratch/out"
}
step "qemu-io on the model" reads_back env
step "qemu-io on the model, as an ordinary user" reads_back setpriv --reuid=65534 --regid=65534 --clear-groups
step "the conformance program" pviommu run --hypervisor="model:nvme,addr=0000:00:05.0;edu,addr=0000:00:06.0" -- \
  "$(dpkg -L pviommu-conformance | grep /vfio-conformance)" --gtest_filter='Container.*'

# ---- the next version ------------------------------------------------------------------------

version=$(dpkg-query -W -f '${Version}' pviommu)
mkdir "$scratch/next"
while read -r deb; do
  rm -rf "$scratch/tree"
  dpkg-deb --raw-extract "$deb" "$scratch/tree" &&
    sed -i "s/^Version: .*/Version: $version+next/; s/(= $version)/(= $version+next)/g" "$scratch/tree/DEBIAN/control" &&
    dpkg-deb --root-owner-group --build "$scratch/tree" "$scratch/next/" >/dev/null || not_ok "next version of $deb" "dpkg-deb failed"
done <"$scratch/list"
step "apt install of the next version" apt install "$scratch"/next/*.deb
step "all packages are of it" sh -c "! dpkg-query -W -f '\${Package} \${Version}\n' | grep pviommu | grep -v -F '$version+next'"
step "qemu-io after the upgrade" reads_back env

# ---- the way out -----------------------------------------------------------------------------

installed=$(dpkg-query -W -f '${Package} ' '*pviommu*')
# shellcheck disable=SC2086 # words wanted
step "apt remove" apt remove $installed
# apt knows no package any more that came from a file.
# shellcheck disable=SC2086 # words wanted
step "dpkg --purge" dpkg --purge $installed
step "apt autoremove" apt autoremove --purge
files >"$scratch/after"
# What came as a dependency and left something is not ours.
diff "$scratch/before" "$scratch/after" | grep '^>' | grep -i pviommu >"$scratch/log"
if [ -s "$scratch/log" ]; then
  show "$scratch/log"
  not_ok "nothing is left" "see above"
else
  ok "nothing is left"
fi
finish
