# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=sh
# What the findings share.  Debian's packages are downloaded by an apt that has lists, state and
# cache of its own (tests/rigs/fetch.sh), from the mirrors that the machine's apt is configured
# with; nothing is installed, all is in a temporary folder that is removed at the end.
#
#   package SUITE NAME VERSION SHA256 [all]   that package, unpacked in $temp/SUITE
#   program SUITE NAME VERSION SHA256   the same, and what it depends on, as the suite has it today
#   run SUITE PATH ARGUMENT...          PATH of that suite, with that suite's C library
#   need NAME:PACKAGE...                programs of this machine
#   seen WHAT EXPECTED OUTPUT           prints what was seen; it must be what was expected
#   finish                              the end: 0 as the finding says, 1 it has changed
#
# $FINDINGS_CACHE, a folder, keeps lists and packages for the next run.  The sum is checked all the
# same.  Status 2: it could not be tried, because a package is gone from the mirror or a program is
# missing.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../tests/rigs/fetch.sh"
die() { echo "$(basename "$0"): $*" >&2; exit 2; }
temp=$(mktemp -d "${TMPDIR:-/tmp}/finding.XXXXXX")
remove_temp() { rm -rf "$temp"; }
trap remove_temp EXIT
trap 'exit 130' INT TERM
kept=${FINDINGS_CACHE:-$temp/packages}
changed=0

need() {
  for needed in "$@"; do
    command -v "${needed%:*}" >/dev/null || die "${needed%:*} is not installed (Debian: ${needed#*:})"
  done
}
# use_suite SUITE: with_apt asks that suite.
use_suite() {
  suite=$1
  if [ ! -e "$kept/apt-$suite/ready" ]; then
    mkdir -p "$kept"
    rm -rf "$kept/apt-$suite"
    TMPDIR=$kept start_apt amd64
    trap remove_temp EXIT
    sed -i "s|$apt|$kept/apt-$suite|g" "$apt/apt.conf" "$apt/sources.list"
    mv "$apt" "$kept/apt-$suite"
    : >"$kept/apt-$suite/ready"
  fi
  apt=$kept/apt-$suite
}
# unpack SUITE FILE
unpack() { mkdir -p "$temp/$1" && dpkg-deb -x "$2" "$temp/$1"; }

package() {  # SUITE NAME VERSION SHA256
  debs=$kept/debs-$1
  mkdir -p "$debs"
  file=$debs/$2_$(printf %s "$3" | sed "s/:/%3a/")_${5:-amd64}.deb
  if ! echo "$4  $file" | sha256sum --check --status 2>/dev/null; then
    use_suite "$1"
    (cd "$debs" && with_apt apt-get download "$2=$3") >"$temp/log" 2>&1 ||
      { cat "$temp/log" >&2; die "$1 has no $2 $3 any more, or it cannot be downloaded"; }
    echo "$4  $file" | sha256sum --check --quiet >&2 || die "$2 $3 is not the package that was looked at"
  fi
  unpack "$1" "$file"
}
program() {  # SUITE NAME VERSION SHA256
  package "$@"
  use_suite "$1"
  needed=$(with_needed "$2=$3")
  [ -n "$needed" ] || die "apt finds no way to install $2 $3"
  mkdir -p "$kept/needed-$1"
  # Not in that folder: what is there already would be left out.
  # shellcheck disable=SC2086 # words wanted
  (cd "$temp" && with_apt apt-get download --print-uris $needed) |
    awk '{ print substr($4, 8) "  " $2 }' >"$temp/sums"
  if ! (cd "$kept/needed-$1" && sha256sum --check --status "$temp/sums" 2>/dev/null); then
    # shellcheck disable=SC2086 # words wanted
    (cd "$kept/needed-$1" && with_apt apt-get download $needed && sha256sum --check --quiet "$temp/sums") >"$temp/log" 2>&1 ||
      { cat "$temp/log" >&2; die "what $2 depends on cannot be downloaded"; }
  fi
  while read -r _ file; do
    case $file in "$2"_*) ;; *) unpack "$1" "$kept/needed-$1/$file" ;; esac
  done <"$temp/sums"
}
run() {  # SUITE PATH ARGUMENT...
  tree=$temp/$1 path=$2
  shift 2
  loader=$(find "$tree/lib" "$tree/usr/lib" "$tree/lib64" "$tree/usr/lib64" -name ld-linux-x86-64.so.2 2>/dev/null | head -n 1)
  [ -n "$loader" ] || die "there is no C library in the packages"
  "$loader" --library-path "$tree/usr/lib/x86_64-linux-gnu:$tree/lib/x86_64-linux-gnu" "$tree$path" "$@"
}
seen() {  # WHAT EXPECTED OUTPUT
  printf '%s: %s\n' "$1" "$3"
  [ "$2" = "$3" ] && return
  printf '  CHANGED, it was: %s\n' "$2"
  changed=1
}
finish() {
  [ "$changed" = 0 ] && echo "as the finding says"
  exit "$changed"
}
