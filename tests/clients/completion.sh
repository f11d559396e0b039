#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# bash completion: what it offers behind a part of a command line.
set -u
. "$(dirname "$0")/../tap.sh"
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
printf '#!/bin/sh\nexec "%s/run" pviommu "$@"\n' "$PVIOMMU_BUILD" >"$scratch/pviommu"
printf '#!/bin/sh\necho "Name ID"\necho "Domain-0 0"\necho "guest-a 3"\n' >"$scratch/xl"
chmod +x "$scratch/pviommu" "$scratch/xl"
PATH=$scratch:$PATH
for device in 0000:00:05.0=0x010802 0000:00:06.0=0x020000 0000:00:1c.0=0x060400; do
  mkdir -p "$scratch/sys/bus/pci/devices/${device%=*}"
  echo "${device#*=}" >"$scratch/sys/bus/pci/devices/${device%=*}/class"
done
mkdir -p "$scratch/sys/bus/pci/drivers/vfio-pci" "$scratch/sys/bus/pci/drivers/nvme"
export PVIOMMU_COMPLETION_SYSFS=$scratch/sys
# shellcheck source=vfio-glue/command/bash-completion/pviommu
. "$PVIOMMU_SOURCE/vfio-glue/command/bash-completion/pviommu"

# offers LINE WORD...: exactly these, in any order.
offers() {
  local wanted
  COMP_LINE=$1 COMP_POINT=${#1} COMP_WORDBREAKS=$' \t\n"\'><=;|&(:'
  read -r -a COMP_WORDS <<<"$1"
  shift
  COMPREPLY=()
  _pviommu
  wanted=$(printf '%s\n' "$@" | sort)
  if [ "$(printf '%s\n' "${COMPREPLY[@]}" | sort)" = "$wanted" ]; then
    ok "'$COMP_LINE'"
  else
    not_ok "'$COMP_LINE'" "offered: ${COMPREPLY[*]}"
  fi
}
# has LINE WORD: among others.
has() {
  COMP_LINE=$1 COMP_POINT=${#1} COMP_WORDBREAKS=$' \t\n"\'><=;|&(:'
  read -r -a COMP_WORDS <<<"$1"
  COMPREPLY=()
  _pviommu
  case " ${COMPREPLY[*]} " in *" $2 "*) ok "'$1' has $2" ;; *) not_ok "'$1' has $2" "offered: ${COMPREPLY[*]}" ;; esac
}
offers "pviommu b" bind
offers "pviommu unb" unbind
has "pviommu " doctor
has "pviommu " --version
offers "pviommu bind --dr" --driver --dry-run
offers "pviommu bind " 0000:00:05.0 0000:00:06.0
# Behind the last colon, as readline replaces it.
offers "pviommu bind 0000:00:05" 05.0
offers "pviommu unbind 0000:00:05.0 0000:00:06" 06.0
offers "pviommu bind --driver=v" vfio-pci
has "pviommu bind --driver=" none
offers "pviommu doctor --device=0000:00:06" 06.0
offers "pviommu run --frames=i" io_uring
offers "pviommu run --interface=g" group group,cdev
offers "pviommu run --hypervisor=mo" model
offers "pviommu attach 0000:00:05.0 g" guest-a
offers "pviommu attach 0000:00:05.0 Dom" ""
has "pviommu run --quiet -- ca" cat
has "pviommu run ca" cat
finish
