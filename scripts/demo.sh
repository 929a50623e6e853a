#!/bin/bash
# Shows Bulkhead at work on this machine: starts a node on loopback, boots a
# machine in it with real QEMU, disks and network, shows its console, and
# fetches a page from it. Ctrl-C ends it and takes everything away again.
#
#   DEMO_EXIT=1          end by itself; succeeds only if all of it happened
#   DEMO_LISTEN=...      address of the API (default 127.0.0.1:7480)
#   DEMO_SIMULATOR=1     simulated hardware, as where QEMU can't be had
#
# Needs bin/bulkhead (make demo builds it) and root, or sudo.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly bulkhead=$PWD/bin/bulkhead
readonly listen=${DEMO_LISTEN:-127.0.0.1:7480}
readonly boot_patience=120
readonly not_found=3 # what bulkhead exits with then
simulator=${DEMO_SIMULATOR:-}
zone='' server='' console='' created=()

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
fail() {
	printf '\ndemo: %s\n' "$*" >&2
	exit 1
}

# show prints a command as one would type it, and runs it.
show() {
	printf '\033[2m$ bulkhead %s\033[0m\n' "$*"
	"$bulkhead" "$@"
}

# make_resource creates a resource and notes it, so that it is deleted in the end.
make_resource() {
	created+=("$1 $2")
	show "$1" create "${@:2}"
}

