# SPDX-License-Identifier: LGPL-2.1-or-later
# Logs of automake's TAP driver -> the cases in them, by name: appended to FOLDER/STAGE.passed,
# .failed and .skipped.
#
#   awk -v stage=STAGE -v to=FOLDER -f list-cases.awk LOG...
#
#   RESULT: TEST NUMBER - NAME # DIRECTIVE     a case        ->  STAGE: NAME
#   ERROR: TEST - what is wrong                a whole test  ->  STAGE: TEST - what is wrong
#
# That a test "exited with status 1" says nothing new behind failures of its own.

BEGIN { passed = to "/" stage ".passed"; failed = to "/" stage ".failed"; skipped = to "/" stage ".skipped" }

FNR == 1 { bad = 0 }
!/^(PASS|FAIL|SKIP|ERROR|XFAIL|XPASS): / { next }
{
  result = $1
  test = $2
  name = $0
  sub(/^[^ ]* [^ ]* /, "", name)
  if (!sub(/^[0-9]+ (- )?/, "", name)) name = test " " name
}
result == "PASS:" { print stage ": " name >>passed; next }
result == "SKIP:" { sub(/ # SKIP */, " - ", name); print stage ": " name >>skipped; next }
bad && name ~ / - exited with status 1$/ { next }
{ bad = 1; print stage ": " name >>failed }
