#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The command `pviommu` as people type it, with and without mistakes: exit status, and
# what is said.  On the model; what needs a host's devices is tested elsewhere.
set -u
run=${PVIOMMU_RUN:-./run}
for variable in HYPERVISOR IOMMU_DRIVER FRAMES MAX_MAPPINGS SESSION STRICT QUIET; do unset "PVIOMMU_$variable"; done
out=$(mktemp)
trap 'rm -f "$out"' EXIT
failed=0
# says STATUS TEXT ARGUMENT...: pviommu ARGUMENT... ends with STATUS and says TEXT.
says() {
  status=$1 text=$2
  shift 2
  "$run" pviommu "$@" >"$out" 2>&1 </dev/null
  got=$?
  if [ $got -ne "$status" ]; then
    echo "not ok pviommu $* - status $got, not $status: $(head -n 1 "$out")"
  elif [ -n "$text" ] && ! grep -qF -- "$text" "$out"; then
    echo "not ok pviommu $* - says nothing of '$text': $(head -n 1 "$out")"
  else
    echo "ok pviommu $*"
    return
  fi
  failed=1
}

says 2 "A subcommand is required"
says 0 "Usage: pviommu" --help
says 0 "pviommu " --version
says 2 "unknown command 'nosuch'; there are run" nosuch
says 2 "not expected: extra" list extra

says 0 "0000:00:05.0" list
says 0 "0000:00:09.0" list --hypervisor="model:edu,addr=0000:00:09.0"
says 0 '"address": "0000:00:05.0"' list --json
says 2 'no hypervisor "nosuch"' list --hypervisor=nosuch
says 2 'unknown key "bogus"' list --hypervisor=model:edu,bogus=1

says 0 "iova_ranges" info
says 0 '"iova_ranges"' info --json
says 0 "vectors_before_attach       yes" info --hypervisor=model:limits=xen
says 2 'unknown key "bogus"' info --hypervisor=model:bogus=1

says 0 "0 problems" doctor
says 0 "nothing to be done" reap

says 0 "" run -- true
says 1 "" run -- false
says 127 "/nonexistent: No such file" run -- /nonexistent
says 0 "pages mapped" run --stats -- true
says 0 '"count": 0' run --stats=json -- true
says 2 "--frames: bogus" run --frames=bogus -- true
says 2 "--max-mappings" run --max-mappings=x -- true
says 143 "" run -- sh -c 'kill -TERM $$'
exit $failed
