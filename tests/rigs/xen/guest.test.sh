#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Guest mode on real Xen, into a tiny guest of our own: on each kernel, of which 6.1 gives
# dom0 no interrupts of devices and needs none for this.
. "$(dirname "$0")/lib.sh"
for kernel in $kernels; do
  prefix="guest, Linux $kernel: "
  in_dom0 --kernel $kernel <<'EOF'
gtest_in_guest xen_guest --gtest_filter='Guest*'

# Killed in the middle: a guardian puts everything back, or, when both are killed
# first, the next program.  The guest keeps running.
id=$(xen_guest make)
held() {  # OFFSET [PIRQ]: a program that has two devices, a vector and a piece of a BAR in the guest
  : >/tmp/held
  xen_guest hold "$id" "$1" $2 >/tmp/held 2>&1 &
  program=$!
  for _ in $(seq 100); do
    grep -q ready /tmp/held && return
    usleep 50000
  done
  not_ok "a program with devices in the guest" "$(cat /tmp/held)"
}
put_back() {  # HOW
  wait $program 2>/dev/null
  nothing_left "$1"
  check "the guest lives on ($1)" xen_guest lives "$id"
}
held 0
kill -9 $program
put_back "the program is killed"
# Another page at the same place, which shows that the first one is gone.
held 0x1000 20
kill -9 $(pidof pviommu-xen-guardian)
kill -9 $program
pviommu reap --hypervisor=xen >/tmp/reaped 2>&1 || note "$(cat /tmp/reaped)"
put_back "the program and its guardians are killed"
held 0x2000
equal "each had its arrival" 3 "$(xen_guest counts "$id" 0x50)"
xen_guest destroy "$id"
sleep 1
kill -9 $program
wait $program 2>/dev/null
nothing_left "the guest is destroyed, then the program is killed"
EOF
done
finish
