#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The command towards people: what it says about mistakes (one line that names
# the value and what would be right) and what it keeps of the program it runs.
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
need qemu-io qemu-img

url=nvme://0000:00:05.0/1

pviommu() { timeout -k 5 30 "$run" pviommu "$@"; }
# The same with stdout and stderr in FILEs, for programs that are killed: the
# shell's own remark about that ("Terminated") goes nowhere.
pviommu_into() {
  local out=$1 err=$2
  shift 2
  { timeout -k 5 30 "$run" pviommu "$@" >"$out" 2>"$err" </dev/null; } 2>/dev/null
}

# complaint STATUS TEXTS PVIOMMU_ARGUMENT...
# Ends with STATUS and one line on stderr that holds every text of "a|b|c"; the
# program, if any, is not started.
complaint() {
  local expected=$1 texts=$2 status text lines
  shift 2
  pviommu "$@" >"$work/out" 2>"$work/err" </dev/null
  status=$?
  [ $status = "$expected" ] || fail "status $status, not $expected"
  lines=$(wc -l <"$work/err")
  [ "$lines" = 1 ] || fail "$lines lines on stderr"
  [ -s "$work/out" ] && fail "something on stdout: $(head -n 1 "$work/out")"
  grep -q '^pviommu: ' "$work/err" || fail "the line does not say who speaks"
  IFS='|' read -ra texts <<<"$texts"
  for text in "${texts[@]}"; do
    grep -qF -- "$text" "$work/err" || fail "the message does not say $text"
  done
  [ -z "$problem" ] || show "$work/err"
}

program=(-- touch "$work/started")
not_started() {
  complaint "$@" "${program[@]}"
  [ ! -e "$work/started" ] || fail "the program was started"
  rm -f "$work/started"
  nothing_remains
}

nothing_remains() {
  local left
  left=$(ls -A "$XDG_RUNTIME_DIR")
  [ -z "$left" ] || fail "left behind in the run folder: $left"
}

truncate -s 1M "$work/disk.img"
: >"$work/empty.img"
mkdir "$work/full" && touch "$work/full/file"
printf '#!/bin/sh\n' >"$work/not-executable"

nvme=nvme,addr=0000:00:05.0
verdict hypervisor-unknown not_started 2 'nosuch|model' run --hypervisor=nosuch
verdict hypervisor-unknown-conf not_started 2 'nosuch|model' run --hypervisor=nosuch:a=b
verdict hypervisor-empty complaint 2 '--hypervisor' list --hypervisor=
verdict backing-file-missing not_started 2 "$work/missing.img" run --hypervisor="model:$nvme,file=$work/missing.img"
verdict backing-file-empty not_started 2 "$work/empty.img" run --hypervisor="model:$nvme,file=$work/empty.img"
verdict backing-file-folder not_started 2 "$work/full" run --hypervisor="model:$nvme,file=$work/full"
verdict conf-key-unknown not_started 2 'fiel|file' run --hypervisor="model:$nvme,fiel=x"
verdict conf-machine-key-unknown not_started 2 'limit|limits' run --hypervisor="model:limit=xen;$nvme"
verdict conf-choice not_started 2 'kvm|xen|papr' run --hypervisor="model:limits=kvm;$nvme"
verdict conf-device-unknown not_started 2 'floppy|nvme|edu' run --hypervisor='model:floppy,addr=0000:00:05.0'
verdict conf-size not_started 2 'size|12Q' run --hypervisor="model:$nvme,size=12Q"
verdict conf-address not_started 2 '00:5' run --hypervisor='model:nvme,addr=00:5'
verdict conf-address-twice not_started 2 '0000:00:05.0' run --hypervisor="model:$nvme;$nvme"
verdict conf-key-twice not_started 2 'size' run --hypervisor="model:$nvme,size=1M,size=2M"
verdict iommu-driver-unknown not_started 2 'nosuch|hypercall' run --iommu-driver=nosuch
verdict option-unknown not_started 2 '--hypervsor' run --hypervsor=model
verdict option-frames not_started 2 'magic|io_uring|copy' run --frames=magic
verdict option-stats not_started 2 'xml|json' run --stats=xml
verdict option-max-mappings not_started 2 'many' run --max-mappings=many
verdict option-max-mappings-zero not_started 2 '0' run --max-mappings=0
verdict option-sysfs-full not_started 2 "$work/full" run --sysfs="$work/full"
verdict command-unknown complaint 2 'rum' rum
verdict command-missing complaint 2 'pviommu --help'
verdict program-missing complaint 2 'PROGRAM' run
verdict list-hypervisor-unknown complaint 2 'nosuch|model' list --hypervisor=nosuch
verdict list-takes-no-program complaint 2 'run' list -- true
verdict program-not-found complaint 127 'no-such-program' run -- no-such-program
verdict program-not-executable complaint 126 "$work/not-executable" run -- "$work/not-executable"

