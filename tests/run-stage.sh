# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=sh
# One stage of ./check, which reads this file: it is run, its cases are listed by name, and what
# failed is shown with the end of its logs.
#
#   $results/NAME.stage.log                   what the command said
#   $results/NAME.passed .failed .skipped     the stage's cases
#   $results/passed failed skipped            those of all stages so far
#   $results/failures                         each failed stage's cases and the ends of its logs,
#                                             said once more at the end, where a reader looks first

: "${results:?read by ./check}"

# The logs of the tests that the harness ran since the stage began.
logs() {
  find build build-* -name _build -prune -o -name '*.trs' -newer "$results/began" -print 2>/dev/null | sed 's/trs$/log/'
}
total() {  # FILE-OF-PASSED FILE-OF-FAILED FILE-OF-SKIPPED
  printf '%d passed, %d failed, %d skipped' "$(wc -l <"$1")" "$(wc -l <"$2")" "$(wc -l <"$3")"
}

# The stage is a session of its own, all of which ends with it.
running=
end_session() {
  [ -n "$running" ] && pkill -TERM -s "$running" || return 0
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    ps -o stat= -s "$running" | grep -qv '^Z' || return 0
    sleep 0.5
  done
  pkill -KILL -s "$running"
}
trap 'end_session; exit 130' INT TERM HUP

# What failed of the stage that just ended, behind the ends of the logs that say why.
show_failure() {
  for each in "$log" $(logs | xargs -r grep -lE '^(FAIL|ERROR|XPASS): '); do
    echo "   ... end of $each:"
    grep -vE '^(PASS: |ok )' "$each" | tail -n 60 | cut -c1-300 | sed 's/^/   | /'
  done
  sed 's/^/   failed  /' "$failed"
}

# Status 0 when nothing failed.
run_stage() {  # NAME SECONDS TITLE COMMAND
  log=$results/$1.stage.log passed=$results/$1.passed failed=$results/$1.failed skipped=$results/$1.skipped
  : >"$passed" >"$failed" >"$skipped"
  printf '== %s: %s\n' "$1" "$3"
  : >"$results/began"
  start=$(date +%s)
  setsid timeout --kill-after=10 "$2" sh -c "$4" >"$log" 2>&1 </dev/null &
  running=$!
  wait $running
  code=$?
  end_session
  running=
  case $code in 124|137) echo "no end after $2 seconds" >>"$log" ;; esac
  case $1 in
    apt|build|distcheck) [ $code -ne 0 ] || echo "$1: $3" >>"$passed" ;;
    *) logs | xargs -r awk -v stage="$1" -v to="$results" -f tests/list-cases.awk ;;
  esac
  if [ $code -ne 0 ] && [ ! -s "$failed" ]; then
    echo "$1: $3 - exit status $code" >>"$failed"
  elif [ ! -s "$passed" ] && [ ! -s "$failed" ] && [ ! -s "$skipped" ]; then
    echo "$1: $3 - no test ran" >>"$failed"
  fi
  if [ -s "$failed" ]; then
    show_failure | tee -a "$results/failures"
  fi
  awk -f tests/by-reason.awk "$skipped"
  printf '   %s in %d s\n\n' "$(total "$passed" "$failed" "$skipped")" $(($(date +%s) - start))
  for kind in passed failed skipped; do cat "$results/$1.$kind" >>"$results/$kind"; done
  [ ! -s "$failed" ]
}
