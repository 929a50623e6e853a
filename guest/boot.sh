#!/bin/bash
# Boots a guest disk, says how long it takes until it answers HTTP, and powers it off.
#
#   guest/boot.sh DISK.raw [kvm|tcg] [LIMIT_SECONDS]
#
# The disk is not changed. The guest is reached through a port on loopback.
set -euo pipefail

fail() {
	echo "guest: $1" >&2
	echo "guest: remedy: $2" >&2
	exit 1
}

[ $# -ge 1 ] || fail "usage: $0 DISK.raw [kvm|tcg] [LIMIT_SECONDS]" "name the disk"
readonly disk=$1 accelerator=${2:-tcg} limit=${3:-120}
for tool in qemu-system-x86_64 curl; do
	command -v "$tool" >/dev/null || fail "this needs $tool" "apt-get install -y qemu-system-x86 curl"
done
[ -r "$disk" ] || fail "$disk is not there" "guest/build.sh $disk"
case $accelerator in
kvm) cpu=host ;;
tcg) cpu=max ;;
*) fail "the accelerator $accelerator is not known" "use kvm or tcg" ;;
esac

work=$(mktemp -d)
readonly work
qemu=
finish() {
	if [ -n "$qemu" ] && kill "$qemu" 2>/dev/null; then
		wait "$qemu" 2>/dev/null || true
	fi
	rm -rf "$work"
}
trap finish EXIT

# free_port prints a port on loopback that nobody listens on.
free_port() {
	local port
	for port in $(seq 20080 20999); do
		(: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port" && return; }
	done
	return 1
}
port=$(free_port) || fail "no port is free on loopback" "close some"
seconds() { date +%s.%N; }
elapsed() { awk -v from="$1" -v to="$(seconds)" 'BEGIN { printf "%.1f", to - from }'; }

begun=$(seconds)
qemu-system-x86_64 -machine q35 -accel "$accelerator" -cpu "$cpu" -m 256M -nodefaults -no-user-config -display none \
	-snapshot -drive "file=$disk,format=raw,if=virtio" -serial "file:$work/console" \
	-netdev "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:$port-:80" -device virtio-net-pci,netdev=net \
	-qmp "unix:$work/qmp,server=on,wait=off" 2>"$work/errors" &
qemu=$!
ready=
until curl -fsS -m 0.5 -o "$work/page" "http://127.0.0.1:$port/cgi-bin/info" 2>/dev/null; do
	kill -0 "$qemu" 2>/dev/null || fail "QEMU ended: $(cat "$work/errors")" "try tcg"
	[ "$(elapsed "$begun" | cut -d. -f1)" -lt "$limit" ] ||
		fail "no answer after $limit s; the console says: $(tail -n 3 "$work/console")" "try tcg, or a longer limit"
	[ -n "$ready" ] || ! grep -q READY "$work/console" 2>/dev/null || ready=$(elapsed "$begun")
	sleep 0.02
done
echo "$accelerator: ${ready:+banner after $ready s, }HTTP after $(elapsed "$begun") s"
cat "$work/page"