# bind and unbind, without a device that could be taken.
verdict bind-device-missing complaint 2 '0000:ff:1f.7|list --host' bind 0000:ff:1f.7
verdict bind-device-syntax complaint 2 'nvme0|0000:00:05.0' bind nvme0
verdict bind-no-device complaint 2 'ADDRESS' bind --dry-run
verdict bind-uri-empty complaint 2 '--uri' bind --uri= 0000:00:05.0
verdict bind-uri-and-default complaint 2 '--uri|--libvirt' bind --uri=test:///default --libvirt 0000:00:05.0
verdict unbind-device-missing complaint 2 '0000:ff:1f.7' unbind 0000:ff:1f.7
verdict list-uri-without-host complaint 2 '--uri|--host' list --uri=test:///default
if [ -e "$build/.libs/pviommu-libvirt.so" ]; then
  verdict libvirt-uri-wrong complaint 2 'nosuch|xen:///system' list --host --uri=nosuch
  verdict libvirt-file-missing complaint 2 "$work/missing.xml" list --host --uri="test://$work/missing.xml"
  verdict libvirt-daemon-missing complaint 1 "$work/missing-sock|libvirtd" \
    list --host --uri="xen+unix:///system?socket=$work/missing-sock"
  verdict libvirt-device-missing complaint 2 '0000:00:05.0' bind --uri=test:///default 0000:00:05.0
else
  verdict libvirt-module-missing complaint 2 'libvirt|--with-libvirt' list --host --uri=test:///default
fi

environment_variable() {
  export "$1=$2"
  not_started 2 "$1|$2" run
  unset "$1"
}
verdict environment-max-mappings environment_variable PVIOMMU_MAX_MAPPINGS many
verdict environment-frames environment_variable PVIOMMU_FRAMES magic
verdict environment-interface environment_variable PVIOMMU_INTERFACE nodes
verdict environment-strict environment_variable PVIOMMU_STRICT perhaps

preload_missing() {
  # The wrapper sets PVIOMMU_PRELOAD: set it behind the wrapper.
  timeout 30 "$run" env PVIOMMU_PRELOAD="$work/no-such.so" pviommu run -- true >"$work/out" 2>"$work/err"
  [ $? = 1 ] || fail "status is not 1"
  [ "$(wc -l <"$work/err")" = 1 ] && grep -q "$work/no-such.so" "$work/err" || fail "no line that names the library"
  nothing_remains
}
verdict preload-missing preload_missing

stats_file_unwritable() {
  pviommu run --stats=json --stats-file="$work/no-folder/s.json" -- sh -c 'exit 5' >"$work/out" 2>"$work/err"
  [ $? = 5 ] || fail "the program's status was not kept"
  [ "$(wc -l <"$work/err")" = 1 ] && grep -q "$work/no-folder/s.json" "$work/err" || fail "no line that names the file"
}
verdict stats-file-unwritable stats_file_unwritable

# ---- devices ------------------------------------------------------------------

missing_device() {
  pviommu run --stats=json --stats-file="$work/missing.json" -- \
    qemu-io -f raw -c 'read 0 4k' nvme://0000:00:09.0/1 >"$work/out" 2>"$work/err"
  [ $? = 1 ] || fail "status is not qemu-io's 1"
  [ "$(cat "$work/out" "$work/err" | wc -l)" = 1 ] || fail "not one line"
  exactly missing /maps/count 0
  [ -z "$problem" ] || show "$work/err"
}
verdict device-missing missing_device

