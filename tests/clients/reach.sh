#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Programs that a preloaded library loses or never gets: linked statically, started with a
# cleared environment, as another user, as a daemon; and what a run leaves alone.
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
need qemu-io

# A folder that other users find; in the private one of this test they do not.
chmod 711 "$work" "$XDG_RUNTIME_DIR"
address=0000:7c:00.0 group=7
device=/sys/bus/pci/devices/$address
model=model:edu,addr=$address,group=$group

run_edu() { timeout -k 5 30 "$run" pviommu run --quiet --hypervisor="$model" "$@"; }
says() {  # TEXT WHAT
  grep -qF -- "$1" "$work/err" || fail "$2: no word of '$1'"
}
[ -n "${CC:-}" ] || CC=cc

# ---- without standard input and output ---------------------------------------------

# Where run has become the program, somebody else has to remove its folder, and not before.
no_standard_files() {
  # shellcheck disable=SC2016 # the inner shell's
  run_edu -- sh -c 'sleep 1; ls "$PVIOMMU_SYSFS/bus/pci/devices" >"$1"' sh "$work/out" <&- >&- 2>&-
  grep -qx "$address" "$work/out" || fail "its devices went before it did"
}
verdict no-standard-files no_standard_files

# ---- what is the host's stays as it is --------------------------------------------

host_devices() {
  local link
  for link in /sys/bus/pci/devices/*; do
    [ -L "$link" ] || continue
    readlink -f "$link" && readlink "$link" && cat "$link/vendor" "$link/../$(basename "$(readlink -f "$link")")/device"
  done >"$work/expected" 2>&1
  [ -s "$work/expected" ] || return 0
  # shellcheck disable=SC2016 # the inner shell's
  run_edu -- sh -c 'for link in /sys/bus/pci/devices/*; do
      case $link in */'$address') continue ;; esac
      readlink -f "$link" && readlink "$link" && cat "$link/vendor" "$link/../$(basename "$(readlink -f "$link")")/device"
    done' >"$work/out" 2>&1
  cmp -s "$work/expected" "$work/out" || fail "links or files of the host's devices changed"
}
verdict host-devices host_devices

shell_walks() {
  # shellcheck disable=SC2016 # the inner shell's
  run_edu -- sh -ec '
    cd -P '$device' && [ "$(cat vendor)" = 0x1234 ] && cd -P .. && cd -P ../.. && [ "$(pwd -P)" = /sys ]
    [ "$(find /dev/vfio -type c | sort | tr "\n" " ")" = "/dev/vfio/'$group' /dev/vfio/devices/vfio0 /dev/vfio/vfio " ]
    [ "$(find -L '$device'/ -maxdepth 1 -name vendor)" = '$device'/vendor ]
    ls -l '$device'/ | grep -q vendor
    [ "$(ls -d /dev/vfio/*)" = "$(printf "%s\n" /dev/vfio/'$group' /dev/vfio/devices /dev/vfio/vfio)" ]
    [ "$(stat -f -c %T '$device')" = sysfs ]
    chmod 660 /dev/vfio/'$group' && [ "$(stat -c %a%F /dev/vfio/'$group')" = "660character special file" ]
  ' >"$work/out" 2>"$work/err" || fail "status $?"
  [ -z "$problem" ] || show "$work/err"
}
verdict shell-walks shell_walks

# ---- programs that cannot be reached -----------------------------------------------

printf 'int main(void) { return 0; }\n' >"$work/empty.c"
if $CC -static -o "$work/static" "$work/empty.c" 2>/dev/null; then
  printf '#! %s\n' "$work/static" >"$work/script"
  chmod +x "$work/script"
  static_program() {
    run_edu -- "$1" >"$work/out" 2>"$work/err" || fail "status $?"
    says "$work/static is statically linked" "$1"
    [ "$(wc -l <"$work/err")" = 1 ] || fail "$(wc -l <"$work/err") lines"
  }
  verdict static-program static_program "$work/static"
  verdict script-of-a-static-program static_program "$work/script"
else
  skip static-program 'there is no static C library'
  skip script-of-a-static-program 'there is no static C library'
