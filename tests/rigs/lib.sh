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
# Both say their results in TAP, by ../tap.sh; those of the guest become the test's own.
if [ -e /rig/settings ]; then
  . /rig/tap.sh
else
  rig=$(cd "$(dirname "$0")" && pwd)
  . "$rig/../../tap.sh"
fi

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

# gtest_in_guest COMMAND...: runs a GoogleTest program; its cases are ours.
gtest_in_guest() {
  gtest_bad=$tap_bad
  "$@" >/tmp/gtest.log 2>/tmp/gtest.errors
  gtest_status=$?
  others_cases /tmp/gtest.log "$prefix" && gtest_complete=yes || gtest_complete=
  [ $gtest_status -eq 0 ] || show /tmp/gtest.errors
  if [ "$gtest_complete" ] && { [ $gtest_status -eq 0 ] || [ "$tap_bad" -gt "$gtest_bad" ]; }; then
    ok "ran to its end"
  else
    not_ok "ran to its end" "status $gtest_status"
  fi
}

# in_guest [OPTION OF BOOT]... <SCRIPT: its cases are ours; an end that no "not ok" explains
# is a failure, and so is one without a plan.  Not as part of a pipe.
in_guest() {
  guest_work=$(mktemp -d "${TMPDIR:-/tmp}/pviommu-guest.XXXXXX") || exit 1
  {
    printf "prefix='%s'\n. /rig/lib.sh\n. /rig/own-lib.sh\n" "$prefix"
    cat
    printf '\nfinish\n'
  } >"$guest_work/script"
  {
    "$rig/boot" --add "$rig/../../tap.sh:/rig/tap.sh" --add "$rig/../lib.sh:/rig/lib.sh" \
      --add "$rig/lib.sh:/rig/own-lib.sh" --add "$guest_work/script:/rig/script" "$@" -- sh /rig/script
    echo $? >"$guest_work/status"
  } | tee "$guest_work/output" | renumber
  guest_bad=$tap_bad
  count_cases "$guest_work/output" && guest_complete=yes || guest_complete=
  guest_status=$(cat "$guest_work/status")
  rm -rf "$guest_work"
  [ "$guest_complete" ] && { [ "$guest_status" -eq 0 ] || [ "$tap_bad" -gt "$guest_bad" ]; } ||
    not_ok "the guest's script" "ended with status $guest_status${guest_complete:+ behind its plan}"
}