# A second program on a device in use: EBUSY, and a line that says so.
busy() {
  local conf=$1 first status
  pviommu_start 60 first --hypervisor="$conf" -- qemu-io -f raw -c 'write -P 1 0 64k' -c 'sleep 20000' "$url"
  first=$!
  started+=("$first")
  for _ in $(seq 100); do
    pviommu list --hypervisor="$conf" --json >"$work/list.json" 2>/dev/null
    [ "$("$json_get" "$work/list.json" /0/state)" = used ] && break
    sleep 0.1
  done
  [ "$("$json_get" "$work/list.json" /0/state)" = used ] || fail "the list does not show the device as used"
  [ "$("$json_get" "$work/list.json" /0/owner/command)" = qemu-io ] || fail "the list does not name the user"
  pviommu list --hypervisor="$conf" | grep -q 'used by [0-9]* (qemu-io)' || fail "the table does not name the user"

  pviommu run --hypervisor="$conf" -- qemu-io -f raw -c 'read 0 4k' "$url" >"$work/out" 2>"$work/err"
  status=$?
  [ $status = 1 ] || fail "status of the second is $status, not qemu-io's 1"
  grep -q 'Device or resource busy' "$work/err" || fail "the second was not told EBUSY"
  # qemu-io's line, and perhaps ours beside it.
  [ "$(grep -c '^pviommu' "$work/err")" -le 1 ] && [ "$(grep -vc '^pviommu' "$work/err")" = 1 ] ||
    fail "not one line"
  [ -z "$problem" ] || show "$work/err"

  kill "$first"
  wait "$first"
  started=()
  pviommu run --hypervisor="$conf" -- qemu-io -f raw -c 'read 0 4k' "$url" >"$work/out" 2>"$work/err" ||
    fail "not free when the first has gone"
  [ -z "$problem" ] || show "$work/err"
}
verdict device-busy-file busy "model:$nvme,file=$work/disk.img"

busy_by_configuration() {
  pviommu run --hypervisor="model:$nvme,busy" -- qemu-io -f raw -c 'read 0 4k' "$url" >"$work/out" 2>"$work/err"
  [ $? = 1 ] || fail "status is not qemu-io's 1"
  [ "$(grep -vc '^pviommu' "$work/err")" = 1 ] || fail "not one line"
  [ -z "$problem" ] || show "$work/err"
}
verdict device-not-viable busy_by_configuration

# The hypervisor refuses: the program gets the errno, and ends as it likes.
hypercall_fails() {
  pviommu_run 60 refused --hypervisor="model:fail=$1;$nvme" -- qemu-io -f raw -c 'read 0 4k' "$url"
  [ $? = 1 ] || fail "status is not qemu-io's 1"
  at_least refused "/hypercalls/${1%%:*}/failed" 1
  nothing_left refused
  nothing_remains
  explain_run refused
}
for call in create_space attach open_device map allocate_vectors bind_vector; do
  verdict "hypercall-fails-$call" hypercall_fails "$call:1"
done

# ---- what is kept of the program ------------------------------------------------

ends_with() {
  local expected=$1 status
  shift
  pviommu_into "$work/out" "$work/err" run -- "$@"
  status=$?
  [ $status = "$expected" ] || fail "status $status, not $expected"
  nothing_remains
}
verdict exit-status-0 ends_with 0 true
verdict exit-status-7 ends_with 7 sh -c 'exit 7'
verdict exit-status-255 ends_with 255 sh -c 'exit 255'
verdict exit-signal-term ends_with 143 sh -c 'kill -TERM $$'
verdict exit-signal-kill ends_with 137 sh -c 'kill -KILL $$'
verdict exit-signal-segv ends_with 139 sh -c 'kill -SEGV $$'

signal_is_named() {
  pviommu_into "$work/out" "$work/err" run -- sh -c 'kill -TERM $$'
  [ "$(wc -l <"$work/err")" = 1 ] || fail "not one line"
  grep -q 'signal 15' "$work/err" || fail "the line does not name the signal"
}
verdict signal-is-named signal_is_named

# A signal for the command reaches the program, which decides.
signal_is_passed() {
  "$run" pviommu run -- sh -c 'trap "exit 9" TERM; echo ready; while :; do sleep 0.1; done' >"$work/out" 2>"$work/err" &
  local pid=$! status
  started+=("$pid")
  for _ in $(seq 100); do
    [ -s "$work/out" ] && break
    sleep 0.1
  done
  kill -TERM "$pid"
  wait "$pid"
  status=$?
  started=()
  [ $status = 9 ] || fail "status $status, not the program's 9"
  nothing_remains
}
verdict signal-is-passed signal_is_passed

