#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# coverage.sh: lines and branches of vfio-glue/, pviommu/ and msi/ that unit tests and the
# conformance suite on the model run.
#
# Built by clang in a folder of its own.  The counters are in a shared mapping of their
# file, one a program or library: what ends by _exit(), a signal or in a child of a
# foreign program counts too, and so do threads at the same time.
set -u
build=$PVIOMMU_BUILD/coverage
jobs=${JOBS:-2}
mkdir -p "$build/profile" || exit 1
cd "$build" || exit 1
for tool in clang++ llvm-profdata llvm-cov; do
  if ! command -v $tool >/dev/null; then
    echo "make coverage needs $tool (Debian: .ci/install-packages coverage)" >&2
    exit 1
  fi
done

# The runtime wants atexit(), which is not in libc.so and which libtool, linking libraries
# by itself, leaves out.
if [ ! -e Makefile ]; then
  "$PVIOMMU_SOURCE/configure" --without-xen --with-papr=yes CXX=clang++ CC=clang CXXFLAGS='-O0 -g1' CFLAGS='-O0 -g1' \
    CPPFLAGS='-fprofile-instr-generate -fcoverage-mapping -fprofile-update=atomic -mllvm -runtime-counter-relocation=true' \
    LDFLAGS='-fprofile-instr-generate -Wl,-u,atexit -Wl,-lc_nonshared' || exit
fi
make -j"$jobs" || exit
rm -f profile/*
export LLVM_PROFILE_FILE="$build/profile/%m%c.profraw"
failed=0
make -j"$jobs" -k check || failed=1
make -j"$jobs" -k conformance || failed=1

llvm-profdata merge -sparse -o profile/all profile/*.profraw || exit
set --
for object in vfio-glue/.libs/pviommu .libs/*.so .libs/unit_* unit_*; do
  [ -f "$object" ] && [ -x "$object" ] && ! head -c 2 "$object" | grep -q '^#!' && set -- "$@" -object "$object"
done
shift # the first goes without -object
report() { llvm-cov "$@" -instr-profile=profile/all "$PVIOMMU_SOURCE/vfio-glue" "$PVIOMMU_SOURCE/pviommu" "$PVIOMMU_SOURCE/msi"; }
report show "$@" -format=html -show-branches=count -output-dir=html >/dev/null 2>&1
report export "$@" -summary-only >summary.json 2>/dev/null

# What `report` prints: name, regions missed cover, functions missed executed, lines
# missed cover, branches missed cover.
report report "$@" 2>/dev/null | awk '
  function percent(of, missed) { return of ? sprintf("%5.1f %%", 100 * (of - missed) / of) : "      -" }
  function row(name, l, lm, b, bm) { printf "%-40s %6d %s   %6d %s\n", name, l, percent(l, lm), b, percent(b, bm) }
  NF >= 13 && match($1, /(vfio-glue|pviommu|msi)\/([a-z]+\/)*[a-z_0-9]+\.(cc|h)$/) {
    name = substr($1, RSTART); folder = name; sub(/\/[^\/]*$/, "", folder)
    l[folder] += $8; lm[folder] += $9; b[folder] += $11; bm[folder] += $12
    row(name, $8, $9, $11, $12)
  }
  END { print ""; for (folder in l) row(folder, l[folder], lm[folder], b[folder], bm[folder]) }' | tee coverage.txt
echo "html: $build/html/index.html, JSON: $build/summary.json, this table: $build/coverage.txt"
[ $failed -eq 0 ] || echo "some tests failed; what they did counts" >&2
exit $failed
