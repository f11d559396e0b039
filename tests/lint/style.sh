#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Small rules that a compiler does not check: licence line, leftover marks, and
# every test and source file of the tree is in the distribution's lists.
set -u
tree=${srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}
. "$(dirname "$0")/../tap.sh"
cd "$tree" || exit 1
report() {  # NAME PLACES: ok when there are none
  if [ -z "$2" ]; then
    ok "$1"
  else
    printf '%s\n' "$2" | sed 's/^/#   /'
    not_ok "$1" "$(printf '%s\n' "$2" | wc -l) places"
  fi
}
folders="hypercall pviommu msi vfio-glue tests findings"
sources() {
  # shellcheck disable=SC2086 # a list of folders
  find $folders -type f \( -name '*.h' -o -name '*.cc' -o -name '*.c' -o -name '*.sh' -o -name '*.mk' \) | LC_ALL=C sort
}

report "every file has a licence line" "$(sources | xargs awk '
  FNR == 1 { if (file != "" && !found) print file; file = FILENAME; found = 0 }
  FNR <= 2 && /SPDX-License-Identifier: / { found = 1 }
  END { if (!found) print file }')"

# Written apart so that this file does not find itself.
marks="TO""DO|FIX""ME|XX""X:"
report "no leftover marks" "$(sources | xargs grep -nE "$marks")"

# Scripts take the addresses that the machine's apt is configured with, pages speak of suites.
hosts='(deb|security|snapshot|ftp[.a-z]*|archive|ports|packages)[.](debian|ubuntu)[.](org|com)|(cdn|mirrors?)[.][a-z.]*kernel[.]org'
hosts="$hosts|(registry[.]npmjs|rubygems|crates|static[.]crates|pypi|files[.]pythonhosted|proxy[.]golang|sum[.]golang)[.](org|io)"
# shellcheck disable=SC2086 # a list of folders
report "no package registry's host" "$(grep -rnE --exclude-dir=corpus "$hosts" $folders doc .ci bootstrap check quickstart README.md \
  configure.ac Makefile.am 2>/dev/null)"

lists=$(cat ./*.am ./*/local.mk ./*/*/local.mk ./*/*/*/local.mk ./*/*/*/*/local.mk tests/unit/*.mk)
report "every source is in a list" "$(sources | grep -v '\.mk$' | while IFS= read -r f; do
  case $lists in *"$f"*) ;; *) echo "$f" ;; esac
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
finish
