# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=sh
# For the base and boot scripts of the rigs.
#
# The guest's /init sources /rig/settings ($mark), runs /rig/command with its output
# going to a port of virtio-serial, and says "@MARK STATUS" behind that.

# program FILE: the file behind libtool's wrapper script.
program() {
  real=$(dirname "$1")/.libs/$(basename "$1")
  [ -x "$real" ] || real=$1
  printf '%s\n' "$real"
}

# add_module LINUX NAME: into lib/modules of the current folder, from the tree of the
# package at LINUX, with what it depends on; the kernel cannot be asked, it does not
# run yet.  $release is the kernel's.
add_module() {
  set -- "$1" "$(echo "$2" | tr _ -)"
  [ ! -e "lib/modules/$release/$2.ko" ] || return 0
  found=$(find "$1/lib/modules" -name "$(echo "$2" | sed 's/-/[-_]/g').ko*")
  if [ -z "$found" ]; then
    grep -q "/$(echo "$2" | sed 's/-/[-_]/g')\.ko$" "$1/lib/modules/$release/modules.builtin" ||
      die "$release has no module $2"
    return 0
  fi
  case $found in
    *.xz) xz -dc "$found" >"lib/modules/$release/$2.ko" ;;
    *) cp "$found" "lib/modules/$release/$2.ko" ;;
  esac
  # The strings of the section .modinfo.
  for dependency in $(LC_ALL=C tr '\0' '\n' <"lib/modules/$release/$2.ko" | LC_ALL=C sed -n 's/^depends=//p' | tr , ' '); do
    add_module "$1" "$dependency"
  done
}

# command_words ARGUMENT...: as a line for sh.
command_words() {
  for word in "$@"; do
    printf '%s\n' "$word" | sed "s/'/'\\\\''/g; 1s/^/'/; \$s/\$/'/"
  done | tr '\n' ' '
}

# run_guest SECONDS QEMU ARGUMENT...: in the current folder, with "-chardev ID output"
# among the arguments.  Its output is ours; ends with the command's status, 124 when
# time is over, 125 when it did not come to its end.  $log is shown on failure, from
# the line that says that the command starts.  $filter and $qemu are for the trap.
run_guest() {
  limit=$1
  shift
  # A file, not a pipe: what a reader has not taken yet would be lost when QEMU ends.
  : >output
  timeout --kill-after=5 "$limit" "$@" </dev/null 2>errors &
  qemu=$!
  # The command's output as it comes, less the line that carries its status.
  tail -c +1 -f -s 0.1 --pid=$qemu output |
    LC_ALL=C sed -u -e "/@$mark [a-z0-9]*\$/{h;s/.*@$mark //w status" -e "g;s/@$mark .*//;/^\$/d}" &
  filter=$!
  ended=0
  wait $qemu || ended=$?
  qemu=
  wait $filter || :
  filter=
  status=$(cat status 2>/dev/null || :)
  complain
  if [ "$ended" = 124 ] || [ "$ended" = 137 ]; then
    show_log ''
    echo "boot: no end after $limit seconds${status:+, the command had ended with status $status}" >&2
    exit 124
  fi
  case $status in
    '' | broken)
      show_log ''
      echo "boot: the guest did not run the command to its end (QEMU: status $ended)" >&2
      exit 125
      ;;
    0) ;;
    *) show_log '1,/: the command starts/d' ;;
  esac
  exit "$status"
}
complain() {  # what QEMU said, less what is always so
  grep -v "TCG doesn't support requested feature" errors >&2 || :
  return "${1:-0}"
}
show_log() {  # SED-SCRIPT
  echo "boot: ---- $log:" >&2
  tr -d '\r' <"$log" | sed "$1" >&2
  echo "boot: ----" >&2
}
# name_log NAME: $log, empty, in the build's results unless it was chosen.
name_log() {
  if [ -z "$log" ]; then
    if [ -d "$build" ]; then logs=$(cd "$build" && pwd)/results/$1/serial; else logs=${TMPDIR:-/tmp}; fi
    mkdir -p "$logs"
    log=$logs/$(date +%H%M%S)-$$.txt
  fi
  : >"$log"
  log=$(realpath "$log")
}
finish_boot() {
  code=$?
  trap - EXIT INT TERM HUP
  [ -z "$qemu" ] || { kill "$qemu" 2>/dev/null && wait "$qemu" || :; }
  [ -z "$filter" ] || { kill "$filter" 2>/dev/null && wait "$filter" || :; }
  rm -rf "$work"
  exit $code
}
