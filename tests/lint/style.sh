#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Small rules that a compiler does not check: licence line, leftover marks, and
# every test and source file of the tree is in the distribution's lists.
set -u
tree=${srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}
cd "$tree" || exit 1
failed=0
report() {
  if [ -z "$2" ]; then
    echo "ok $1"
  else
    echo "$2"
    echo "not ok $1 - $(echo "$2" | wc -l) places"
    failed=1
  fi
}
folders="hypercall pviommu msi vfio-glue tests"
sources() {
  # shellcheck disable=SC2086 # a list of folders
  find $folders -type f \( -name '*.h' -o -name '*.cc' -o -name '*.c' -o -name '*.sh' -o -name '*.mk' \) | LC_ALL=C sort
}

report "every file has a licence line" "$(sources | while IFS= read -r f; do
  head -n 2 "$f" | grep -q 'SPDX-License-Identifier: ' || echo "$f"
done)"

# Written apart so that this file does not find itself.
marks="TO""DO|FIX""ME|XX""X:"
report "no leftover marks" "$(sources | xargs grep -nE "$marks")"

report "every source is in a list" "$(sources | while IFS= read -r f; do
  case $f in
    *.mk) ;;
    tests/dropin/*) grep -qF "$f" tests/local.mk || echo "$f" ;;
    *) cat ./*.am ./*/local.mk ./*/*/local.mk ./*/*/*/local.mk ./*/*/*/*/local.mk tests/unit/*.mk | grep -qF "$f" || echo "$f" ;;
  esac
done)"

# Paths that begin with one of the folders, and where the page does not say more than a
# path: not <pviommu/...>, which a program includes, no pattern, nothing that a build makes.
# shellcheck disable=SC2016 # backquotes of Markdown
report "every path that a page names exists" "$(for page in README.md doc/*.md; do
  sed 's/`[^`]*[*{<][^`]*`//g; s/<[^>]*>//g' "$page" |
    grep -oE '(^|[^A-Za-z0-9_./-])(hypercall|pviommu|msi|vfio-glue|tests)/[A-Za-z0-9_./-]*[A-Za-z0-9_]' |
    sed -E 's/^[^a-z]//' | sort -u | while IFS= read -r path; do
    case $path in *.ko) continue ;; esac
    [ -e "$path" ] || echo "$page: $path"
  done
done)"
report "every file that architecture.md names exists" "$(
  grep -oE '[A-Za-z0-9_./-]+\.(cc|h)\b' doc/architecture.md | grep -v '^linux/' | sed 's|.*/||' | LC_ALL=C sort -u |
    grep -vxF "$(sources | sed 's|.*/||')")"
exit $failed