# clean_up takes away all that was made, the last first, and says when it can't.
clean_up() {
	local status=$? i kind name code
	trap - EXIT
	trap '' INT TERM
	[ -z "$console" ] || kill "$console" 2>/dev/null || true
	if [ -n "$server" ] && kill -0 "$server" 2>/dev/null; then
		say "Taking everything away again"
		for ((i = ${#created[@]} - 1; i >= 0; i--)); do
			read -r kind name <<<"${created[i]}"
			code=0
			"$bulkhead" "$kind" delete "$name" >>"$zone/demo.log" 2>&1 || code=$?
			if [ "$code" != 0 ] && [ "$code" != "$not_found" ]; then
				echo "demo: $kind $name was not deleted; see $zone/demo.log" >&2
				status=1
			fi
		done
		kill "$server"
		wait "$server" || status=1
	fi
	if [ "$status" = 0 ] || [ "$status" = 130 ]; then
		[ -z "$zone" ] || rm -rf "$zone"
	elif [ -n "$zone" ]; then
		echo "demo: what happened is in $zone" >&2
	fi
	exit "$status"
}

# start_node starts the server and waits until it serves.
start_node() {
	local deadline=$((SECONDS + 60))
	zone=$(mktemp -d /var/tmp/bulkhead-demo.XXXXXX)
	chmod 0711 "$zone"
	mkdir "$zone/pool" "$zone/images"
	# In a session of its own, so that Ctrl-C does not end it before everything was taken away.
	setsid "$bulkhead" dev --data-dir "$zone/state" --listen "$listen" >"$zone/server.log" 2>&1 &
	server=$!
	until grep -q ' serves zone at ' "$zone/server.log"; do
		kill -0 "$server" 2>/dev/null || { cat "$zone/server.log" >&2 && fail "the server did not start"; }
		[ $SECONDS -lt $deadline ] || fail "the server does not serve"
		sleep 0.1
	done
	BULKHEAD_URL=$(sed -n 's/.* serves zone at //p' "$zone/server.log")
	BULKHEAD_TOKEN=$(cat "$zone/state/token")
	export BULKHEAD_URL BULKHEAD_TOKEN
	until [ "$(curl -s -o /dev/null -w '%{http_code}' "$BULKHEAD_URL/readyz")" = 200 ]; do
		[ $SECONDS -lt $deadline ] || fail "the server is not ready: $(curl -s "$BULKHEAD_URL/readyz")"
		sleep 0.1
	done
}

# build_zone adds the host, somewhere for disks and images, a network and a template.
build_zone() {
	if [ -n "$simulator" ]; then
		make_resource host this-host --driver bulkhead/sim
		make_resource pool disks --driver bulkhead/sim
		make_resource image-store images --driver bulkhead/sim
		make_resource template guest --format raw --file sim:guest
		make_resource network inside --driver bulkhead/sim --cidr 10.213.77.0/24
		return
	fi
	make_resource host this-host --driver bulkhead/qemuhypervisor
	make_resource pool disks --driver bulkhead/filestorage --property "path=$zone/pool"
	make_resource image-store images --driver bulkhead/directoryimages \
		--property "path=$zone/images" --property "allowPaths=$PWD/dist"
	make_resource template guest --format raw --file "$PWD/dist/guest.raw"
	make_resource network inside --driver bulkhead/bridgenetwork --cidr 10.213.77.0/24
}

# deploy makes the machine, and shows what its console says until it answers.
deploy() {
	local url deadline
	make_resource machine web --cpus 1 --memory 256MiB --template guest --network inside
	[ -z "$simulator" ] || return 0
	show rule create --type port-forward --machine web --target-port 80 --listen-port 8080
	url=http://$("$bulkhead" rule list -o json | jq -r '[.. | .listenAddress? // empty][0]'):8080/
	say "Its console"
	"$bulkhead" machine console web --read-only </dev/null &
	console=$!
	deadline=$((SECONDS + boot_patience))
	until page=$(curl -sf --max-time 2 "$url"); do
		[ $SECONDS -lt $deadline ] || fail "the machine does not answer at $url"
		sleep 0.2
	done
	kill "$console" 2>/dev/null || true
	wait "$console" 2>/dev/null || true
	console=
	say "It answers at $url"
	echo "$page"
}

# enclose runs the demo again as the first of its processes, with mounts and an empty /run/netns of its own: however it
# ends, nothing of it goes on. What it cannot take along is what it made in the host's own network.
enclose() {
	local inside status
	set -m # a process group of its own, which hears Ctrl-C from here alone
	# shellcheck disable=SC2016 # inside it is expanded
	DEMO_ENCLOSED=1 setpriv --pdeathsig KILL unshare --mount --propagation private --pid --fork --kill-child \
		--mount-proc sh -c 'mkdir -p /run/netns && mount -t tmpfs tmpfs /run/netns && exec "$0"' "$0" &
	inside=$!
	set +m
	trap 'kill -TERM -- -$inside' INT TERM
	while status=0; do
		wait "$inside" || status=$?
		kill -0 "$inside" 2>/dev/null || exit "$status" # a trap ends a wait, too
	done
}

# real_or_simulated installs what is missing; where that fails, the simulator must do.
real_or_simulated() {
	if [ -z "$simulator" ] && ! { scripts/setup.sh demo && command -v qemu-system-x86_64 >/dev/null; }; then
		simulator=1
	fi
	if [ -n "$simulator" ]; then
		scripts/setup.sh simulator || exit 1
		say "SIMULATED HARDWARE: there is no QEMU here, so no machine will really run."
	fi
}

[ -x "$bulkhead" ] || fail "bin/bulkhead is missing; remedy: make demo"
if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null || fail "this needs root: it makes networks and runs machines; remedy: run it as root"
	exec sudo --preserve-env=DEMO_EXIT,DEMO_LISTEN,DEMO_SIMULATOR "$0"
fi
real_or_simulated
if [ -z "$simulator" ] && [ ! -e dist/guest.raw ]; then
	say "Building a small guest"
	mkdir -p dist
	guest/build.sh dist/guest.raw
fi
if [ -z "${DEMO_ENCLOSED:-}" ] && [ -z "$simulator" ]; then
	enclose
fi
trap clean_up EXIT
trap 'exit 130' INT TERM

say "Starting a node"
start_node
echo "It serves the API at $BULKHEAD_URL"
say "A host, a place for disks, a place for images, a network"
build_zone
say "A machine"
deploy
say "Everything there is"
show machine list
show volume list
show operation list --limit 10

if [ -n "${DEMO_EXIT:-}" ]; then
	exit 0
fi
say "What next"
cat <<NEXT
  API documentation   $BULKHEAD_URL/docs
  In another shell:
    export BULKHEAD_URL=$BULKHEAD_URL BULKHEAD_TOKEN=$BULKHEAD_TOKEN PATH=$PWD/bin:\$PATH
    bulkhead machine console web     # Ctrl-] leaves it
    bulkhead event watch
    bulkhead machine stop web
  Ctrl-C here ends the demo and takes everything away again.
NEXT
trap 'exit 0' INT TERM
wait "$server"