arguments_are_kept() {
  [ "$(pviommu run -- printf '[%s]' 'a b' '' '--stats=json' -- '*' 2>"$work/err")" = '[a b][][--stats=json][--][*]' ] ||
    fail "arguments differ"
  [ "$(pviommu run printf '[%s]' --frames=x 2>"$work/err")" = '[--frames=x]' ] || fail "without --: arguments differ"
  [ "$(echo text | pviommu run -- cat)" = text ] || fail "stdin differs"
  [ "$(pviommu run -- sh -c 'pwd')" = "$(pwd)" ] || fail "working folder differs"
  [ -s "$work/err" ] && fail "something on stderr"
}
verdict arguments-are-kept arguments_are_kept

# ---- reports --------------------------------------------------------------------

write_some=(-- qemu-io -f raw -c 'write 0 64k' "$url")

stats_json_on_stderr() {
  pviommu run --stats=json --quiet "${write_some[@]}" >"$work/out" 2>"$work/err.json" || fail "status $?"
  "$json_get" "$work/err.json" /maps/count /unmaps/count /hypercalls/map/nanoseconds /interrupts/msix \
    /faults/not_mapped /program/exit_status >"$work/values" 2>"$work/err" || fail "$(cat "$work/err")"
  [ "$(sed -n 3p "$work/values")" -gt 0 ] || fail "no time was measured"
}
verdict stats-json stats_json_on_stderr

stats_json_of_killed() {
  pviommu_into "$work/out" "$work/err.json" run --stats=json --quiet -- sh -c 'kill -TERM $$'
  [ "$("$json_get" "$work/err.json" /program/signal)" = 15 ] || fail "the report does not name the signal"
}
verdict stats-json-of-killed stats_json_of_killed

stats_table() {
  local word
  pviommu run --stats "${write_some[@]}" >"$work/out" 2>"$work/err" || fail "status $?"
  for word in VFIO_IOMMU_MAP_DMA VFIO_IOMMU_UNMAP_DMA hypercalls attach bind_vector MSI-X faults; do
    grep -q "$word" "$work/err" || fail "the table has no $word"
  done
  [ "$(awk 'length > 100' "$work/err" | wc -l)" = 0 ] || fail "lines above 100 characters"
  pviommu run --stats-file="$work/table" "${write_some[@]}" >"$work/out" 2>"$work/err" || fail "status $?"
  grep -q VFIO_IOMMU_MAP_DMA "$work/table" || fail "nothing in the file"
  [ -s "$work/err" ] && fail "something on stderr: $(head -n 1 "$work/err")"
}
verdict stats-table stats_table

no_stats() {
  pviommu run "${write_some[@]}" >"$work/out" 2>"$work/err" || fail "status $?"
  [ -s "$work/err" ] && fail "something on stderr: $(head -n 1 "$work/err")"
}
verdict stats-only-when-asked no_stats

list_devices() {
  local conf="model:$nvme,group=7;edu,addr=0000:00:06.0,group=8"
  pviommu list --json --hypervisor="$conf" >"$work/list.json" 2>"$work/err" || fail "status $?"
  [ "$("$json_get" "$work/list.json" /0/address /0/group /0/hypervisor /0/vendor /0/class /0/state /1/device | xargs)" = \
    "0000:00:05.0 7 model $("$json_get" "$work/list.json" /0/vendor) 010802 free 11e8" ] ||
    fail "not the devices of the configuration"
  "$json_get" "$work/list.json" /0/driver /1/driver >/dev/null 2>&1 || fail "no driver"
  "$json_get" "$work/list.json" /2 >/dev/null 2>&1 && fail "more than two devices"
  pviommu list --hypervisor="$conf" >"$work/out"
  [ "$(grep -c '^0000:00:0[56].0 .*free' "$work/out")" = 2 ] || fail "the table has not both devices"
  [ -s "$work/err" ] && fail "something on stderr"
}
verdict list list_devices

info() {
  pviommu info --json >"$work/info.json" 2>"$work/err" || fail "status $?"
  "$json_get" "$work/info.json" >/dev/null || fail "not JSON"
  pviommu info >"$work/out" 2>>"$work/err" || fail "status $?"
  grep -q model "$work/out" || fail "no model"
  [ -s "$work/err" ] && fail "something on stderr"
}
verdict info info

