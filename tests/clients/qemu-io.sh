#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Unmodified qemu-io writes and reads back 4 MiB through its own NVMe driver.
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
need qemu-io

url=nvme://0000:00:05.0/1
disk=$work/disk.img
write_read=(qemu-io -f raw -c 'write -P 0x5a 0 4M' -c 'read -P 0x5a 0 4M' "$url")

# Of a run NAME that wrote and read 4 MiB.
checks() {
  local status=$1 name=$2
  [ "$status" = 0 ] || fail "status $status"
  grep -q 'wrote 4194304/4194304' "$work/$name.out" || fail "did not write 4 MiB"
  grep -q 'read 4194304/4194304' "$work/$name.out" || fail "did not read 4 MiB"
  grep -q 'verification failed' "$work/$name.out" && fail "what was read is not what was written"
  at_least "$name" /maps/count 2
  at_least "$name" /hypercalls/map/count 2
  at_least "$name" /hypercalls/attach/count 1
  at_least "$name" /hypercalls/bind_vector/count 1
  at_least "$name" /interrupts/msix 1
  at_least "$name" /dma_read_bytes 4194304
  at_least "$name" /dma_write_bytes 4194304
  exactly "$name" /program/exit_status 0
  [ "$(stat_of "$name" /hypercalls/attach/count)" = "$(stat_of "$name" /hypercalls/detach/count)" ] ||
    fail "attached and detached do not match"
  no_faults "$name"
  nothing_left "$name"
  explain_run "$name"
}

default_machine() {
  pviommu_run 60 default -- "${write_read[@]}"
  checks $? default
}

in_memory() {
  pviommu_run 60 memory --hypervisor='model:nvme,addr=0000:00:05.0,size=16M' -- "${write_read[@]}"
  checks $? memory
}

on_a_file() {
  pattern_file "$disk" 8 021
  pviommu_run 60 file --hypervisor="model:nvme,addr=0000:00:05.0,file=$disk" -- "${write_read[@]}"
  checks $? file
  pattern_file "$work/expected" 4 132
  pattern_file "$work/rest" 4 021
  cat "$work/rest" >>"$work/expected"
  cmp -s "$disk" "$work/expected" || fail "the file is not 4 MiB of 0x5a, then as it was"
}

# What another run wrote is read, and a wrong expectation is noticed: the
# program's own verification does look at the data.
reads_the_file() {
  pattern_file "$disk" 8 063
  pviommu_run 60 reread --hypervisor="model:nvme,addr=0000:00:05.0,file=$disk" -- \
    qemu-io -f raw -c 'read -P 0x33 1M 1M' "$url" || fail "status $?"
  grep -q 'read 1048576/1048576' "$work/reread.out" || fail "did not read 1 MiB"
  grep -q 'verification failed' "$work/reread.out" && fail "what was read is not in the file"
  pviommu_run 60 wrong --hypervisor="model:nvme,addr=0000:00:05.0,file=$disk" -- \
    qemu-io -f raw -c 'read -P 0x34 1M 1M' "$url"
  grep -q 'verification failed' "$work/wrong.out" || fail "a wrong expectation was not noticed"
  explain_run reread
}

read_only_file() {
  pattern_file "$disk" 8 063
  pviommu_run 60 readonly --hypervisor="model:nvme,addr=0000:00:05.0,file=$disk,readonly" -- \
    qemu-io -f raw -c 'write -P 0x5a 0 64k' "$url"
  grep -q 'wrote 65536' "$work/readonly.out" && fail "a read-only disk was written"
  pattern_file "$work/expected" 8 063
  cmp -s "$disk" "$work/expected" || fail "the file was changed"
}

# Unaligned requests go through bounce buffers, a discard and a flush through
# other commands.
other_requests() {
  pattern_file "$disk" 8 021
  pviommu_run 60 other --hypervisor="model:nvme,addr=0000:00:05.0,file=$disk" -- \
    qemu-io -f raw -c 'write -P 0x77 1536 5120' -c 'read -P 0x77 1536 5120' -c 'read -P 0x11 0 1536' \
    -c 'write -z 1M 64k' -c 'read -P 0 1M 64k' -c 'discard 2M 64k' -c flush \
    -c 'writev -P 0x66 3M 512 4096 8192 512' -c 'readv -v -P 0x66 3M 512 512 512 4096' "$url" || fail "status $?"
  grep -q 'failed\|error' "$work/other.out" && fail "$(grep -m1 'failed\|error' "$work/other.out")"
  no_faults other
  nothing_left other
  explain_run other
}

verdict default-machine default_machine
verdict memory in_memory
verdict file on_a_file
verdict file-reread reads_the_file
verdict file-read-only read_only_file
verdict other-requests other_requests
finish
