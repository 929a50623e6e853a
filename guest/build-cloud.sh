#!/bin/bash
# Builds a disk with a stock Debian and cloud-init from the distribution's packages.
#
#   guest/build-cloud.sh OUTPUT.raw [SUITE]
#
# It is what the distribution's own cloud images are made of: its kernel, systemd
# and cloud-init, untouched but for the source of seeds, which is NoCloud. Needs
# root, for the owners of the files in it.
set -euo pipefail
export LC_ALL=C TZ=UTC SOURCE_DATE_EPOCH=1735689600
umask 022

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here
# shellcheck source-path=SCRIPTDIR source=disk.sh
. "$here/disk.sh"
readonly boot_mib=96 root_mib=1536
readonly kernel_options="root=LABEL=cloud-root rw console=tty0 console=ttyS0,115200 net.ifnames=0"
readonly packages=linux-image-cloud-amd64,initramfs-tools,systemd-sysv,systemd-resolved,udev,dbus,netbase,cloud-init,openssh-server,iproute2,ca-certificates

need_tools() {
	PATH=$PATH:/sbin:/usr/sbin
	[ "$(id -u)" = 0 ] || fail "this needs root" "run it with sudo"
	command -v mmdebstrap >/dev/null || fail "this needs mmdebstrap" "apt-get install -y mmdebstrap"
	command -v mke2fs >/dev/null || fail "this needs mke2fs" "apt-get install -y e2fsprogs"
}

# suite prints the release to build: Debian's stable unless asked otherwise.
suite() {
	echo "${1:-bookworm}"
}

# configure ROOT sets what the distribution leaves to whoever makes the image.
configure() {
	cat >"$1/etc/cloud/cloud.cfg.d/90_datasource.cfg" <<'CONFIG'
datasource_list: [NoCloud, None]
system_info:
  network:
    renderers: [networkd]
CONFIG
	echo "LABEL=cloud-root / ext4 defaults,discard 0 1" >"$1/etc/fstab"
	echo localhost >"$1/etc/hostname"
	: >"$1/etc/machine-id"
	chroot "$1" systemctl -q enable systemd-networkd.service serial-getty@ttyS0.service
}

main() {
	[ $# -ge 1 ] || fail "usage: $0 OUTPUT.raw [SUITE]" "name the file to build"
	need_tools
	local output=$1 release work kernel
	release=$(suite "${2:-}")
	work=$(mktemp -d "${TMPDIR:-/var/tmp}/bulkhead-cloud.XXXXXX")
	# shellcheck disable=SC2064
	trap "rm -rf '$work'" EXIT
	say "installing $release with cloud-init (some minutes)"
	mmdebstrap --quiet --variant=minbase --include="$packages" \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' "$release" "$work/root" ||
		fail "Debian $release can't be installed" "check the network and run: apt-get update"
	configure "$work/root"
	say "making the partitions"
	# shellcheck disable=SC2046
	unpack_packages "$work/from" $(boot_packages)
	kernel=$(find "$work/root/boot" -name 'vmlinuz-*' | head -n 1)
	build_boot_partition "$work/from" "$kernel" "${kernel/vmlinuz/initrd.img}" "$work/boot.fat" "$boot_mib" \
		"$kernel_options"
	rm -rf "$work/root/boot"/* "$work/root/var/cache/apt"/*
	truncate -s "${root_mib}M" "$work/root.ext4"
	mke2fs -q -F -t ext4 -L cloud-root -m 0 -d "$work/root" "$work/root.ext4"
	build_disk "$work/from" "$work/boot.fat" "$boot_mib" "$work/root.ext4" "$root_mib" "$work/disk.raw"
	mkdir -p "$(dirname "$output")"
	cp --sparse=always "$work/disk.raw" "$output"
	say "$output: $(stat -c %s "$output") bytes, $(($(stat -c %b "$output") * 512)) on disk"
}

main "$@"
