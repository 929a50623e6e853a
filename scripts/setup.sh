#!/bin/bash
# Installs the programs of the distribution that a task needs, and nothing else.
#
#   scripts/setup.sh demo|cluster|simulator|test|race|generate
#
# Does nothing when all are there. As root, or with sudo, it installs the rest
# with apt-get and says what and why; otherwise it says what to install.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin"

# task, program, package, what it is for
readonly needs='
demo|test|race   qemu-system-x86_64  qemu-system-x86      runs machines
demo|test|race   qemu-img            qemu-utils           makes and copies disks
demo|test|race   nft                 nftables             filters the packets of networks
demo|test|race   dnsmasq             dnsmasq-base         gives machines addresses and names
demo|test|race   ip                  iproute2             shows networks when something is wrong
demo|test|race   mke2fs              e2fsprogs            makes the file system of the guest
demo|test|race   cpio                cpio                 packs the guest
demo|test|race   xz                  xz-utils             unpacks images
demo|simulator   curl                curl                 fetches a page from the machine
demo|simulator   jq                  jq                   reads the answers of the API
test|race        mkfs.xfs            xfsprogs             gives tests a file system that shares blocks
test|race        mkfs.btrfs          btrfs-progs          gives tests another one
test|race        isoinfo             genisoimage          reads seeds as a second opinion
test|race        socat               socat                speaks to consoles
test|race        mmdebstrap          mmdebstrap           makes a disk of the distribution with cloud-init
test|race        busybox             busybox-static       is a guest of a network
test|race        ssh                 openssh-client       logs in to a machine
test|race        ssh-keygen          openssh-client       makes keys that backups are encrypted to
test|race        age                 age                  reads encrypted backups as a second opinion
test|race        git                 git                  fetches modules that have no proxy
test|race        strace              strace               kills programs at chosen moments
cluster|test|race ipmitool           ipmitool             speaks to controllers of hosts
cluster|test|race ipmi_sim           openipmi             is a controller that speaks IPMI
test|race        pip3                python3-pip          fetches a controller that speaks Redfish, and libraries of drivers (from PyPI)
race             gcc                 gcc                  links the race detector
race             ld                  binutils             links the race detector
generate         protoc              protobuf-compiler    reads the driver contract
'

task=${1:-test}
case $task in
demo | cluster | simulator | test | race | generate) ;;
*)
	echo "usage: $0 demo|cluster|simulator|test|race|generate" >&2
	exit 2
	;;
esac

missing=()
while read -r tasks program package purpose; do
	[ -n "$tasks" ] || continue
	case "|$tasks|" in *"|$task|"*) ;; *) continue ;; esac
	command -v "$program" >/dev/null && continue
	missing+=("$package")
	echo "setup: $program is missing (package $package: $purpose)"
done <<<"$needs"
if [ ! -e /etc/ssl/certs/ca-certificates.crt ]; then
	missing+=(ca-certificates)
	echo "setup: the certificates of the Internet are missing (package ca-certificates: downloads modules)"
fi
if [[ $task = test || $task = race ]] && [ ! -e /usr/share/OVMF/OVMF_CODE_4M.fd ]; then
	missing+=(ovmf)
	echo "setup: the firmware of UEFI machines is missing (package ovmf: boots machines with UEFI)"
fi
# protoc only recommends the messages that come with it.
if [ "$task" = generate ] && [ ! -e /usr/include/google/protobuf/struct.proto ]; then
	missing+=(libprotobuf-dev)
	echo "setup: protobuf's own messages are missing (package libprotobuf-dev: the driver contract imports them)"
fi
# The race detector needs the C library's headers as well.
if [ "$task" = race ] && [ ! -e /usr/include/stdlib.h ]; then
	missing+=(libc6-dev)
	echo "setup: the headers of the C library are missing (package libc6-dev: links the race detector)"
fi
if [ ${#missing[@]} -eq 0 ]; then
	exit 0
fi

as_root=()
if [ "$(id -u)" != 0 ]; then
	if ! command -v sudo >/dev/null || ! { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
		echo "setup: run this as root, then try again: apt-get install -y ${missing[*]}" >&2
		exit 1
	fi
	as_root=(sudo)
fi
if ! command -v apt-get >/dev/null; then
	echo "setup: there is no apt-get here; install the programs above with your package manager, then try again" >&2
	exit 1
fi
echo "setup: installing ${missing[*]}"
install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}")
"${as_root[@]}" apt-get update -q || echo "setup: the package lists could not be renewed; trying with those there are"
"${install[@]}" </dev/null
for package in "${missing[@]}"; do
	dpkg -s "$package" >/dev/null || { echo "setup: $package is still missing" >&2 && exit 1; }
done
