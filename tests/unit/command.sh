#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The command `pviommu` as people type it, with and without mistakes: exit status, and
# what is said.  On the model; what needs a host's devices is tested elsewhere.
set -u
. "$(dirname "$0")/../tap.sh"
run=${PVIOMMU_RUN:-./run}
for variable in HYPERVISOR IOMMU_DRIVER FRAMES MAX_MAPPINGS SESSION STRICT QUIET; do unset "PVIOMMU_$variable"; done
out=$(mktemp)
trap 'rm -f "$out"' EXIT
# says STATUS TEXT ARGUMENT...: pviommu ARGUMENT... ends with STATUS and says TEXT.
says() {
  status=$1 text=$2
  shift 2
  "$run" pviommu "$@" >"$out" 2>&1 </dev/null
  got=$?
  if [ $got -ne "$status" ]; then
    not_ok "pviommu $*" "status $got, not $status: $(head -n 1 "$out")"
  elif [ -n "$text" ] && ! grep -qF -- "$text" "$out"; then
    not_ok "pviommu $*" "says nothing of '$text': $(head -n 1 "$out")"
  else
    ok "pviommu $*"
  fi
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
for device in nvme edu virtio-net e1000e registers; do says 0 "\"type\": \"$device\"" info --json; done
says 0 "vectors_before_attach       yes" info --hypervisor=model:limits=xen
says 2 'unknown key "bogus"' info --hypervisor=model:bogus=1

says 0 "0 problems" doctor
says 0 "nothing to be done" reap

# One line each, and nothing done; a guest of this machine is for the rigs.
says 2 "DEVICE is required" attach
says 2 "DOMAIN is required" attach 0000:00:05.0
says 2 "'nvme0': expected SSSS:BB:DD.F" attach nvme0 guest
for place in x 01:10.0 0001:00:10.0; do
  says 2 "--at='$place': expected a place on bus 0 of the guest" attach --at=$place 0000:00:05.0 guest
done
says 2 'unknown key "domain"' attach --hypervisor=model 0000:00:05.0 guest
says 2 'unknown key "domain"' attach --background --hypervisor=model 0000:00:05.0 guest
says 2 'unknown key "domain"' attach --hypervisor=model:limits=xen 0000:00:05.0 guest
says 2 'no hypervisor "nosuch"' attach --hypervisor=nosuch 0000:00:05.0 guest
for far in xen+ssh://elsewhere/system qemu+tcp://192.0.2.1/system test://elsewhere/default; do
  says 2 "$far: its guests are not this machine's" attach --uri=$far 0000:00:05.0 guest
done
if [ -e "$(dirname "$run")/.libs/pviommu-libvirt.so" ]; then
  says 2 "test:///default: its guests are not this machine's" attach --uri=test:///default 0000:00:05.0 test
  says 2 "test:///default: its guests are not this machine's" attach --background --uri=test:///default 0000:00:05.0 test
  says 2 "'nosuch' is no URI of libvirt" attach --uri=nosuch 0000:00:05.0 guest
  says 2 "is libvirtd running, and is the URI right?" attach --uri='xen+unix:///system?socket=/nonexistent' 0000:00:05.0 guest
fi
says 2 "DEVICE is required" detach
says 2 "'nvme0': expected SSSS:BB:DD.F" detach nvme0
says 2 "there is no device 0000:00:13.0; pviommu list shows" detach --hypervisor=model 0000:00:13.0
says 1 "0000:00:05.0 is not attached to a guest" detach --hypervisor=model 0000:00:05.0
says 2 'no hypervisor "nosuch"' detach --hypervisor=nosuch 0000:00:05.0

says 0 "" run -- true
says 1 "" run -- false
says 127 "/nonexistent: No such file" run -- /nonexistent
says 0 "no VFIO file was opened" run --stats -- true
says 0 '"count": 0' run --stats=json -- true
says 2 "--frames: bogus" run --frames=bogus -- true
says 2 "--max-mappings" run --max-mappings=x -- true
says 143 "" run -- sh -c 'kill -TERM $$'
finish
