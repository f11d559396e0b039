#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# include-rule.sh [TREE]
#
# Proves that includes go one way only:
#
#         tests (may include all)
#           |
#       vfio-glue          answers <linux/vfio.h>; only hypercall/papr/vfio calls it
#       /       \
#  pviommu     msi         never each other
#       \       /
#     hypercall            only hypercall/xen: libxenctrl; only hypercall/papr: hcalls
#
# and that every quoted include names its file from the top of the tree, so that
# a folder cannot be left unnoticed through "../".  Without TREE the rule is
# first tried on planted violations.
set -u

# violations TREE: one line "FILE:LINE: reason" each.
violations() {
  (
    cd "$1" || exit 1
    find hypercall pviommu msi vfio-glue -type f \
      \( -name '*.h' -o -name '*.cc' -o -name '*.c' -o -name '*.hh' -o -name '*.inc' \) 2>/dev/null |
      LC_ALL=C sort | while IFS= read -r file; do
      awk -v file="$file" '
        function bad(reason) { printf "%s:%d: %s: %s\n", file, FNR, name, reason }
        BEGIN { split(file, part, "/"); folder = part[1]; sub_folder = part[2]
          # The kernel builds it in its own folder, with no way to ours.
          kernel_module = file ~ /^hypercall\/papr\/kernel\// }
        /^[ \t]*#[ \t]*(include|include_next|import)[ \t]/ {
          name = $0
          sub(/^[ \t]*#[ \t]*[a-z_]+[ \t]*/, "", name)
          quoted = name ~ /^"/
          if (name !~ /^["<]/) { bad("an include that is not a literal cannot be checked"); next }
          name = substr(name, 2)
          sub(/[">].*/, "", name)
          if (name ~ /(^|\/)\.\.?\//) bad("relative path")
          top = name
          sub(/\/.*/, "", top)
          ours = (top == "hypercall" || top == "pviommu" || top == "msi" || top == "vfio-glue" || top == "tests") &&
                 name ~ /\//
          if (quoted && !ours && name != "config.h" && !(kernel_module && (name == "pviommu_papr.h" || name == "papr.h"))) bad("a quoted include starts at the top of the tree")
          if (ours) {
            if (top == "tests") bad("nothing includes tests")
            else if (top != folder && top != "hypercall" && folder != "vfio-glue")
              bad(folder " may include hypercall only")
            if (name ~ /^hypercall\/xen\// && sub_folder != "xen") bad("only through the hypervisor interface")
            if (name ~ /^hypercall\/papr\// && sub_folder != "papr") bad("only through the hypervisor interface")
          }
          if (name == "linux/vfio.h" && folder != "vfio-glue" && file !~ /^hypercall\/papr\/vfio\//) bad("only vfio-glue answers VFIO, only hypercall/papr/vfio calls it")
          # Each file that includes it takes seconds to compile.
          if (name ~ /^nlohmann\// && file != "vfio-glue/command/json.cc") bad("only vfio-glue/command/json.cc knows the JSON library")
          if (name ~ /^CLI\// && file != "vfio-glue/command/main.cc") bad("only vfio-glue/command/main.cc parses the command line")
          if (name ~ /^(xenctrl|xenevtchn|xencall|xenforeignmemory|xendevicemodel|xentoollog|xenstore|xenguest|libxl)[a-z_]*\.h$/ || name ~ /^xen\//)
            if (file !~ /^hypercall\/xen\//) bad("only hypercall/xen includes libxenctrl")
        }' "$file"
    done
  )
}

# expect NAME WANTED FILE CONTENT: plants FILE in an empty tree and wants a
# violation (1) or none (0).
failed=0
expect() {
  tree=$(mktemp -d) || exit 1
  mkdir -p "$tree/$(dirname "$3")"
  printf '%s\n' "$4" >"$tree/$3"
  found=$(violations "$tree" | wc -l)
  rm -rf "$tree"
  if [ $((found > 0)) -eq "$2" ]; then
    echo "ok include-rule self-test: $1"
  else
    echo "not ok include-rule self-test: $1 - $found found in: $4"
    failed=1
  fi
}

if [ $# -eq 1 ]; then
  found=$(violations "$1")
  [ -z "$found" ] && exit 0
  echo "$found"
  exit 1
fi

expect "hypercall must not include pviommu" 1 hypercall/a.cc '#include "pviommu/address_space.h"'
expect "hypercall must not include msi" 1 hypercall/model/a.cc '#  include <msi/vector_router.h>'
expect "hypercall must not include vfio-glue" 1 hypercall/a.h '#include "vfio-glue/engine/file.h"'
expect "pviommu must not include msi" 1 pviommu/a.h '#include "msi/x.h"'
expect "msi must not include pviommu" 1 msi/a.cc '	#include	"pviommu/x.h"'
expect "pviommu must not include vfio-glue" 1 pviommu/a.cc '#include "vfio-glue/engine/file.h"'
expect "nothing includes tests" 1 vfio-glue/a.cc '#include "tests/unit/x.h"'
expect "no relative path" 1 pviommu/a.cc '#include "../msi/x.h"'
expect "no path from the own folder" 1 pviommu/a.cc '#include "frame_source.h"'
expect "no computed include" 1 pviommu/a.cc '#include WHATEVER'
expect "linux/vfio.h only in vfio-glue" 1 hypercall/model/a.cc '#include <linux/vfio.h>'
expect "xenctrl.h only in hypercall/xen" 1 hypercall/model/a.cc '#include <xenctrl.h>'
expect "hypercall/xen only through the interface" 1 hypercall/a.cc '#include "hypercall/xen/x.h"'
expect "vfio-glue may include all three" 0 vfio-glue/a.cc '#include "pviommu/address_space.h"
#include "msi/x.h"
#include "hypercall/hypervisor.h"
#include "config.h"
#include <linux/vfio.h>'
expect "pviommu may include hypercall" 0 pviommu/a.cc '#include "hypercall/hypervisor.h"
#include "pviommu/b.h"
#include <vector>'
expect "hypercall/papr only through the interface" 1 vfio-glue/a.cc '#include "hypercall/papr/module/open.h"'
expect "the kernel module includes its own headers" 0 hypercall/papr/kernel/a.c '#include "pviommu_papr.h"
#include "papr.h"'
expect "and no other" 1 hypercall/papr/kernel/a.c '#include "b.h"'
expect "the JSON library only behind its door" 1 vfio-glue/command/list.cc '#include <nlohmann/json.hpp>'
expect "and not forward-declared elsewhere" 1 vfio-glue/command/json.h '#include <nlohmann/json_fwd.hpp>'
expect "its door" 0 vfio-glue/command/json.cc '#include <nlohmann/json.hpp>'
expect "the command line is parsed in one file" 1 vfio-glue/command/run.cc '#include <CLI/CLI.hpp>'
expect "hypercall/xen may include xenctrl.h" 0 hypercall/xen/a.cc '#include <xenctrl.h>'

tree=${srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}
count=$(find "$tree/hypercall" "$tree/pviommu" "$tree/msi" "$tree/vfio-glue" -name '*.cc' -o -name '*.h' | wc -l)
found=$(violations "$tree")
if [ -n "$found" ]; then
  echo "$found"
  echo "not ok include-rule - $(echo "$found" | wc -l) includes against the rule"
  failed=1
elif [ "$count" -lt 20 ]; then
  echo "not ok include-rule - only $count files found in $tree"
  failed=1
else
  echo "ok include-rule ($count files)"
fi
exit $failed
