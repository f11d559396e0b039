#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# One way to say what went wrong: an Error (hypercall/result.h).  Nothing is decided on its
# text, and there is no second kind of result and no string parameter beside it.
set -u
. "$(dirname "$0")/../tap.sh"
tree=${srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}
cd "$tree" || exit 1
sources() { find hypercall pviommu msi vfio-glue -type f \( -name '*.h' -o -name '*.cc' \) | LC_ALL=C sort; }

# report NAME FOUND MOST: at most MOST lines in FOUND.
report() {
  count=0
  [ -z "$2" ] || count=$(printf "%s\n" "$2" | wc -l)
  if [ "$count" -le "$3" ]; then
    ok "$1"
    note "$count of at most $3"
  else
    printf "%s\n" "$2" | sed 's/^/#   /'
    not_ok "$1" "$count places, $3 are known"
  fi
}

search='(find|rfind|starts_with|ends_with|contains|compare)\('
# Reads lines; a comment may talk about it.
decisions() {
  grep -E "operation\)?\.$search|(strcmp|strncmp|strstr)\([^;]*operation|operation\)? *[!=]= *[^n' ]|[!=]= *[a-z_.>()-]*operation\b|to_string\([^;]*error[^;]*\)\.$search|[!=]= *to_string\([^;]*error|sentence\.view\(\)(\.$search| *[!=]=)" |
    grep -vE '^[^:]*:[0-9]*: *//'
}

# The rule finds what it is for, and lets pass what it is not.
while IFS= read -r line; do
  if [ -z "$(printf "f:1: %s\n" "$line" | decisions)" ]; then
    not_ok "errors self-test" "does not find $line"
  fi
done <<'BAD'
return std::string_view(error.operation).find("state lost") != std::string_view::npos;
if (std::strcmp(status.error().operation, "map") == 0) return;
if (error.operation == kText) return;
if (kText == error.operation) return;
if (to_string(found.error()).find("lost") != std::string::npos) return;
if (error.sentence.view().starts_with("no ")) return;
BAD
while IFS= read -r line; do
  if [ -n "$(printf "f:1: %s\n" "$line" | decisions)" ]; then
    not_ok "errors self-test" "does not let pass $line"
  fi
done <<'GOOD'
if (error.operation != nullptr && *error.operation != '\0') {
complain(to_string(opened.error()));
return {code, operation, raw};
GOOD

report "nothing is decided on an error's text" "$(sources | xargs grep -nE 'operation|to_string|sentence' | decisions)" 0
report "no second kind of result" "$(sources | xargs grep -nE '\b(OpenFailure|Opened<)')" 0
report "no string beside an error" "$(sources | xargs grep -nE 'std::string& (message|problem|notice|failure)\b' |
  grep -vE 'const std::string&')" 0
finish
