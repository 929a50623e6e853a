#!/bin/bash
# Builds a small bootable guest disk from the distribution's kernel and busybox.
#
#   guest/build.sh OUTPUT.raw
#
# Nothing is installed and no loop device, mount or root is needed: packages are
# downloaded with apt and unpacked beside each other. The disk boots with BIOS
# and with UEFI. Same packages and same sources give the same bytes, and are
# taken from the cache (GUEST_CACHE, default ~/.cache/bulkhead/guest).
set -euo pipefail
export LC_ALL=C TZ=UTC SOURCE_DATE_EPOCH=1735689600 E2FSPROGS_FAKE_TIME=1735689600
umask 022

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here
# shellcheck source-path=SCRIPTDIR source=disk.sh
. "$here/disk.sh"
readonly cache=${GUEST_CACHE:-${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/bulkhead/guest}
# Sizes of the two partitions; the first starts after 1 MiB.
readonly boot_mib=24 state_mib=8
readonly kernel_options="console=tty0 console=ttyS0,115200 panic=-1 net.ifnames=0 rdinit=/init loglevel=5"
# Identity of the file system: fixed, so that a rebuild gives the same bytes.
readonly state_uuid=6275696c-6b68-4561-a473-746174650001

need_tools() {
	local tool
	for tool in apt-get apt-cache dpkg-deb cpio gzip sha256sum mke2fs truncate; do
		command -v "$tool" >/dev/null || PATH=$PATH:/sbin:/usr/sbin command -v "$tool" >/dev/null ||
			fail "this needs $tool" "apt-get install -y apt dpkg cpio gzip coreutils e2fsprogs"
	done
	PATH=$PATH:/sbin:/usr/sbin
	[ "$(dpkg --print-architecture)" = amd64 ] ||
		fail "the guest is built for amd64 only" "build it on an amd64 Debian or Ubuntu"
}

# kernel_packages prints the packages that hold the kernel image and its modules:
# Debian keeps both in one, Ubuntu in two.
kernel_packages() {
	local meta image
	for meta in linux-image-cloud-amd64 linux-image-amd64 linux-image-virtual linux-image-generic; do
		image=$(apt-cache depends --no-recommends --no-suggests "$meta" 2>/dev/null |
			sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
		[ -n "$image" ] || continue
		echo "$image"
		apt-cache show "${image/linux-image/linux-modules}" >/dev/null 2>&1 &&
			echo "${image/linux-image/linux-modules}"
		return 0
	done
	return 1
}

# describe_packages prints one line for each package: file, size and digest.
describe_packages() {
	apt-get --print-uris download "$@" | sort
}

# copy_modules copies the guest's modules with all they depend on.
copy_modules() {
	local from=$1 root=$2 release=$3 name module
	"$from/bin/busybox" depmod -b "$from" "$release"
	while read -r name; do
		# Built into the kernel, or not made for it: /etc/rc copes with both.
		(grep -E "/${name//[-_]/[-_]}\.ko[a-z.]*:" "$from/lib/modules/$release/modules.dep" || true) |
			tr -d : | tr ' ' '\n'
	done <"$here/rootfs/lib/guest/modules" | sort -u | while read -r module; do
		[ -n "$module" ] || continue
		install -D -m 0644 "$from/lib/modules/$release/$module" "$root/lib/modules/$release/$module"
		case $module in
		*.zst) zstd -q -d --rm "$root/lib/modules/$release/$module" ;;
		*.xz) xz -d "$root/lib/modules/$release/$module" ;;
		esac
	done
	install -m 0644 "$from/lib/modules/$release"/modules.{builtin,order} "$root/lib/modules/$release/"
	"$from/bin/busybox" depmod -b "$root" "$release"
}

# build_initramfs packs busybox, modules and the files of rootfs.
build_initramfs() {
	local from=$1 root=$2 release=$3 output=$4 applet
	mkdir -p "$root"/{bin,dev,proc,sys,run,tmp,state,etc}
	cp -R "$here/rootfs/." "$root/"
	ln -s bin "$root/sbin"
	install -m 0755 "$from/bin/busybox" "$root/bin/busybox"
	for applet in $("$root/bin/busybox" --list); do
		[ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
	done
	ln -s bin/busybox "$root/init"
	chmod 0755 "$root"/etc/{rc,rc.shutdown} "$root"/etc/acpi/PWRF/* "$root"/www/cgi-bin/* "$root"/lib/guest/*
	copy_modules "$from" "$root" "$release"
	find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
	(cd "$root" && find . -print0 | sort -z |
		cpio --quiet --null -o -H newc --reproducible --owner=+0:+0) | gzip -9n >"$output"
}

# build makes the disk at $1 from the packages that follow.
build() {
	local output=$1 work release kernel
	shift
	work=$(mktemp -d "${TMPDIR:-/tmp}/bulkhead-guest.XXXXXX")
	# shellcheck disable=SC2064
	trap "rm -rf '$work'" EXIT
	say "downloading $*"
	unpack_packages "$work/from" "$@"
	kernel=$(find "$work/from/boot" -name 'vmlinuz-*' | head -n 1)
	release=${kernel##*/vmlinuz-}
	[ -n "$release" ] || fail "no kernel in $*" "apt-get update, and look at: apt-cache show $1"
	say "packing the initramfs for linux $release"
	build_initramfs "$work/from" "$work/root" "$release" "$work/initrd.gz"
	say "making the partitions"
	build_boot_partition "$work/from" "$kernel" "$work/initrd.gz" "$work/boot.fat" "$boot_mib" "$kernel_options"
	truncate -s "${state_mib}M" "$work/state.ext4"
	mke2fs -q -F -t ext4 -L state -U "$state_uuid" -m 0 -J size=1 -O ^metadata_csum_seed \
		-E "hash_seed=$state_uuid,lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0" "$work/state.ext4"
	build_disk "$work/from" "$work/boot.fat" "$boot_mib" "$work/state.ext4" "$state_mib" "$work/disk.raw"
	mkdir -p "$(dirname "$output")"
	cp --sparse=always "$work/disk.raw" "$output.new.$$"
	mv "$output.new.$$" "$output"
}

main() {
	[ $# = 1 ] || fail "usage: $0 OUTPUT.raw" "name the file to build"
	need_tools
	local packages description key
	packages=$(kernel_packages) ||
		fail "apt knows no kernel package" "run: apt-get update"
	read -ra packages <<<"${packages//$'\n'/ } busybox-static $(boot_packages | tr '\n' ' ')"
	description=$(describe_packages "${packages[@]}") ||
		fail "apt knows not all of: ${packages[*]}" "run: apt-get update"
	key=$({
		echo "$description"
		cd "$here" && find build.sh disk.sh rootfs -type f -print0 | sort -z | xargs -0 sha256sum
	} | sha256sum | cut -c 1-16)
	if [ -s "$cache/guest-$key.raw" ]; then
		say "taking guest-$key.raw from $cache"
	else
		build "$cache/guest-$key.raw" "${packages[@]}"
	fi
	mkdir -p "$(dirname "$1")"
	cp --sparse=always --reflink=auto "$cache/guest-$key.raw" "$1"
	say "$1: $(stat -c %s "$1") bytes, $(($(stat -c %b "$1") * 512)) on disk, sha256:$(sha256sum <"$1" | cut -c 1-64)"
}

main "$@"
