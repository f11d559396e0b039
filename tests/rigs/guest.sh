# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=sh
# What the boot scripts of the rigs share: options, what goes into the guest, and QEMU.
#
#     . guest.sh
#     values="$values kernel" kernel=6.12      options of the rig's own, with their defaults
#     parse_options "$@"
#     begin_boot NAME QEMU PACKAGE             $work, $root; what is in $root is for the guest
#     add_files FUNCTION                       what --add names
#     pack_guest BASE.CPIO...                  $work/initrd
#     boot_machine SECONDS SERIAL BUS ARGUMENT...    QEMU, whose end is ours
#
# The guest's /init sources /rig/settings ($mark), runs /rig/command with its output
# going to a port of virtio-serial, and says "@MARK STATUS" behind that.
die() { echo "boot: $*" >&2; exit 125; }

# ---- options -------------------------------------------------------------------

# An option --some-name sets $some_name: a flag to yes, one with a value to that; of one
# in lines each value is a line.
flags="icount quiet shell" values="disk memory timeout log" lines="add device qemu linux"
icount='' quiet='' shell='' disk='' memory=1024 timeout='' log='' add='' device='' qemu='' linux=''
newline='
'
common_usage() {
  cat <<EOF
  --disk FILE          raw image of the first NVMe disk (default: zeros, not kept)
  --add FILE[:DEST]    a file, program (with its libraries) or folder for the guest;
                       DEST is absolute, default /root/NAME; may be repeated
  --device DEVICE      another -device for QEMU; may be repeated
  --qemu ARGUMENT      any other argument for QEMU; may be repeated
  --linux "OPTION..."  more options for the kernel
  --memory MIB         of the machine (default $memory)
  --icount             time counts instructions (1000 are 1 us): slow, repeatable
  --timeout S          (default 120, with --icount 400)
  --log FILE           where the log goes
  --quiet              do not name the log
  --shell              a shell on this terminal; ends with exit
EOF
}
# parse_options ARGUMENT...: also $command, the words behind the options as a line for sh.
parse_options() {
  while [ $# -gt 0 ]; do
    option=${1#--}
    case $1 in
      --) shift; break ;;
      --help|-h) usage; exit 0 ;;
      --*[!a-z-]*) option=unknown ;;
      --?*) ;;
      *) option=unknown ;;
    esac
    variable=$(echo "$option" | tr - _)
    case " $flags " in *" $option "*) eval "$variable=yes"; shift; continue ;; esac
    case " $values $lines " in
      *" $option "*) [ $# -ge 2 ] || { usage >&2; exit 125; } ;;
      *) echo "boot: unknown option $1" >&2; usage >&2; exit 125 ;;
    esac
    case " $lines " in
      *" $option "*) eval "$variable=\$$variable\$2\$newline" ;;
      *) eval "$variable=\$2" ;;
    esac
    shift 2
  done
  [ -n "$shell" ] || [ $# -gt 0 ] || { usage >&2; exit 125; }
  : "${timeout:=${icount:+400}}" "${timeout:=120}"
  command=$(command_words "$@")
}
# joined LINES MARK: what an option in lines says, each behind MARK.
joined() { printf %s "$1" | sed "s/^/$2/" | tr -d '\n'; }

# ---- what goes into the guest --------------------------------------------------