# `pviommu doctor` on the model: fine, then each kind of problem.
doctor() {
  local conf='model:edu,addr=0000:00:05.0'
  pviommu doctor --json --device 0000:00:05.0 --hypervisor="$conf" >"$work/doctor.json" 2>"$work/err" ||
    fail "status $? though nothing is wrong: $(cat "$work/doctor.json")"
  "$json_get" "$work/doctor.json" /0/check /0/state /0/detail /0/remedy >/dev/null || fail "not the agreed JSON"
  pviommu doctor --device 0000:00:05.0 --hypervisor="$conf" >"$work/out" 2>>"$work/err" || fail "status $?"
  grep -q '^ok *frame source' "$work/out" || fail "no frame source"
  grep -q '^[a-z]* *locked memory' "$work/out" || fail "no limit of locked memory"
  grep -q '^ok *device *0000:00:05.0' "$work/out" || fail "the device is not fine"
  [ "$(sed -n '/^run would:/,$p' "$work/out" | grep -c '^  [0-9]\.')" -ge 3 ] || fail "no steps of a run"
  [ -s "$work/err" ] && fail "something on stderr"

  pviommu doctor --device 0000:00:1f.7 --hypervisor="$conf" >"$work/out" 2>&1 && fail "a device that is not there is fine"
  grep -q '^problem *device *0000:00:1f.7 does not exist' "$work/out" || fail "the missing device is not named"
  grep -q '1\. stop with an error: 0000:00:1f.7' "$work/out" || fail "the run would not stop"
  pviommu doctor --hypervisor=model:nonsense >"$work/out" 2>&1 && fail "a bad configuration is fine"
  grep -q '^problem *hypervisor .*nonsense' "$work/out" || fail "the bad configuration is not named"
  pviommu doctor --hypervisor=nosuch --json >"$work/doctor.json" 2>&1
  [ $? -eq 1 ] || fail "an unknown hypervisor does not end with 1"
  "$json_get" "$work/doctor.json" >/dev/null || fail "not JSON with a problem"
  grep -q nosuch "$work/doctor.json" || fail "the unknown hypervisor is not named"
  timeout -k 5 30 "$run" env PVIOMMU_PRELOAD=/nowhere/lib.so pviommu doctor >"$work/out" 2>&1 && fail "a missing front end is fine"
  grep -q '^problem *front end */nowhere/lib.so' "$work/out" || fail "the missing front end is not named"
}
verdict doctor doctor
verdict doctor-device-syntax complaint 2 '0000:00:05.0' doctor --device nvme0
verdict doctor-no-hypervisor complaint 2 'hypervisor' doctor --hypervisor=

# `pviommu run` itself is killed: its folder stays while its program needs it,
# and the next run removes it.
killed_run() {
  local runner program folder
  "$run" pviommu run -- sh -c 'echo $$ >"$0"; exec sleep 60' "$work/program.pid" &
  runner=$!
  started+=("$runner")
  for _ in $(seq 100); do [ -s "$work/program.pid" ] && break; sleep 0.1; done
  program=$(cat "$work/program.pid") || { fail "the program did not start"; return; }
  started+=("$program")
  kill -9 "$runner"
  wait "$runner" 2>/dev/null
  folder=$(echo "$XDG_RUNTIME_DIR"/pviommu-??????)
  [ -d "$folder" ] || { fail "no folder of the run in $XDG_RUNTIME_DIR"; return; }
  touch -d '10 minutes ago' "$folder"
  pviommu run -- true
  [ -d "$folder/sys" ] || fail "the folder went while its program was alive"
  kill -9 "$program"
  for _ in $(seq 100); do kill -0 "$program" 2>/dev/null || break; sleep 0.1; done
  touch -d '10 minutes ago' "$folder"
  pviommu run -- true
  [ -e "$folder" ] && fail "the folder of the killed run is still there"
}
verdict killed-run-is-cleaned-up killed_run

help() {
  local command
  for command in "" run list info doctor reap bind unbind; do
    pviommu $command --help >"$work/out" 2>"$work/err" || fail "$command --help: status $?"
    [ -s "$work/out" ] || fail "$command --help says nothing"
    [ -s "$work/err" ] && fail "$command --help: something on stderr"
  done
  pviommu --version | grep -q '^pviommu [0-9]' || fail "no version"
}
verdict help help
finish
