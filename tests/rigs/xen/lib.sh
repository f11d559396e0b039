# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=sh
# For tests on real Xen; sourced by the test and, by in_dom0, in dom0.
#
#   . "$(dirname "$0")/lib.sh"
#   in_dom0 --kernel 6.1 <<'EOF'         options of boot; one boot each
#   check "both edu answer" test -e /sys/bus/pci/devices/0000:00:06.0
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

# In dom0: nothing of pviommu's is left of Xen, after at most ten seconds.
nothing_left() {
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    left=$(pviommu reap --dry-run --hypervisor=xen 2>&1) && break
    sleep 1
  done
  equal "nothing is left${1:+ ($1)}" "nothing to be done" "$left"
}

# gtest_in_dom0 COMMAND...: runs a GoogleTest program, one line a case.
gtest_in_dom0() {
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

# in_dom0 [OPTION OF BOOT]... <SCRIPT: what it prints is passed on; each "not ok" in it
# is a failure, and so is an end that no "not ok" explains.
in_dom0() {
  dom0_work=$(mktemp -d "${TMPDIR:-/tmp}/pviommu-dom0.XXXXXX") || exit 1
  {
    printf "prefix='%s'\n. /rig/lib.sh\n" "$prefix"
    cat
    printf '\nfinish\n'
  } >"$dom0_work/script"
  {
    "$rig/boot" --add "$rig/lib.sh:/rig/lib.sh" --add "$dom0_work/script:/rig/script" "$@" -- sh /rig/script
    echo $? >"$dom0_work/status"
  } | tee "$dom0_work/output"
  dom0_status=$(cat "$dom0_work/status")
  dom0_bad=$(grep -c '^not ok ' "$dom0_work/output")
  rm -rf "$dom0_work"
  failures=$((failures + dom0_bad))
  [ "$dom0_status" -eq 0 ] || [ "$dom0_bad" -gt 0 ] || not_ok "dom0's script" "ended with status $dom0_status"
}
[ -e /rig/settings ] || rig=$(cd "$(dirname "$0")" && pwd)
