#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The Debian packages of what is committed here, on Debian 12 and 13: tests/packages/build.sh and
# install.sh, each in a folder of that release.
#
#   PACKAGES_ON="12 13"    the releases
set -u
. "$(dirname "$0")/../tap.sh"
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT TERM
for release in ${PACKAGES_ON:-12 13}; do
  "$PVIOMMU_SOURCE/.ci/debian" "$release" --packages >"$log" 2>&1
  status=$?
  grep -E '^(ok|not ok|#)' "$log" >"$log.cases"
  others_cases "$log.cases" "Debian $release: " || :
  if [ $status -ne 0 ] && ! grep -q '^not ok' "$log.cases"; then
    show "$log"
    not_ok "Debian $release" "ended with status $status"
  fi
  rm -f "$log.cases"
done
finish
