# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=sh
# What the base scripts of the rigs share: an unpacked tree that is made once, and again
# when stamp, which the script defines, says something else.
#
#     open_base CACHE FOLDER       prints FOLDER and ends when it is as it should be
#     guest_tree LIBRARIES         in $work/root, the current folder from then on
#     add_modules LINUX NAME...    the kernel's modules there
#     add_programs TREE LIBRARIES PATH...    programs of another system there
#     close_base FILE...           base.cpio of it; FILEs of $new are kept with their sums
die() { echo "base: $*" >&2; exit 1; }

# need NAME:PACKAGE...
need() {
  for needed in "$@"; do
    command -v "${needed%:*}" >/dev/null || die "${needed%:*} is not installed (Debian: ${needed#*:})"
  done
}

# open_base CACHE FOLDER: $folder, and $new and $work to make it in.
open_base() {
  folder=$2 new=$2.new
  mkdir -p "$1"
  exec 9>"$1/base.lock"
  flock 9
  # No stamp without packages.
  if wanted=$(stamp) && [ "$(cat "$folder/stamp" 2>/dev/null)" = "$wanted" ] &&
    (cd "$folder" && sha256sum --check --status SHA256SUMS); then
    printf '%s\n' "$folder"
    exit 0
  fi
}
# begin_base: behind open_base, when the packages are there.
begin_base() {
  work=$(mktemp -d "${TMPDIR:-/tmp}/pviommu-base.XXXXXX")
  trap 'rm -rf "$work" "$new"' EXIT
  trap 'exit 130' INT TERM
  rm -rf "$new"
  mkdir -p "$work/linux" "$work/root" "$new"
}
# unpack_linux PACKAGE...: $release is the kernel's, $vmlinuz it, its modules are in
# $work/linux/lib.  Where they lie differs: /lib or, since Debian 13, /usr/lib, and of a kernel in
# several packages vmlinuz lies there too.  Power's is not compressed, and named so.
unpack_linux() {
  for package in "$@"; do dpkg-deb -x "$package" "$work/linux"; done
  [ -e "$work/linux/lib" ] || ln -s usr/lib "$work/linux/lib"
  release=$(basename "$work"/linux/lib/modules/*)
  for vmlinuz in "$work/linux/boot/vmlinuz-$release" "$work/linux/boot/vmlinux-$release" \
    "$work/linux/lib/modules/$release/vmlinuz"; do
    [ ! -e "$vmlinuz" ] || return 0
  done
  die "$*: there is no vmlinuz"
}
# guest_tree BUSYBOX [LIBRARIES]
guest_tree() {
  cd "$work/root"
  mkdir -p bin dev etc lib64 proc root run sys tmp usr/bin usr/sbin sbin var "lib/modules/$release"
  [ -z "${2:-}" ] || mkdir -p "$2"
  ln -s /run var/run
  ln -s busybox bin/sh
  cp -L "$1" bin/busybox
  echo 'root:x:0:0:root:/root:/bin/sh' >etc/passwd
  echo 'root:x:0:' >etc/group
}

# add_module LINUX NAME: into lib/modules of the current folder, from the tree of the
# package at LINUX, with what it depends on; the kernel cannot be asked, it does not
# run yet.  $release is the kernel's.
add_module() {
  set -- "$1" "$(echo "$2" | tr _ -)"
  [ ! -e "lib/modules/$release/$2.ko" ] || return 0
  found=$(find "$1/lib/modules" -name "$(echo "$2" | sed 's/-/[-_]/g').ko*")
  if [ -z "$found" ]; then
    grep -q "/$(echo "$2" | sed 's/-/[-_]/g')\.ko$" "$1/lib/modules/$release/modules.builtin" ||
      die "$release has no module $2"
    return 0
  fi
  case $found in
    *.xz) xz -dc "$found" >"lib/modules/$release/$2.ko" ;;
    *) cp "$found" "lib/modules/$release/$2.ko" ;;
  esac
  # The strings of the section .modinfo.
  for dependency in $(LC_ALL=C tr '\0' '\n' <"lib/modules/$release/$2.ko" | LC_ALL=C sed -n 's/^depends=//p' | tr , ' '); do
    add_module "$1" "$dependency"
  done
}
# add_modules LINUX NAME...: in the current folder, with what modprobe reads.
add_modules() {
  linux=$1
  shift
  for module in "$@"; do add_module "$linux" "$module"; done
  cp "$linux/lib/modules/$release/modules.builtin" "lib/modules/$release/"
  busybox depmod -b . "$release" || die "depmod failed"
}

# add_programs TREE LIBRARIES PATH...: in the current folder, programs of TREE, where packages are
# unpacked, that run with TREE's C library and others, and none of dom0's; all of these go to the
# folder LIBRARIES, which is named without the / before it.  PATH is a script that starts it.
add_programs() {
  tree=$1 own=$2
  shift 2
  mkdir -p "$own/programs"
  add_libraries_of "$tree" "$own" "$@"
  for path in "$@"; do
    mkdir -p "${path%/*}"
    cp "$tree/$path" "$own/programs/"
    printf '#!/bin/sh\nexec /%s/%s --library-path /%s --argv0 "$0" /%s/programs/%s "$@"\n' \
      "$own" ld-linux-x86-64.so.2 "$own" "$own" "${path##*/}" >"$path"
    chmod 755 "$path"
  done
}
# add_libraries_of TREE LIBRARIES PATH...: all that these programs and libraries of TREE need.
add_libraries_of() {
  tree=$1 own=$2
  shift 2
  search=$tree/lib/x86_64-linux-gnu:$tree/usr/lib/x86_64-linux-gnu
  loader=$(find "$tree/lib" "$tree/usr/lib" -name ld-linux-x86-64.so.2 2>/dev/null | head -n 1)
  [ -n "$loader" ] || die "there is no C library in the packages"
  mkdir -p "$own"
  cp -L "$loader" "$own/"
  needed=$(for path in "$@"; do
    "$loader" --library-path "$search" --list "$tree/$path" || exit 1
  done) || die "$* do not find their libraries: $needed"
  for library in $(printf '%s\n' "$needed" | awk '$2 == "=>" { print $3 }' | sort -u); do
    case $library in
      "$tree"/*) cp -L "$library" "$own/" ;;
      */ld-linux*) ;;
      *) die "the packages do not have ${library##*/}" ;;
    esac
  done
}

# close_base FILE...: prints the folder.
close_base() {
  find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 >"$new/base.cpio"
  (cd "$new" && sha256sum base.cpio "$@" >SHA256SUMS)
  stamp >"$new/stamp"
  rm -rf "$folder"
  mv "$new" "$folder"
  printf '%s\n' "$folder"
}
