# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=sh
# Results of a test script in TAP, the Test Anything Protocol; sourced by every script
# that is a test, on this machine (sh, bash) and in a guest (busybox).
#
#     ok 1 - NAME
#     not ok 2 - NAME - reason
#     ok 3 - NAME # SKIP reason
#     # a remark
#     1..3
#
# The last line is the plan.  A script that ends without it, or with another number of
# cases, has failed: the driver of `make check` counts that as an error.
#
# Names of cases have $prefix before them.  The cases are counted in variables of the
# shell: what runs in a subshell, as in the background or as part of a pipe, does not say
# ok; it writes TAP of its own to a file, which others_cases takes.
prefix=${prefix:-}
tap_cases=0 tap_bad=0

# No "#" in a name or a reason: behind it a directive would be looked for.
tap_line() {  # VERDICT NAME [REASON]
  tap_cases=$((tap_cases + 1))
  tap_text=$prefix$2${3:+ - $3}
  case $tap_text in *'#'*) tap_text=$(printf '%s\n' "$tap_text" | tr '#' '=') ;; esac
  printf '%s %d - %s\n' "$1" "$tap_cases" "$tap_text"
}
ok() { tap_line ok "$1"; }  # NAME
not_ok() {  # NAME REASON
  tap_bad=$((tap_bad + 1))
  tap_line 'not ok' "$1" "${2:-no reason given}"
}
skip() {  # NAME REASON
  tap_cases=$((tap_cases + 1))
  printf 'ok %d - %s%s # SKIP %s\n' "$tap_cases" "$prefix" "$1" "$2"
}
note() { printf '# %s\n' "$*"; }
# show FILE: as remarks, so that nothing in it is taken for a result.
show() { sed 's/^/#   /' "$1"; }

# finish: the end of the script, with status 0 when no case was "not ok".
finish() {
  printf '1..%d\n' "$tap_cases"
  [ "$tap_bad" -eq 0 ]
  exit
}

# others_cases FILE [PREFIX]: the cases of another's TAP become ours, with PREFIX before
# their names.  Fails when FILE is not complete: no plan, or one of another number.
others_cases() {
  renumber "${2:-}" <"$1"
  count_cases "$1"
}
# Its two halves, for what is to be seen while it comes: a filter, and the counting.
renumber() {  # [PREFIX]
  awk -v number="$tap_cases" -v prefix="${1:-}" '
    /^(not )?ok( |$)/ {
      verdict = /^not/ ? "not ok " : "ok "
      sub(/^(not )?ok *[0-9]* *(- )?/, "")
      number++
      print verdict number " - " prefix $0
      fflush()
      next
    }
    /^1\.\.[0-9]+/ { next }
    { print; fflush() }'
}
count_cases() {  # FILE
  tap_found=$(grep -c -E '^(not )?ok( |$)' "$1")
  tap_cases=$((tap_cases + tap_found))
  tap_bad=$((tap_bad + $(grep -c '^not ok' "$1")))
  [ "$(sed -n 's/^1\.\.\([0-9]*\).*/\1/p' "$1")" = "$tap_found" ]
}
