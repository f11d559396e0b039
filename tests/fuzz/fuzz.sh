#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# fuzz.sh                       a test of a minute: every target from its corpus on, on two processors
# fuzz.sh run TARGET SECONDS    0: until it is stopped or something is found
# fuzz.sh merge TARGET          what `run` found goes to the corpus of the tree
set -u
programs=$PVIOMMU_BUILD/fuzz
corpus=$PVIOMMU_SOURCE/tests/fuzz/corpus
found=$PVIOMMU_BUILD/fuzz/corpus
inputs=$PVIOMMU_BUILD/results/fuzz
export UBSAN_OPTIONS="print_stacktrace=1 ${UBSAN_OPTIONS:-}"

# An input's length, which is the number of calls in it: see the targets.
length() {
  case $1 in
    calls) echo 2048 ;;
    config_space) echo 512 ;;
    *) echo 256 ;;
  esac
}

fuzz() {  # TARGET SECONDS CORPUS OPTION...
  target=$1 seconds=$2 into=$3
  shift 3
  mkdir -p "$into" "$inputs"
  "$programs/fuzz_$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -entropic=0 -len_control=0 \
    -max_len="$(length "$target")" -artifact_prefix="$inputs/$target-" -print_final_stats=1 "$@" \
    "$into" "$corpus/$target"
}

case ${1:-} in
  run)
    fuzz "$2" "$3" "$found/$2"
    status=$?
    [ $status -eq 0 ] || echo "an input that fails is kept; again with: $programs/fuzz_$2 $inputs/$2-..." >&2
    exit $status
    ;;
  merge)
    mkdir -p "$found/$2" "$found/$2.least"
    "$programs/fuzz_$2" -merge=1 -max_len="$(length "$2")" "$found/$2.least" "$corpus/$2" "$found/$2" || exit
    rm -rf "${corpus:?}/$2"
    mv "$found/$2.least" "$corpus/$2"
    exit
    ;;
esac

# ---- the test ----------------------------------------------------------------

. "$(dirname "$0")/../tap.sh"

work=$(mktemp -d)
running=
trap '[ -z "$running" ] || kill $running 2>/dev/null; rm -rf "$work"' EXIT
trap 'exit 1' TERM INT

one() {  # NAME TARGET SECONDS: its result as TAP in $work/NAME.result
  log=$inputs/$1.fuzz.log name="fuzz $1 for $3 s"
  mkdir -p "$inputs"
  rm -f "$inputs/$2-crash-"* "$inputs/$2-leak-"* "$inputs/$2-timeout-"*
  if fuzz "$2" "$3" "$work/$1" >"$log" 2>&1; then
    calls=$(sed -n 's/^fuzz: \([0-9]*\) calls$/\1/p' "$log")
    if [ "${calls:-0}" -ge 1000 ]; then
      ok "$name"
      note "$name: $calls calls"
    else
      not_ok "$name" "${calls:-no} calls"
    fi
  else
    why=$(grep -m1 -E '^[^ ]*: broken: |^SUMMARY: |ERROR: ' "$log" | sed 's/.*broken: /broken: /')
    input=$(sed -n 's/.*Test unit written to //p' "$log" | head -n 1)
    not_ok "$name" "${why:-see $log}; again with: $programs/fuzz_$2 ${input:-$log}"
  fi >"$work/$1.result"
}
(one calls calls 60) &
running=$!
(one calls-again calls 20; one config_space config_space 25; one text text 15) &
running="$running $!"
wait
running=
for name in calls calls-again config_space text; do
  if [ -s "$work/$name.result" ]; then
    renumber <"$work/$name.result"
    count_cases "$work/$name.result"
  else
    not_ok "fuzz $name" "it ended early"
  fi
done
finish
