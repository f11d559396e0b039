#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# What pviommu finds to be in use, of objects that a kernel has made: each refused by bind with
# its name, and free again when it is gone.
#
#   0000:00:05.0  NVMe, 16 MiB        0000:00:08.0  e1000e
#   0000:00:0d.0  root port, behind it an NVMe with two virtual functions, in a subsystem
#                 whose disk is a head of multipath
. "$(dirname "$0")/lib.sh"
: "${PVIOMMU_BUILD:=$rig/../../../build}"

LD_LIBRARY_PATH=$PVIOMMU_BUILD/.libs in_guest --timeout 120 \
  --add "$PVIOMMU_BUILD/vfio-glue/pviommu:/programs/pviommu" \
  --add "$PVIOMMU_BUILD/oracle_layers:/programs/layers" \
  --device pcie-root-port,id=rp3,chassis=3,x-speed=5,addr=0d.0 \
  --device nvme-subsys,id=subsystem,nqn=holders \
  --qemu -blockdev --qemu driver=null-co,node-name=shared,size=16777216,read-zeroes=on \
  --device nvme,id=physical,serial=physical,subsys=subsystem,bus=rp3,sriov_max_vfs=2,sriov_vq_flexible=4,sriov_vi_flexible=2,max_ioqpairs=6,msix_qsize=5 \
  --device nvme-ns,drive=shared,bus=physical,nsid=1,shared=on <<'EOF_GUEST'
# use ADDRESS: what list --host says.
use() { pviommu list --host | sed -n "s/^$1 .* [0-9a-f]\{6\}  //p"; }
# held NAME ADDRESS PHRASE: so says the list, and bind refuses.
held() {
  case $(use "$2") in
    *"$3"*) ;;
    *) not_ok "$1" "USE is \"$(use "$2")\", not \"$3\""; return ;;
  esac
  if said=$(pviommu bind --dry-run "$2" 2>&1); then
    not_ok "$1" "bind takes it: $said"
  else
    case $said in
      *" is in use"*"$3"*) ok "$1" ;;
      *) not_ok "$1" "bind says \"$said\"" ;;
    esac
  fi
}
# free NAME ADDRESS: and it can be bound.
free() {
  equal "$1: not in use" - "$(use "$2")"
  check "$1: bind would take it" pviommu bind --dry-run "$2"
}
# until_true COMMAND...: for ten seconds of a slow machine.
until_true() {
  for _ in $(seq 200); do "$@" >/dev/null 2>&1 && return; usleep 50000; done
  return 1
}

modprobe vfio_iommu_type1 && modprobe vfio-pci
for module in crc32c_generic nvme e1000e 8021q bonding bridge macvlan openvswitch team dm-mod ext4 loop raid1 target_core_iblock; do
  modprobe $module || note "no module $module"
done
for address in $nvme $e1000e; do
  echo $address >/sys/bus/pci/drivers_probe
done
until_true ls -d /sys/bus/pci/devices/$nvme/nvme/nvme*/nvme*n1 || not_ok "a disk" "nvme makes none"

# ---- disks ---------------------------------------------------------------------------