# begin_boot RIG QEMU PACKAGE: from here on finish_boot takes away what was made.
begin_boot() {
  emulator=$2
  command -v "$emulator" >/dev/null || die "$emulator is not installed (Debian: $3)"
  build=${PVIOMMU_BUILD:-$here/../../../build}
  work=$(mktemp -d "${TMPDIR:-/tmp}/pviommu-$1.XXXXXX")
  running='' filter=''
  trap finish_boot EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  root=$work/root
  mkdir -p "$root/rig"
}
# program FILE: the file behind libtool's wrapper script.
program() {
  real=$(dirname "$1")/.libs/$(basename "$1")
  [ -x "$real" ] || real=$1
  printf '%s\n' "$real"
}
# add_files COMMAND...: what --add names; COMMAND is run with the name of each file.
add_files() {
  while IFS= read -r each; do
    [ -n "$each" ] || continue
    file=${each%%:/*} destination=/root/$(basename "${each%%:/*}")
    [ "$file" = "$each" ] || destination=/${each#*:/}
    [ -e "$file" ] || die "--add $file: no such file"
    mkdir -p "$root$(dirname "$destination")"
    cp -RL "$(program "$file")" "$root$destination"
    [ -d "$file" ] || "$@" "$(program "$file")" || exit 125
  done <<EOF
$add
EOF
}
# command_words ARGUMENT...: as a line for sh.
command_words() {
  for word in "$@"; do
    printf '%s\n' "$word" | sed "s/'/'\\\\''/g; 1s/^/'/; \$s/\$/'/"
  done | tr '\n' ' '
}
# pack_guest CPIO...: $work/initrd of these, and $root over them.
pack_guest() {
  mark=
  [ -n "$shell" ] || mark=$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')
  printf 'mark=%s\nTERM=%s\n' "$mark" "${shell:+${TERM:-dumb}}" >"$root/rig/settings"
  printf '%s\n' "$command" >"$root/rig/command"
  (cd "$root" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) >"$work/overlay"
  cat "$@" "$work/overlay" >"$work/initrd"
}

# ---- the machine ---------------------------------------------------------------

# disk_image SIZE: $blockdev, the argument of -blockdev for --disk.
disk_image() {
  if [ -n "$disk" ]; then
    disk=$(realpath -e -- "$disk") || exit 125
  else
    disk=disk
    truncate -s "$1" "$work/disk"
  fi
  blockdev="driver=raw,node-name=disk,file.driver=file,file.filename=$(printf %s "$disk" | sed 's/,/,,/g')"
}

# boot_machine SECONDS SERIAL BUS ARGUMENT...: in the current folder.  --shell comes after
# about SECONDS; on the first serial port or, when SERIAL is not empty, behind that one,
# which has the log.  The rig's virtio-serial is 1e.0 of BUS, "" for the only one.
boot_machine() {
  seconds=$1 serial=$2 bus=$3
  shift 3
  while IFS= read -r word; do
    [ -z "$word" ] || set -- "$@" -device "$word"
  done <<EOF
$device
EOF
  while IFS= read -r word; do
    [ -z "$word" ] || set -- "$@" "$word"
  done <<EOF
$qemu
EOF
  [ -z "$icount" ] || set -- "$@" -icount shift=0,sleep=off -rtc base=2020-01-01,clock=vm
  [ -n "$shell" ] && [ -z "$serial" ] || set -- "$@" -serial "file:$log"
  if [ -n "$shell" ]; then
    echo "boot: a shell comes in $seconds s${serial:+; the log is $log}" >&2
    exec 4<&0
    # In the background, where a shell would take its input away: a terminal that is
    # closed signals us only, and we end QEMU.
    "$emulator" "$@" -chardev stdio,id=tty,signal=off -serial chardev:tty <&4 2>errors &
    running=$!
    wait $running || complain $?
    running=
    exit
  fi
  run_guest "$timeout" "$emulator" "$@" -chardev file,id=output,path=output,append=on \
    -device "virtio-serial,${bus:+bus=$bus,}addr=1e.0" -device virtserialport,chardev=output
}

# run_guest SECONDS QEMU ARGUMENT...: in the current folder, with "-chardev ID output"
# among the arguments.  Its output is ours; ends with the command's status, 124 when
# time is over, 125 when it did not come to its end.  $log is shown on failure, from
# the line that says that the command starts.  $filter and $running are for the trap.
run_guest() {
  limit=$1
  shift
  # A file, not a pipe: what a reader has not taken yet would be lost when QEMU ends.
  : >output
  timeout --kill-after=5 "$limit" "$@" </dev/null 2>errors &
  running=$!
  # The command's output as it comes, less the line that carries its status.
  tail -c +1 -f -s 0.1 --pid=$running output |
    LC_ALL=C sed -u -e "/@$mark [a-z0-9]*\$/{h;s/.*@$mark //w status" -e "g;s/@$mark .*//;/^\$/d}" &
  filter=$!
  ended=0
  wait $running || ended=$?
  running=
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
# name_log RIG WHOSE: $log, empty, in the build's results unless it was chosen; it is WHOSE log.
name_log() {
  if [ -z "$log" ]; then
    if [ -d "$build" ]; then logs=$(cd "$build" && pwd)/results/$1/serial; else logs=${TMPDIR:-/tmp}; fi
    mkdir -p "$logs"
    log=$logs/$(date +%H%M%S)-$$.txt
  fi
  : >"$log"
  log=$(realpath "$log")
  [ -n "$quiet$shell" ] || echo "boot: the log of $2 is $log" >&2
}
finish_boot() {
  code=$?
  trap - EXIT INT TERM HUP
  [ -z "$running" ] || { kill "$running" 2>/dev/null && wait "$running" || :; }
  [ -z "$filter" ] || { kill "$filter" 2>/dev/null && wait "$filter" || :; }
  rm -rf "$work"
  exit $code
}
