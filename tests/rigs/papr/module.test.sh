#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The kernel module: builds without a warning for Debian's kernels, and does what it says
# on them: 6.1, where the kernel's VFIO does not work and pages have 64 KiB, and 6.12.
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/pviommu-module.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
failures=0
ok() { printf 'ok %s\n' "$1"; }
not_ok() {
  printf 'not ok %s - %s\n' "$1" "$2"
  failures=$((failures + 1))
}

cat >"$work/script" <<'EOT'
dmesg -c >/dev/null
insmod /root/pviommu_papr.ko || exit 1
papr_module >/tmp/log 2>&1
status=$?
sed -n "s/^\[       OK \] \([^ ]*\).*/ok $prefix\1/p" /tmp/log
if [ $status -ne 0 ]; then
  sed 's/^/# /' /tmp/log
  sed -n "s/^\[  FAILED  \] \([^ ,]*\).*ms)$/not ok $prefix\1 - see above/p" /tmp/log
fi
if grep -q '^\[  PASSED  \]' /tmp/log; then ok=ok why=; else ok='not ok' why=" - ended with status $status"; fi
echo "$ok ${prefix}ran to its end$why"

if papr_module_fuzz 6 >/tmp/log 2>&1; then
  echo "ok ${prefix}random requests"
  sed 's/^/# /' /tmp/log
else
  echo "not ok ${prefix}random requests - $(tail -n 1 /tmp/log)"
  sed 's/^/# /' /tmp/log
fi

# nvme makes a window for itself on 6.1, which stays when it goes.
modprobe nvme && sleep 1
echo 0002:00:00.0 >/sys/bus/pci/drivers/nvme/unbind
for test in WindowOfADriver AFunctionThatIsRemoved; do
  if papr_module --gtest_also_run_disabled_tests --gtest_filter="*.DISABLED_$test" >/tmp/log 2>&1; then
    echo "ok ${prefix}$test"
  else
    sed 's/^/# /' /tmp/log
    echo "not ok ${prefix}$test - see above"
  fi
done

if rmmod pviommu_papr; then echo "ok ${prefix}unloaded"; else echo "not ok ${prefix}unloaded - rmmod failed"; fi
if dmesg | grep -E 'BUG|Oops|WARNING|Unable to handle|refcount|general protection|stay pinned|cannot be emptied'; then
  echo "not ok ${prefix}the kernel's log - see above"
else
  echo "ok ${prefix}the kernel's log"
fi
EOT

for kernel in 6.1 6.12; do
  if module=$("$here/kernel-module" $kernel "$work/$kernel" 2>"$work/errors"); then
    ok "$kernel: the module builds without a warning"
  else
    sed 's/^/# /' "$work/errors"
    not_ok "$kernel: the module builds without a warning" "see above"
    continue
  fi
  {
    "$here/boot" --kernel $kernel --add "$module:/root/pviommu_papr.ko" --add "$work/script:/root/script" -- \
      sh -c "prefix='$kernel: '; . /root/script"
    echo $? >"$work/status"
  } | tee "$work/output"
  bad=$(grep -c '^not ok ' "$work/output")
  failures=$((failures + bad))
  status=$(cat "$work/status")
  [ "$status" -eq 0 ] || [ "$bad" -gt 0 ] || not_ok "$kernel: the guest's script" "ended with status $status"
done
[ "$failures" -eq 0 ]