disk=/dev/$(cd /sys/bus/pci/devices/$nvme/nvme/nvme*/ && echo nvme*n1)
name=${disk#/dev/}
free "a disk" $nvme

printf 'n\np\n1\n\n+8M\nn\np\n2\n\n\nw\n' | fdisk -u $disk >/dev/null 2>&1
until_true [ -b ${disk}p2 ]
free "a disk with partitions" $nvme

mkswap ${disk}p1 >/dev/null 2>&1
swapon ${disk}p1
held "swap" $nvme "swap is on ${name}p1"
swapoff ${disk}p1

mke2fs ${disk}p2 >/dev/null 2>&1
mkdir -p /mnt
mount -t ext4 ${disk}p2 /mnt
held "a filesystem" $nvme "/mnt is mounted from ${name}p2"
dd if=/dev/zero of=/mnt/image bs=1M count=1 2>/dev/null
losetup /dev/loop0 /mnt/image
mke2fs /dev/loop0 >/dev/null 2>&1
mkdir /inner
mount -t ext4 /dev/loop0 /inner
held "a loop over a file" $nvme "/inner is mounted from loop0"
umount /inner
losetup -d /dev/loop0
umount /mnt

losetup /dev/loop1 ${disk}p1
held "a loop over a partition" $nvme "${name}p1 is held by loop1"
losetup -d /dev/loop1

layers dm vg-guest ${disk}p2
held "device mapper" $nvme "${name}p2 is held by dm-0 (vg-guest)"
layers remove vg-guest

echo md_test >/sys/module/md_mod/parameters/new_array
array=/sys/block/md_test/md
echo none >$array/metadata_version
echo raid1 >$array/level
echo 2 >$array/raid_disks
cat /sys/class/block/${name}p1/dev >$array/new_dev
echo 0 >$array/dev-${name}p1/slot
echo 4096 >$array/dev-${name}p1/size
echo 4096 >$array/component_size
echo active >$array/array_state
held "md" $nvme "${name}p1 is held by md_test"
echo clear >$array/array_state
until_true [ ! -e /sys/class/block/${name}p1/holders/md_test ]

# No link leads from it to the disk.
target=/sys/kernel/config/target/core/iblock_0/test
mount -t configfs config /sys/kernel/config 2>/dev/null
mkdir -p $target
echo "udev_path=${disk}p2" >$target/control
echo 1 >$target/enable
held "an exported disk" $nvme "${name}p2 is open exclusively"
rmdir $target

layers claim $disk >/tmp/claimed &
holder=$!
until_true grep -q open /tmp/claimed
held "a program that has it for itself" $nvme "$name is open in process $holder (layers)"
kill $holder; wait $holder 2>/dev/null
layers open ${disk}p1 >/tmp/open &
holder=$!
until_true grep -q open /tmp/open
held "a program that has it open" $nvme "${name}p1 is open in process $holder (layers)"
kill $holder; wait $holder 2>/dev/null
# Who looks has had it for a moment only.
pviommu list --host >/dev/null
check "nothing is left open" layers try $disk
free "a disk after all that" $nvme

# ---- interfaces ----------------------------------------------------------------------

until_true [ -d /sys/bus/pci/devices/$e1000e/net ]
port=$(ls /sys/bus/pci/devices/$e1000e/net)
free "a network card" $e1000e
ip link set $port up
ip addr add 192.0.2.10/24 dev $port
free "a network card with an address" $e1000e
ip route add default via 192.0.2.1 dev $port
held "the default route" $e1000e "the default route goes through $port"
ip route del default

mkdir -p /remote
ip addr flush dev $port
vconfig add $port 5 >/dev/null
held "a VLAN" $e1000e "$port is below $port.5 (vlan)"
ip link set $port.5 up
ip addr add 192.0.2.10/24 dev $port.5
ip route add default via 192.0.2.1 dev $port.5
held "the default route of a VLAN" $e1000e "the default route goes through $port.5 (on $port)"
ip link del $port.5

ip link add link $port macvlan0 type macvlan
held "a macvlan" $e1000e "$port is below macvlan0"
ip link del macvlan0

ip link add br7 type bridge
ip link set $port master br7
held "a bridge" $e1000e "$port is below br7 (bridge)"
ip link del br7

ip link set $port down
echo +bond7 >/sys/class/net/bonding_masters
echo +$port >/sys/class/net/bond7/bonding/slaves
held "a bond" $e1000e "$port is below bond7 (bond)"
echo -bond7 >/sys/class/net/bonding_masters

ip link add team7 type team
ip link set $port master team7
held "a team" $e1000e "$port is below team7"
ip link del team7

ip link set $port up
check "a switch is made" layers openvswitch $port xenbr7
held "Open vSwitch" $e1000e "$port is below ovs-system (Open vSwitch)"
ip link set xenbr7 up
ip addr add 192.0.2.10/24 dev xenbr7
ip route add default via 192.0.2.1 dev xenbr7
held "the default route of Open vSwitch" $e1000e "the default route goes through xenbr7 (by Open vSwitch on $port)"
ip route del default
layers delete ovs-system
free "a network card after all that" $e1000e

# ---- virtual functions -----------------------------------------------------------------

physical=$(for device in /sys/bus/pci/devices/*; do [ ! -e $device/sriov_totalvfs ] || basename $device; done)
[ -n "$physical" ] || { not_ok "virtual functions" "no device has them"; finish; }
echo $physical >/sys/bus/pci/drivers_probe
until_true ls -d /sys/bus/pci/devices/$physical/nvme/nvme*
free "a physical function" $physical
echo 0 >/sys/bus/pci/devices/$physical/sriov_drivers_autoprobe
echo 2 >/sys/bus/pci/devices/$physical/sriov_numvfs
vf=$(basename "$(readlink /sys/bus/pci/devices/$physical/virtfn1)")
free "a physical function with virtual ones" $physical
said=$(pviommu bind --dry-run $physical)
case $said in
  *"# $physical: its 2 virtual functions end with its driver nvme"*) ok "they end with its driver" ;;
  *) not_ok "they end with its driver" "$said" ;;
esac
check "a virtual function is given to vfio-pci" give_to_vfio $vf
held "a virtual function for programs" $physical "its VF $vf is set aside for programs and guests (vfio-pci)"
group=$(basename "$(readlink /sys/bus/pci/devices/$vf/iommu_group)")
layers open /dev/vfio/$group >/tmp/open &
holder=$!
until_true grep -q open /tmp/open
held "a virtual function that a program has" $physical "process $holder (layers) by its VF $vf"
said=$(pviommu bind --force --dry-run $physical 2>&1) && not_ok "which is not forced" "$said" || ok "which is not forced"
kill $holder; wait $holder 2>/dev/null
echo 0 >/sys/bus/pci/devices/$physical/sriov_numvfs
free "a physical function without virtual ones" $physical

# ---- NVMe multipath --------------------------------------------------------------------

head=$(basename "$(echo /sys/class/nvme-subsystem/*/nvme*n1)")
layers claim /dev/$head >/tmp/claimed &
holder=$!
until_true grep -q open /tmp/claimed
held "a head of NVMe multipath" $physical "$head is open in process $holder (layers)"
kill $holder; wait $holder 2>/dev/null
mkdir -p $target
echo "udev_path=/dev/$head" >$target/control
echo 1 >$target/enable
held "an exported head" $physical "$head is open exclusively"
rmdir $target
EOF_GUEST
finish
