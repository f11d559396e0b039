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
# that the floors inside vfio-glue are kept,
#
#             command
#        +-------+-------+
#      guest   host    preload         preload is a module: nobody includes it, nor the command
#        |       |       |
#        |  host/libvirt |             a module as well, on top of host
#        +---- engine ---+             host does not need it
#
#   (vfio-glue's own headers, vfio_notification.h, may be included by all)
#
# that no files of one of its folders include each other in a circle, and that
# every quoted include names its file from the top of the tree, so that a folder
# cannot be left unnoticed through "../".  Without TREE the rule is first tried
# on planted violations.
set -u

# violations TREE: one line "FILE:LINE: reason" each.
violations() {
  (
    cd "$1" || exit 1
    find hypercall pviommu msi vfio-glue -type f \
      \( -name '*.h' -o -name '*.cc' -o -name '*.c' -o -name '*.hh' -o -name '*.inc' \) 2>/dev/null |
      LC_ALL=C sort | xargs awk '
        function bad(reason) { printf "%s:%d: %s: %s\n", file, FNR, name, reason }
        # The folder of a file of vfio-glue; "" for what lies at its top.
        function floor_of(path) {
          if (path !~ /^vfio-glue\/.*\//) return ""
          sub(/^vfio-glue\//, "", path)
          sub(/\/[^\/]*$/, "", path)
          return path
        }
        BEGIN {
          # Below each floor, itself included.
          below["engine"] = "engine"
          below["guest"] = "guest engine"
          below["preload"] = "preload engine"
          below["host"] = "host"
          below["host/libvirt"] = "host/libvirt host"
          below["command"] = "command guest host engine"
        }
        FNR == 1 { file = FILENAME; split(file, part, "/"); folder = part[1]; sub_folder = part[2]; floor = floor_of(file)
          # The kernel builds it in its own folder, with no way to ours.
          kernel_module = file ~ /^hypercall\/(papr|xen)\/kernel\// }
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
          if (quoted && !ours && name != "config.h" && !(kernel_module && (name == "pviommu_papr.h" || name == "papr.h" || name == "pviommu_xen.h" || name == "domctl.h" || name == "interface_table.h"))) bad("a quoted include starts at the top of the tree")
          if (ours) {
            if (top == "tests") bad("nothing includes tests")
            else if (top != folder && top != "hypercall" && folder != "vfio-glue")
              bad(folder " may include hypercall only")
            if (folder == "vfio-glue" && floor_of(name) != "" &&
                index(" " below[floor] " ", " " floor_of(name) " ") == 0)
              bad((floor == "" ? "the top of vfio-glue" : floor) " may not include " floor_of(name))
            if (name ~ /^hypercall\/xen\// && sub_folder != "xen") bad("only through the hypervisor interface")
            if (name ~ /^hypercall\/papr\// && sub_folder != "papr") bad("only through the hypervisor interface")
          }
          if (name == "linux/vfio.h" && folder != "vfio-glue" && file !~ /^hypercall\/papr\/vfio\//) bad("only vfio-glue answers VFIO, only hypercall/papr/vfio calls it")
          # Each file that includes it takes seconds to compile.
          if (name ~ /^nlohmann\// && file != "vfio-glue/command/json.cc") bad("only vfio-glue/command/json.cc knows the JSON library")
          if (name ~ /^CLI\// && file != "vfio-glue/command/main.cc") bad("only vfio-glue/command/main.cc parses the command line")
          if (name ~ /^(xenctrl|xenevtchn|xencall|xenforeignmemory|xendevicemodel|xentoollog|xenstore|xenguest|libxl)[a-z_]*\.h$/ || name ~ /^xen\//)
            if (file !~ /^hypercall\/xen\//) bad("only hypercall/xen includes libxenctrl")
        }'
    circles
  )
}

# circles: in the folders of vfio-glue, where a .cc and its .h are one.
circles() {
  find vfio-glue -type d 2>/dev/null | LC_ALL=C sort | while IFS= read -r dir; do
    for file in "$dir"/*.h "$dir"/*.cc; do
      [ -f "$file" ] || continue
      sed -n 's/^[ \t]*#[ \t]*include[ \t]*["<]\([^">]*\)[">].*/\1/p' "$file" | while IFS= read -r name; do
        if [ "${name%/*}" = "$dir" ] && [ "${name%.*}" != "${file%.*}" ]; then echo "${file%.*} ${name%.*}"; fi
      done
    done | tsort 2>&1 >/dev/null | awk '/input contains a loop/ { n++; next } { sub(/^tsort: /, ""); loop[n] = loop[n] " " $0 }
      END { for (i = 1; i <= n; i++) print "circle:" loop[i] }'
  done
}

# expect NAME WANTED FILE CONTENT...: plants FILEs in an empty tree and wants a
# violation (1) or none (0).
expect() {
  about=$1
  wanted=$2
  shift 2
  tree=$(mktemp -d) || exit 1
  planted=
  while [ $# -gt 0 ]; do
    mkdir -p "$tree/$(dirname "$1")"
    printf '%s\n' "$2" >"$tree/$1"
    planted="$planted $1: $2"
    shift 2
  done
  found=$(violations "$tree" | wc -l)
  rm -rf "$tree"
  if [ $((found > 0)) -eq "$wanted" ]; then
    ok "include-rule self-test: $about"
  else
    not_ok "include-rule self-test: $about" "$found found in:$(printf '%s' "$planted" | tr '\n' ' ')"
  fi
}

if [ $# -eq 1 ]; then
  found=$(violations "$1")
  [ -z "$found" ] && exit 0
  echo "$found"
  exit 1
fi
. "$(dirname "$0")/../tap.sh"

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
expect "the engine knows no front end" 1 vfio-glue/engine/a.cc '#include "vfio-glue/preload/fd_table.h"'
expect "nor the command" 1 vfio-glue/engine/a.cc '#include "vfio-glue/command/command.h"'
expect "preload does not include guest" 1 vfio-glue/preload/a.cc '#include "vfio-glue/guest/guest_device.h"'
expect "guest does not include preload" 1 vfio-glue/guest/a.cc '#include "vfio-glue/preload/mappings.h"'
expect "guest does not include host" 1 vfio-glue/guest/a.cc '#include "vfio-glue/host/devices.h"'
expect "host does not include the engine" 1 vfio-glue/host/a.cc '#include "vfio-glue/engine/engine.h"'
expect "host does not include its module" 1 vfio-glue/host/a.cc '#include "vfio-glue/host/libvirt/domains.h"'
expect "the command does not include libvirt's part" 1 vfio-glue/command/a.cc '#include "vfio-glue/host/libvirt/domains.h"'
expect "nobody includes preload" 1 vfio-glue/command/a.cc '#include "vfio-glue/preload/front_end.h"'
expect "a header at the top includes no floor" 1 vfio-glue/a.h '#include "vfio-glue/engine/file.h"'
expect "a new floor says first what is below it" 1 vfio-glue/server/a.cc '#include "vfio-glue/engine/file.h"'
expect "the command includes guest, host and engine" 0 vfio-glue/command/a.cc '#include "vfio-glue/guest/guest_device.h"
#include "vfio-glue/host/devices.h"
#include "vfio-glue/engine/engine.h"
#include "vfio-glue/command/command.h"'
expect "libvirt's part includes host" 0 vfio-glue/host/libvirt/a.cc '#include "vfio-glue/host/devices.h"'
expect "all include vfio_notification.h" 0 vfio-glue/guest/a.cc '#include "vfio-glue/vfio_notification.h"'
expect "no circle of two headers' parts" 1 vfio-glue/engine/a.h '#include "vfio-glue/engine/b.h"' \
  vfio-glue/engine/b.cc '#include "vfio-glue/engine/a.h"'
expect "one way is none" 0 vfio-glue/engine/a.cc '#include "vfio-glue/engine/a.h"
#include "vfio-glue/engine/b.h"'
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
expect "Xen's too, and the table it shares" 0 hypercall/xen/kernel/a.c '#include "interface_table.h"
#include "pviommu_xen.h"'
expect "the JSON library only behind its door" 1 vfio-glue/command/list.cc '#include <nlohmann/json.hpp>'
expect "and not forward-declared elsewhere" 1 vfio-glue/command/json.h '#include <nlohmann/json_fwd.hpp>'
expect "its door" 0 vfio-glue/command/json.cc '#include <nlohmann/json.hpp>'
expect "the command line is parsed in one file" 1 vfio-glue/command/run.cc '#include <CLI/CLI.hpp>'
expect "hypercall/xen may include xenctrl.h" 0 hypercall/xen/a.cc '#include <xenctrl.h>'

tree=${srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}
count=$(find "$tree/hypercall" "$tree/pviommu" "$tree/msi" "$tree/vfio-glue" -name '*.cc' -o -name '*.h' | wc -l)
found=$(violations "$tree")
if [ -n "$found" ]; then
  printf '%s\n' "$found" | sed 's/^/#   /'
  not_ok include-rule "$(echo "$found" | wc -l) includes against the rule"
elif [ "$count" -lt 20 ]; then
  not_ok include-rule "only $count files found in $tree"
else
  ok include-rule
  note "$count files"
fi
finish
