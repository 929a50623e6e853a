# shellcheck shell=bash
# Functions that make a bootable disk, sourced by build.sh and build-cloud.sh. The
# caller sets SOURCE_DATE_EPOCH.

# The boot partition's serial number and the disk's: fixed, so that a rebuild gives the same bytes.
readonly boot_serial=b01dface

say() { echo "guest: $*" >&2; }
fail() {
	echo "guest: $1" >&2
	echo "guest: remedy: $2" >&2
	exit 1
}

# boot_packages prints the packages with boot loaders and tools for FAT. systemd-boot is a part of systemd in older
# releases.
boot_packages() {
	echo syslinux syslinux-common mtools dosfstools
	if apt-cache show systemd-boot-efi >/dev/null 2>&1; then
		echo systemd-boot-efi
	else
		echo systemd
	fi
}

# unpack_packages downloads the packages and unpacks them into the directory.
unpack_packages() {
	local into=$1 deb
	shift
	mkdir -p "$into.debs" "$into"
	(cd "$into.debs" && apt-get -q -o APT::Sandbox::User="$(id -un)" download "$@" >/dev/null) ||
		fail "the packages can't be downloaded: $*" "check the network and run: apt-get update"
	for deb in "$into".debs/*.deb; do
		dpkg-deb -x "$deb" "$into"
	done
}

# bios_config OPTIONS prints what SYSLINUX reads.
bios_config() {
	cat <<CONFIG
SERIAL 0 115200
DEFAULT guest
PROMPT 0
TIMEOUT 0
LABEL guest
  LINUX /vmlinuz
  INITRD /initrd.gz
  APPEND $1
CONFIG
}

# uefi_config OPTIONS prints what systemd-boot reads.
uefi_config() {
	cat <<CONFIG
title Guest
linux /vmlinuz
initrd /initrd.gz
options $1
CONFIG
}

# build_boot_partition PACKAGES KERNEL INITRAMFS IMAGE MIB OPTIONS makes a FAT file system that boots with BIOS and
# UEFI. PACKAGES is where boot_packages were unpacked.
build_boot_partition() {
	local from=$1 kernel=$2 initramfs=$3 image=$4 mib=$5 options=$6 files=$4.files
	mkdir -p "$files/EFI/BOOT" "$files/loader/entries"
	cp "$kernel" "$files/vmlinuz"
	cp "$initramfs" "$files/initrd.gz"
	bios_config "$options" >"$files/syslinux.cfg"
	cp "$from/usr/lib/systemd/boot/efi/systemd-bootx64.efi" "$files/EFI/BOOT/BOOTX64.EFI"
	echo "timeout 0" >"$files/loader/loader.conf"
	uefi_config "$options" >"$files/loader/entries/guest.conf"
	find "$files" -exec touch -d "@$SOURCE_DATE_EPOCH" {} +
	truncate -s "${mib}M" "$image"
	"$from/sbin/mkfs.fat" --invariant -F 16 -h 2048 -n BOOT -i "$boot_serial" "$image" >/dev/null
	MTOOLS_SKIP_CHECK=1 "$from/usr/bin/mtools" -c mcopy -i "$image" -s -m "$files"/* ::/
	PATH="$from/usr/bin:$PATH" "$from/usr/bin/syslinux" --install "$image"
}

# put IMAGE MIB FILE writes a file into the disk, sparse.
put() {
	dd if="$3" of="$1" bs=1M seek="$2" conv=notrunc,sparse status=none
}

# little_endian NUMBER: the four bytes of a 32-bit number, for printf %b.
little_endian() {
	printf '\\x%02x\\x%02x\\x%02x\\x%02x' \
		$(($1 & 255)) $(($1 >> 8 & 255)) $(($1 >> 16 & 255)) $(($1 >> 24 & 255))
}

# partition_entry FLAG TYPE START_MIB SIZE_MIB: an entry of the MBR's table.
partition_entry() {
	printf '%b' "\\x$1\\xfe\\xff\\xff\\x$2\\xfe\\xff\\xff" \
		"$(little_endian $(($3 * 2048)))" "$(little_endian $(($4 * 2048)))"
}

# build_disk PACKAGES BOOT MIB SECOND MIB DISK joins boot record, partition table and two partitions.
build_disk() {
	local from=$1 boot=$2 first_mib=$3 second=$4 second_mib=$5 disk=$6
	truncate -s "$((1 + first_mib + second_mib))M" "$disk"
	{
		head -c 440 "$from/usr/lib/syslinux/mbr/mbr.bin" | dd bs=440 count=1 conv=sync status=none
		printf '%b' "$(little_endian $((16#$boot_serial)))" '\x00\x00'
		partition_entry 80 ef 1 "$first_mib"
		partition_entry 00 83 "$((1 + first_mib))" "$second_mib"
		head -c 32 /dev/zero
		printf '\x55\xaa'
	} | dd of="$disk" bs=512 count=1 iflag=fullblock conv=notrunc status=none
	put "$disk" 1 "$boot"
	put "$disk" "$((1 + first_mib))" "$second"
}