fi
dynamic_program() {
  run_edu -- true >"$work/out" 2>"$work/err" || fail "status $?"
  [ -s "$work/err" ] && fail "a line about a program that is reached"
}
verdict dynamic-program dynamic_program

nothing_opened() {
  timeout -k 5 30 "$run" pviommu run --stats --hypervisor="$model" -- true >"$work/out" 2>"$work/err" || fail "status $?"
  says 'no VFIO file was opened' 'statistics of a program that opened none'
  grep -q 'pages mapped' "$work/err" && fail "a table of zeros"
}
verdict nothing-opened nothing_opened

# As the kernel's log does: why a map is refused.
locked_memory() {
  local limited=()
  [ "$(id -u)" != 0 ] || limited=(setpriv --bounding-set=-ipc_lock)
  (ulimit -l 64 && timeout -k 5 30 "$run" pviommu run --quiet --hypervisor=model:nvme,addr=$address -- \
    "${limited[@]}" qemu-io -f raw -c 'read 0 4k' "nvme://$address/1") >"$work/out" 2>"$work/err" && fail "no map was refused"
  says 'RLIMIT_MEMLOCK lets this process hold 64 KiB' 'a map beyond the limit'
  [ "$(grep -c RLIMIT_MEMLOCK "$work/err")" = 1 ] || fail "said more than once"
}
verdict locked-memory locked_memory

cleared_environment() {
  run_edu -- env -i /bin/sh -c "exec cat $device/vendor" >"$work/out" 2>"$work/err" || fail "status $?"
  [ "$(cat "$work/out")" = 0x1234 ] || fail "the device is not seen below env -i"
  run_edu -- env -u LD_PRELOAD /bin/sh -c "exec cat $device/vendor" >"$work/out" 2>"$work/err" &&
    fail "LD_PRELOAD was taken away, and came back"
}
verdict cleared-environment cleared_environment

# ---- other users --------------------------------------------------------------------

if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null && setpriv --reuid=65534 --regid=65534 --clear-groups test -r "$build/.libs/libpviommu-preload.so"; then
  other_user() {
    local nobody='setpriv --reuid=65534 --regid=65534 --clear-groups'
    (umask 077 && run_edu -- $nobody cat "$device/vendor") >"$work/out" 2>"$work/err"
    [ "$(cat "$work/out")" = 0x1234 ] || fail "another user does not see the device"
    [ -s "$work/err" ] && fail "something on stderr"
    run_edu -- $nobody sh -c "exec 3<>/dev/vfio/$group" >"$work/out" 2>"$work/err" && fail "another user opens root's group"
    run_edu -- sh -c "chown 65534 /dev/vfio/$group && exec $nobody sh -c 'exec 3<>/dev/vfio/$group && exec 4<>/dev/vfio/vfio'" \
      >"$work/out" 2>"$work/err" || fail "the group's owner cannot open it: $(cat "$work/err")"
  }
  verdict other-user other_user
else
  skip other-user 'needs root, setpriv, and a build that others can read'
fi

# ---- daemons --------------------------------------------------------------------------

# A shell closes nothing; this one closes all that it does not know, as daemons do.
cat >"$work/daemon" <<'END'
#!/bin/bash
{
  for fd in /proc/$BASHPID/fd/*; do
    fd=${fd##*/}
    [ "$fd" -gt 2 ] && eval "exec $fd>&-"
  done 2>/dev/null
  sleep 1
  exec 0<>/dev/vfio/$2
  cat "$3/vendor"
  echo end
} >"$1" 2>&1 </dev/null &
END
daemon() {
  run_edu -- bash "$work/daemon" "$work/said" "$group" "$device" || fail "status $?"
  grep -qs '^end$' "$work/said" && fail "the run waited for the daemon"
  for _ in $(seq 100); do grep -qs '^end$' "$work/said" && break; sleep 0.1; done
  [ "$(head -n 1 "$work/said")" = 0x1234 ] || fail "the daemon does not see its device: $(head -n 1 "$work/said")"
  for _ in $(seq 50); do [ -z "$(ls -A "$XDG_RUNTIME_DIR")" ] && return; sleep 0.1; done
  fail "left behind: $(ls -A "$XDG_RUNTIME_DIR")"
}
verdict daemon daemon
finish
