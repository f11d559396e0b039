# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Common parts of the client tests; sourced, never run.
#
# A test says its results in TAP, by ../tap.sh.  Everything a test makes lives in $work,
# which goes away at exit; every process it starts is bounded in time and ended by its id.
set -u
export LC_ALL=C
. "$(dirname "${BASH_SOURCE[0]}")/../tap.sh"

build=$(cd "${BUILD:-${PVIOMMU_BUILD:-build}}" && pwd) || exit 1
run=${PVIOMMU_RUN:-$build/run}
# Tests of programs must not depend on what is exported around them.
unset PVIOMMU_HYPERVISOR PVIOMMU_IOMMU_DRIVER PVIOMMU_FRAMES PVIOMMU_MAX_MAPPINGS PVIOMMU_STRICT PVIOMMU_QUIET PVIOMMU_INTERFACE

work=$(mktemp -d "${TMPDIR:-/tmp}/pviommu-client.XXXXXX") || exit 1
# Locks and sysfs trees of our runs stay out of the way of other runs.
export PVIOMMU_RUN_DIR=$work/run
export XDG_RUNTIME_DIR=$work/runtime
mkdir -m 700 "$PVIOMMU_RUN_DIR" || exit 1
mkdir -m 711 "$XDG_RUNTIME_DIR" || exit 1  # where other users get to, for runs of root

started=()  # process ids to end at exit

end_processes() {
  local pid
  for pid in "${started[@]}"; do kill "$pid" 2>/dev/null; done
  for pid in "${started[@]}"; do
    for _ in $(seq 30); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.1
    done
    kill -9 "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
  done
  started=()
}

clean_up() {
  end_processes
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The end of FILE as an explanation.
show() {
  local file=$1 lines=${2:-15}
  [ -s "$file" ] || { note "${file##*/} is empty"; return; }
  note "the end of ${file##*/}:"
  tail -n "$lines" "$file" | tr -d '\r' | sed 's/^/#   /'
}
# A case is a function; each complaint goes through fail, which it may call often:
#   verdict NAME FUNCTION [ARGUMENT...]
problem=
fail() { [ -n "$problem" ] || problem=$*; }
verdict() {
  local name=$1
  shift
  problem=
  "$@"
  if [ -z "$problem" ]; then ok "$name"; else not_ok "$name" "$problem"; fi
}

need() {
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null && continue
    not_ok "$(basename "$0" .sh)" "$tool is not installed"
    finish
  done
}

# VFIO accounts what it pins: without CAP_IPC_LOCK a program needs room for it.
need_memlock() {
  local mib=$1 limit
  [ "$(id -u)" = 0 ] && return
  ulimit -S -l "$(ulimit -H -l)"
  limit=$(ulimit -l)
  [ "$limit" = unlimited ] || [ "$limit" -ge $((mib << 10)) ] && return
  skip "$(basename "$0" .sh)" "RLIMIT_MEMLOCK allows $limit KiB, the programs pin $mib MiB (run as root or raise it)"
  finish
}

# ---- programs on a hypervisor -------------------------------------------------

json_get=$build/tests/clients/json-get
edu_dma=$build/tests/clients/edu-dma

# What a run of NAME leaves: $work/NAME.out, .err, .json (its statistics).
run_command() {
  local limit=$1 name=$2
  shift 2
  rm -f "$work/$name.json"
  command=(timeout -k 5 "$limit" "$run" pviommu run --stats=json "--stats-file=$work/$name.json" "$@")
}
# pviommu_run SECONDS NAME OPTION... -- PROGRAM...
pviommu_run() {
  local command
  run_command "$@"
  "${command[@]}" >"$work/$2.out" 2>"$work/$2.err" </dev/null
}
# The same in the background: $! is the process to wait for and to end.
pviommu_start() {
  local command
  run_command "$@"
  "${command[@]}" >"$work/$2.out" 2>"$work/$2.err" </dev/null &
}

# stat NAME JSON_POINTER
stat_of() { "$json_get" "$work/$1.json" "$2" 2>/dev/null; }

# at_least NAME JSON_POINTER NUMBER
at_least() {
  local value
  value=$(stat_of "$1" "$2")
  [[ $value =~ ^[0-9]+$ ]] && [ "$value" -ge "$3" ] || fail "$2 is ${value:-missing}, not at least $3"
}
# exactly NAME JSON_POINTER VALUE
exactly() {
  local value
  value=$(stat_of "$1" "$2")
  [ "$value" = "$3" ] || fail "$2 is ${value:-missing}, not $3"
}
no_faults() {
  local value
  value=$(stat_of "$1" /faults)
  [[ $value =~ ^\{(\"[a-z_]+\":0,?)+\}$ ]] || fail "faults: ${value:-no statistics}"
}
# Nothing is mapped or pinned any more.
nothing_left() {
  exactly "$1" /live_mappings 0
  exactly "$1" /live_pages 0
  exactly "$1" /pinned_pages 0
  [ "$(stat_of "$1" /pages_mapped)" = "$(stat_of "$1" /pages_unmapped)" ] ||
    fail "$(stat_of "$1" /pages_mapped) pages mapped, $(stat_of "$1" /pages_unmapped) unmapped"
}
# Of a run whose case complained: what it said.
explain_run() {
  [ -z "$problem" ] && return
  show "$work/$1.err"
  show "$work/$1.out" 5
}

# pattern_file FILE MIB BYTE(octal): MIB of one byte.
pattern_file() { head -c "$(($2 << 20))" /dev/zero | tr '\0' "\\$3" >"$1"; }
