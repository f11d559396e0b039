#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The example driver and the example hypervisor as a third party would have them:
# pviommu installed under a prefix, the modules built with pkg-config alone, loaded
# by name.
set -u
. "$(dirname "$0")/../tap.sh"
# The make that runs this test has nothing to say to those below.
unset MAKEFLAGS MAKELEVEL MFLAGS
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
root=$scratch/root
module=$scratch/module

make -C "$PVIOMMU_BUILD" install DESTDIR="$root" >"$scratch/log" 2>&1 || {
  show "$scratch/log"
  not_ok "make install" "failed"
  finish
}
ok "make install"
pc=$(find "$root" -name pviommu.pc)
installed=$root$(sed -n 's/^prefix=//p' "$pc")
# The paths inside pviommu.pc are those of the final place.
PKG_CONFIG_PATH=$(dirname "$pc")
PKG_CONFIG_SYSROOT_DIR=$root
export PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR

mkdir "$module"
for file in counting.cc pretend.cc client.c Makefile; do
  cp "$PVIOMMU_SOURCE/tests/dropin/$file" "$module" || exit 1
done
if env -u CPPFLAGS -u CPATH -u CPLUS_INCLUDE_PATH make -C "$module" \
    CFLAGS='-O1 -Wall -Wextra -Werror' CXXFLAGS='-O1 -Wall -Wextra -Werror' \
    >"$scratch/log" 2>&1; then
  ok "builds with pkg-config alone"
else
  show "$scratch/log"
  not_ok "builds with pkg-config alone" "failed"
  finish
fi

# From here on the installed command, library and preload front end.
libdir=$(dirname "$(find "$installed" -name 'libpviommu.so.0')")
PATH=$installed/bin:$PATH
LD_LIBRARY_PATH=$libdir
PVIOMMU_PRELOAD=$libdir/pviommu/libpviommu-preload.so
PVIOMMU_MODULE_PATH=$module
export PATH LD_LIBRARY_PATH PVIOMMU_PRELOAD PVIOMMU_MODULE_PATH
truncate -s 16M "$scratch/disk.img"

# qemu_io DRIVER: output in $scratch/out
qemu_io() {
  timeout 60 pviommu run --hypervisor="model:nvme,file=$scratch/disk.img" --iommu-driver="$1" -- \
    qemu-io -f raw -c 'write -P 0x5a 0 4M' -c 'read -P 0x5a 0 4M' nvme://0000:00:05.0/1 >"$scratch/out" 2>&1
}
if ! command -v qemu-io >/dev/null; then
  skip "qemu-io through the module" "qemu-io is not installed (Debian: qemu-utils)"
elif qemu_io counting && grep -q 'read 4194304/4194304' "$scratch/out" &&
    ! grep -q 'verification failed' "$scratch/out"; then
  ok "qemu-io through the module"
  line=$(sed -n 's/^counting: \([0-9]*\) maps with \([0-9]*\) pages, \([0-9]*\) unmaps$/\1 \2 \3/p' "$scratch/out")
  # shellcheck disable=SC2086 # three numbers
  set -- $line
  # 4 MiB is 1024 pages; qemu-io maps them, and unmaps all it maps.
  if [ $# -eq 3 ] && [ "$1" -ge 1 ] && [ "$2" -ge 1024 ] && [ "$3" -ge 1 ]; then
    ok "the module counted ($line)"
  else
    show "$scratch/out"
    not_ok "the module counted" "its line says: ${line:-nothing}"
  fi
  cmp -s -n 4194304 "$scratch/disk.img" - <<EOF || not_ok "disk contents" "not the pattern"
$(head -c 4194304 /dev/zero | tr '\0' '\132')
EOF
else
  show "$scratch/out"
  not_ok "qemu-io through the module" "failed"
fi

qemu_io counting:loud && not_ok "bad configuration is refused" "was taken"
if grep -q 'the only setting is quiet' "$scratch/out"; then
  ok "bad configuration is refused"
else
  show "$scratch/out"
  not_ok "bad configuration is refused" "not with the module's words"
fi
qemu_io cuonting && not_ok "misspelt name is refused" "was taken"
if grep -q 'no iommu-driver "cuonting"; there is:.* counting' "$scratch/out"; then
  ok "misspelt name lists the module"
else
  show "$scratch/out"
  not_ok "misspelt name lists the module" "does not"
fi

# The hypervisor: found by name, reached by a program's maps, counted from outside.
if pviommu info --hypervisor=pretend >"$scratch/out" 2>&1 && pviommu list --hypervisor=pretend >>"$scratch/out" 2>&1 &&
    grep -q '0000:00:01.0' "$scratch/out"; then
  ok "the hypervisor is found by name, and its function listed"
else
  show "$scratch/out"
  not_ok "the hypervisor is found by name, and its function listed" "is not"
fi
timeout 60 pviommu run --hypervisor=pretend --stats --stats-file="$scratch/stats" -- \
  "$module/client" >"$scratch/out" 2>&1
if grep -q '^client: vendor 1234$' "$scratch/out" &&
    grep -q '^pretend: 16 pages were mapped, 0 are left$' "$scratch/out"; then
  ok "a program's maps reach the hypervisor"
else
  show "$scratch/out"
  not_ok "a program's maps reach the hypervisor" "see its output"
fi
# OP, calls, failures of the hypercalls in the report
counted=$(awk '$1 ~ /^(create_space|attach|map|unmap|detach|destroy_space)$/ { printf "%s %s %s;", $1, $2, $3 }' \
  "$scratch/stats")
if [ "$counted" = "create_space 1 0;destroy_space 1 0;attach 1 0;detach 1 0;map 1 0;unmap 1 0;" ]; then
  ok "its hypercalls are counted, although it counts nothing"
else
  show "$scratch/stats"
  not_ok "its hypercalls are counted, although it counts nothing" "they are: $counted"
fi
finish
