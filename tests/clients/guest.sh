# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# What runs inside QEMU: Debian's cloud kernel with a busybox, and a boot sector.
# Sourced after lib.sh.

guest_cache=${PVIOMMU_CACHE:-${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/pviommu}

# Prints the path of a kernel with NVMe built in; what is wrong goes to stderr.
#
# The package comes from the system's apt sources (bookworm) by apt's own
# signature chain, is checked against the SHA256 of apt's metadata once more, and
# only the kernel is kept, with its own sum beside it.
guest_kernel() {
  local found package version sum folder
  found=$(find_cached_kernel) && { printf '%s\n' "$found"; return; }

  if ! package=$(cloud_kernel_package) || [ -z "$package" ]; then
    { [ "$(id -u)" = 0 ] && apt-get update -qq && package=$(cloud_kernel_package) && [ -n "$package" ]; } >&2 ||
      { echo "apt knows no linux-image-cloud-amd64 (apt-get update?)" >&2; return 1; }
  fi
  version=$(apt-cache show "$package" | awk '/^Version: / { print $2; exit }')
  sum=$(apt-cache show "$package=$version" | awk '/^SHA256: / { print $2; exit }')
  [ ${#sum} = 64 ] || { echo "apt has no SHA256 for $package=$version" >&2; return 1; }

  # apt-get download writes into the current folder, as user _apt when it can.
  folder=$work/kernel
  mkdir -p "$folder" "$guest_cache" || return 1
  (cd "$folder" && timeout 300 apt-get download -qq -o APT::Sandbox::User=root "$package=$version") >&2 ||
    { echo "apt-get download $package=$version failed" >&2; return 1; }
  set -- "$folder"/*.deb
  printf '%s  %s\n' "$sum" "$1" | sha256sum --check --status ||
    { echo "$(basename "$1") is not what apt's metadata says" >&2; return 1; }
  dpkg-deb -x "$1" "$folder/x" >&2 || return 1
  set -- "$folder"/x/boot/vmlinuz-*
  if ! grep -qx CONFIG_BLK_DEV_NVME=y "$folder"/x/boot/config-*; then
    echo "$package has no built-in NVMe driver" >&2
    return 1
  fi
  local name=${1##*/}
  # The sum last and by rename: a kernel without a sum is a broken download.
  cp "$1" "$guest_cache/$name.$$" && mv "$guest_cache/$name.$$" "$guest_cache/$name" || return 1
  (cd "$guest_cache" && sha256sum "$name" >"$name.$$" && mv "$name.$$" "$name.sha256") || return 1
  rm -rf "$folder"
  printf '%s\n' "$guest_cache/$name"
}

find_cached_kernel() {
  local sums name=
  for sums in "$guest_cache"/vmlinuz-*-cloud-amd64.sha256; do
    [ -f "$sums" ] || return 1
    if (cd "$guest_cache" && sha256sum --check --status "$sums"); then name=${sums%.sha256}; fi
  done
  [ -n "$name" ] && printf '%s\n' "$name"
}

cloud_kernel_package() {
  apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '$1 == "Depends:" { print $2; exit }'
}

# guest_initramfs FILE
guest_initramfs() {
  local root=$work/initramfs busybox applet
  busybox=$(command -v busybox) || { echo "busybox is not installed (Debian: busybox-static)" >&2; return 1; }
  if readelf -lW "$busybox" | grep -q INTERP; then
    echo "$busybox is not static (Debian: busybox-static)" >&2
    return 1
  fi
  mkdir -p "$root"/{bin,dev,proc,sys} || return 1
  cp "$busybox" "$root/bin/busybox"
  for applet in awk cat cut dd echo grep ls mount poweroff sed seq sh sha256sum sleep sync tr usleep; do
    ln -s busybox "$root/bin/$applet"
  done
  install -m 755 "$here/guest-init" "$root/init"
  (cd "$root" && find . | cpio --quiet -o -H newc -R 0:0) >"$1"
}

# boot_sector FILE BLOCKS
boot_sector() {
  cc -m32 -x assembler-with-cpp -DREAD_BLOCKS="$2" -c -o "$work/boot.o" "$here/boot-sector.S" &&
    ld -m elf_i386 -Ttext=0x7c00 -e start --oformat=binary -o "$1" "$work/boot.o" &&
    [ "$(stat -c %s "$1")" = 512 ]
}
