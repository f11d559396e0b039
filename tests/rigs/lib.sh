# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=sh
# For tests that boot a rig; sourced by the rig's own lib.sh, which the test sources,
# and in the guest before the rig's own.
#
#   . "$(dirname "$0")/lib.sh"
#   in_guest --kernel 6.1 <<'EOF'         options of boot; one boot each
#   check "edu answers" test -e /sys/bus/pci/devices/0000:00:06.0
#   [ -c /dev/xen/evtchn ] && ok evtchn || not_ok evtchn "there is none"
#   EOF
#   finish
#
# Names of cases have $prefix before them, here and there.
prefix=${prefix:-}
failures=0

ok() { printf 'ok %s%s\n' "$prefix" "$1"; }
not_ok() {  # NAME REASON
  printf 'not ok %s%s - %s\n' "$prefix" "$1" "$2"
  failures=$((failures + 1))
}
skip() { printf 'skip %s%s - %s\n' "$prefix" "$1" "$2"; }
note() { printf '# %s\n' "$*"; }
finish() {
  [ "$failures" -eq 0 ]
  exit
}
# check NAME COMMAND [ARGUMENT...]: ok when COMMAND succeeds; what it said is shown
# when not, its last line is the reason.
check() {
  check_name=$1
  shift
  if check_output=$("$@" 2>&1 </dev/null); then
    ok "$check_name"
  else
    check_status=$?
    printf '%s\n' "$check_output" | sed 's/^/#   /'
    not_ok "$check_name" "$* ended with status $check_status: $(printf '%s\n' "$check_output" | tail -n 1)"
  fi
}
# equal NAME WANTED FOUND
equal() { if [ "$2" = "$3" ]; then ok "$1"; else not_ok "$1" "\"$3\", not \"$2\""; fi; }

# gtest_in_guest COMMAND...: runs a GoogleTest program, one line a case.
gtest_in_guest() {
  "$@" >/tmp/gtest.log 2>&1
  gtest_status=$?
  sed -n "s/^\[       OK \] \([^ ]*\).*/ok $prefix\1/p" /tmp/gtest.log
  if [ $gtest_status -ne 0 ]; then
    cat /tmp/gtest.log
    sed -n "s/^\[  FAILED  \] \([^ ,]*\).*ms)$/not ok $prefix\1 - see above/p" /tmp/gtest.log
  fi
  if grep -q '^\[==========\] .* ran\.' /tmp/gtest.log; then ok "ran to its end"; else not_ok "ran to its end" "status $gtest_status"; fi
  # GTEST_SKIP prints its reason in the line behind the place.
  awk -v p="$prefix" '/: Skipped$/ { getline; why = $0 } /^\[  SKIPPED \] .*ms\)$/ { print "skip " p $4 " - " why }' /tmp/gtest.log
}

# in_guest [OPTION OF BOOT]... <SCRIPT: what it prints is passed on; each "not ok" in it
# is a failure, and so is an end that no "not ok" explains.
in_guest() {
  guest_work=$(mktemp -d "${TMPDIR:-/tmp}/pviommu-guest.XXXXXX") || exit 1
  {
    printf "prefix='%s'\n. /rig/lib.sh\n. /rig/own-lib.sh\n" "$prefix"
    cat
    printf '\nfinish\n'
  } >"$guest_work/script"
  {
    "$rig/boot" --add "$rig/../lib.sh:/rig/lib.sh" --add "$rig/lib.sh:/rig/own-lib.sh" \
      --add "$guest_work/script:/rig/script" "$@" -- sh /rig/script
    echo $? >"$guest_work/status"
  } | tee "$guest_work/output"
  guest_status=$(cat "$guest_work/status")
  guest_bad=$(grep -c '^not ok ' "$guest_work/output")
  rm -rf "$guest_work"
  failures=$((failures + guest_bad))
  [ "$guest_status" -eq 0 ] || [ "$guest_bad" -gt 0 ] || not_ok "the guest's script" "ended with status $guest_status"
}
[ -e /rig/settings ] || rig=$(cd "$(dirname "$0")" && pwd)
