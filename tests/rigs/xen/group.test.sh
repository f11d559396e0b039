#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# A program's control group is killed, all of it at once, while its edu writes: the guardians are in
# no group, and hold its pages until the device is quiet.  As often as $PVIOMMU_GROUP_KILLS says.
. "$(dirname "$0")/lib.sh"
prefix='group: '
count=${PVIOMMU_GROUP_KILLS:-8}
in_dom0 --timeout $((150 + count * 10)) <<EOF
mount -t cgroup2 cgroup /sys/fs/cgroup && mkdir /sys/fs/cgroup/pviommu-test
owners >/tmp/owners
pinned_before=\$(pinned)
PVIOMMU_GROUP_KILLS=$count; export PVIOMMU_GROUP_KILLS
check "memory of a killed control group is nobody's before the device is quiet" \
  pviommu run --quiet --hypervisor=xen -- rig_isolation freed-by-group-death
printf '%s\n' "\$check_output" | grep '^#'
# No later program had anything to put back: the guardians had done it.
equal "its guardians have put it back" "" "\$(printf '%s\n' "\$check_output" | grep 'cleaned up behind')"

# Not in the test's group only, but in none; and not to be chosen by the OOM killer.
sh -c 'echo \$\$ >/sys/fs/cgroup/pviommu-test/cgroup.procs; exec "\$@"' - \
  pviommu run --quiet --hypervisor=xen -- \
  qemu-io -t writeback -f raw -c 'read 0 64k' -c 'sleep 100000' nvme://0000:00:05.0/1 >/tmp/work.out 2>&1 &
launcher=\$!
for _ in \$(seq 300); do
  ! grep -q '^read 65536' /tmp/work.out || break
  usleep 100000
done
set -- \$(pidof pviommu-xen-guardian)
equal "a program has two guardians" 2 \$#
for each in "\$@"; do
  equal "one is in the root of the hierarchy" 0::/ "\$(cat /proc/\$each/cgroup)"
  equal "and the OOM killer leaves it alone" -1000 "\$(cat /proc/\$each/oom_score_adj)"
done
echo 1 >/sys/fs/cgroup/pviommu-test/cgroup.kill
{ wait \$launcher; } 2>/dev/null
for _ in \$(seq 100); do
  [ -n "\$(pidof pviommu-xen-guardian)" ] || break
  usleep 100000
done
equal "nobody is left in the group" 0 "\$(wc -l </sys/fs/cgroup/pviommu-test/cgroup.procs)"
nothing_left
for _ in \$(seq 50); do
  [ "\$(pinned)" != "\$pinned_before" ] || break
  usleep 100000
done
equal "pins that were made are undone" "\$pinned_before" "\$(pinned)"
same_owners
EOF
finish
