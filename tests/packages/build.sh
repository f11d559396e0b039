#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The Debian packages, built twice: the same sums, and nothing that lintian calls an error or a
# warning.  Runs in the folder that .ci/debian makes; the packages are in build-packages/.
set -u
cd "$(dirname "$0")/../.." || exit 1
source=$PWD
. tests/tap.sh
to=$source/build-packages
rm -rf "$to"
mkdir -p "$to" || exit 1
unset CXXFLAGS CFLAGS MAKEFLAGS MAKELEVEL MFLAGS

# Each time in another folder, at another hour and with another umask.
build() {  # NAME
  mkdir -p "$to/$1/pviommu" && git archive HEAD | tar -x -C "$to/$1/pviommu" && cd "$to/$1/pviommu" &&
    DEB_BUILD_OPTIONS="nocheck parallel=2" dpkg-buildpackage --build=binary --unsigned-source --unsigned-changes \
      >"$to/$1.log" 2>&1
}
for name in first second-folder; do
  if (build $name); then
    ok "dpkg-buildpackage, $name"
  else
    tail -n 60 "$to/$name.log" >"$to/end"
    show "$to/end"
    not_ok "dpkg-buildpackage, $name" "failed"
    finish
  fi
  umask 077
done
(cd "$to/first" && sha256sum ./*.deb) >"$to/SHA256SUMS"
if (cd "$to/second-folder" && sha256sum --check --quiet "$to/SHA256SUMS") >"$to/log" 2>&1; then
  ok "built twice, the same $(wc -l <"$to/SHA256SUMS") packages"
else
  show "$to/log"
  not_ok "built twice, the same packages" "sums differ"
fi
if lintian --allow-root --tag-display-limit 0 --fail-on error,warning --info "$to"/first/*.changes >"$to/log" 2>&1; then
  ok "lintian has no error and no warning"
else
  show "$to/log"
  not_ok "lintian has no error and no warning" "see above"
fi
rm -rf "$to/second-folder" "$to/first/pviommu"
finish
