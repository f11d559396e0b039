#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# errno-edge.sh
#
# Proves that the engine makes return values of errors in one place:
#
#     handler -> Status, Result<long> -> dispatch() -> File::answer() -> >= 0 or -errno
#                                                      (vfio-glue/engine/file.h)
#
# Everywhere else in vfio-glue/engine an error stays a value, so that PVIOMMU_TRY
# passes it on with the operation that failed.  The rule is first tried on planted
# violations.
set -u
. "$(dirname "$0")/../tap.sh"

edge=vfio-glue/engine/file.h

# conversions TREE: one line "FILE:LINE: text" for each place that makes a negative errno.
conversions() {
  (
    cd "$1" || exit 1
    find vfio-glue/engine -type f \( -name '*.h' -o -name '*.cc' \) 2>/dev/null | LC_ALL=C sort |
      while IFS= read -r file; do
        awk -v file="$file" '
          { text = $0; sub(/\/\/.*/, "", text) }
          text ~ /(^|[^A-Za-z0-9_])-E[A-Z0-9]+/ ||                              # -EINVAL
          text ~ /-[ ]*errno/ ||                                                # -errno
          text ~ /-[ ]*(static_cast<[a-z ]+>\()?[A-Za-z_.()*]*(->)?[A-Za-z_.()]*\.code/ {  # -x.error().code
            printf "%s:%d: %s\n", file, FNR, text
          }' "$file"
      done
  )
}

# expect NAME COUNT CONTENT: plants a file of the engine and wants so many conversions.
expect() {
  tree=$(mktemp -d) || exit 1
  mkdir -p "$tree/vfio-glue/engine"
  printf '%s\n' "$3" >"$tree/vfio-glue/engine/a.cc"
  found=$(conversions "$tree" | wc -l)
  rm -rf "$tree"
  if [ "$found" -eq "$2" ]; then
    ok "errno-edge self-test: $1"
  else
    not_ok "errno-edge self-test: $1" "$found found in: $(printf '%s' "$3" | tr '\n' ' ')"
  fi
}

expect "a negative constant" 1 '  return -EINVAL;'
expect "a negative constant in an expression" 1 '  return fits ? 0 : -ENOSPC;'
expect "an error's code" 1 '  if (!fd) return -fd.error().code;'
expect "an error's code behind a cast" 1 '  return -static_cast<long>(status.error().code);'
expect "an error's code behind a pointer" 1 '  return -result->error().code;'
expect "errno itself" 1 '  return - errno;'
expect "each line counts" 2 '  return -EINVAL;
  return -EBADF;'
expect "an error as a value is none" 0 '  return Error{EINVAL, "range"};'
expect "nor is a look at its code" 0 '  if (mapped.error().code == EINVAL) note_outside(map);'
expect "nor what a comment says" 0 '  return number_of(done);  // the kernel answers -EINVAL here'

tree=${srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}
all=$(conversions "$tree")
count=$(printf '%s' "$all" | grep -c "^$edge:")
others=$(printf '%s' "$all" | grep -v "^$edge:")
if [ -n "$others" ]; then
  printf '%s\n' "$others" | sed 's/^/#   /'
  not_ok errno-edge "$(printf '%s\n' "$others" | wc -l) places of the engine make errno beside $edge"
elif [ "$count" -ne 1 ]; then
  not_ok errno-edge "$count places in $edge, not one"
else
  ok errno-edge
fi
finish
