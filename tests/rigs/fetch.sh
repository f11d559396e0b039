# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=sh
# For the fetch scripts of the rigs: keeps Debian packages in $packages.
#
# apt runs with lists, state and cache of its own: the machine's apt and what is
# installed are left alone, root is not needed.  apt accepts only what the signed
# lists name; the sums it was accepted with are recorded and checked at every use,
# so that a second run needs no network.
#
#   open_cache RIG          takes the lock; sets $cache and $packages
#   intact                  the packages are as they were fetched
#   start_apt ARCHITECTURE [OTHER]   $suite (unset: bookworm) with backports and, for amd64,
#                           security, from the mirrors that the machine's apt is configured with
#   newest PATTERN          the newest package that apt-cache search finds
#   with_needed NAME...     these packages and what they depend on
#   keep_packages NAME...   fetches them; the rest is removed
die() { echo "fetch: $*" >&2; exit 1; }

open_cache() {
  cache=${PVIOMMU_CACHE:-${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/pviommu}/$1
  packages=$cache/packages
  mkdir -p "$packages"
  exec 9>"$cache/fetch.lock"
  flock 9
}
# SHA256SUMS is written last: without it, nothing here counts.
intact() { (cd "$packages" && [ -s SHA256SUMS ] && sha256sum --check --status SHA256SUMS 2>/dev/null); }

# mirror PART: where the machine's apt is configured to find $suite and PART ("", -security),
# or else the same of its own release of Debian; nothing when nowhere.  Other suites and
# architectures of the archive are in the same place.
mirror() {
  own=$(. /etc/os-release && printf '%s\n' "${VERSION_CODENAME:-none}")
  # shellcheck disable=SC2016 # apt's variables
  apt-get indextargets --no-release-info --format '$(RELEASE) $(REPO_URI)' 2>/dev/null |
    awk -v suite="$suite$1" -v own="$own$1" '
      $1 == suite && !found { found = $2 }
      $1 == own && !other { other = $2 }
      END { print found ? found : other }'
}
start_apt() {
  architecture=$1
  : "${suite:=bookworm}"
  keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  [ -r "$keyring" ] || die "$keyring is missing (Debian: debian-archive-keyring)"
  command -v apt-get >/dev/null || die "the packages are Debian's, apt-get is needed"
  apt=$(mktemp -d "${TMPDIR:-/tmp}/pviommu-apt.XXXXXX")
  trap 'rm -rf "$apt"' EXIT
  trap 'exit 130' INT TERM
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
  : >"$apt/status"
  main=$(mirror '')
  [ -n "$main" ] || die "apt of this machine knows no mirror of Debian (no suite $suite or of its own release in /etc/apt/sources.list or sources.list.d)"
  {
    echo "deb [signed-by=$keyring] $main $suite main"
    echo "deb [signed-by=$keyring] $main $suite-backports main"
    # The long-term support of bookworm has no other architecture that is used here.
    security=$(mirror -security)
    [ "$1" != amd64 ] || [ -z "$security" ] || echo "deb [signed-by=$keyring] $security $suite-security main"
  } >"$apt/sources.list"
  printf 'APT::Architecture "%s";\nAPT::Architectures {%s};\n' "$1" \
    "$(for each in "$@"; do printf '"%s"; ' "$each"; done)" >"$apt/apt.conf"
  with_apt apt-get update >"$apt/log" 2>&1 || { cat "$apt/log" >&2; die "apt-get update failed"; }
}
with_apt() {  # COMMAND ARGUMENT...
  command=$1
  shift
  APT_CONFIG=$apt/apt.conf timeout 900 "$command" -q -o Dir::Etc::SourceList="$apt/sources.list" \
    -o Dir::Etc::SourceParts=/dev/null -o Dir::State="$apt" -o Dir::State::Lists="$apt/lists" \
    -o Dir::State::Status="$apt/status" -o Dir::Cache="$apt/cache" -o APT::Sandbox::User= \
    -o Acquire::Retries=3 -o APT::Update::Error-Mode=any "$@"
}
newest() {
  name=$(with_apt apt-cache search --names-only "^$1\$" | cut -d' ' -f1 | sort -V | tail -n 1)
  [ -n "$name" ] || die "Debian has no package $1 for $architecture"
  printf '%s\n' "$name"
}
with_needed() { with_apt apt-get install --simulate --no-install-recommends "$@" | awk '$1 == "Inst" { print $2 }'; }
keep_packages() {
  # 'URI' FILE SIZE SHA256:SUM, as the signed lists have it.
  (cd "$apt/cache" && with_apt apt-get download --print-uris "$@") >"$apt/uris"
  awk '$4 ~ /^SHA256:/ { print substr($4, 8) "  " $2 }' "$apt/uris" >"$apt/sums"
  [ "$(wc -l <"$apt/sums")" -eq $# ] || { cat "$apt/uris" >&2; die "apt has no SHA256 of some packages"; }
  cd "$packages"
  rm -f SHA256SUMS
  find . -name '*.deb' | while read -r file; do  # what is damaged or no longer wanted
    grep -F "  ${file#./}" "$apt/sums" | sha256sum --check --status 2>/dev/null || rm -f "$file"
  done
  echo "fetch: $(wc -l <"$apt/sums") packages from $main" >&2
  with_apt apt-get download "$@" >"$apt/log" 2>&1 || { cat "$apt/log" >&2; die "apt-get download failed"; }
  sha256sum --check --quiet "$apt/sums" >&2
  mv "$apt/sums" SHA256SUMS
}
