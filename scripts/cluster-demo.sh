#!/bin/bash
# Shows a cluster on one machine: three nodes and two hosts, each in a network
# namespace of its own, and a guest in real QEMU. Kills the node that leads, cuts
# a node off, empties a host by live migration, loses a host whose power is then
# cut by its controller (ipmi_sim), and says what happened to writes and to the
# guest. Everything it makes is gone when it ends, also when it is
# killed: it runs in namespaces of its own.
#
# Needs bin/bulkhead (make cluster-demo builds it), QEMU, ipmitool, OpenIPMI's
# ipmi_sim, and root or sudo.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly bulkhead=$PWD/bin/bulkhead
readonly nodes="n1 n2 n3" agents="a1 a2"
readonly patience=60
declare -A pid=() address=([n1]=10.213.0.11 [n2]=10.213.0.12 [n3]=10.213.0.13 [a1]=10.213.0.21 [a2]=10.213.0.22)
at=n1 zone='' writers=()

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
fail() {
	printf '\ncluster-demo: %s\n' "$*" >&2
	exit 1
}

# show prints a command as one would type it on a node, and runs it there.
show() {
	printf '\033[2m%s$ bulkhead %s\033[0m\n' "$at" "$*"
	quietly "$@"
}
quietly() { within "$at" "$bulkhead" "$@"; }

# wait_for waits until a command succeeds.
wait_for() {
	local what=$1 deadline=$((SECONDS + patience))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $deadline ] || fail "waited $patience s for $what"
		sleep 0.1
	done
}

clean_up() {
	local status=$? name
	trap - EXIT
	trap '' INT TERM
	for name in "${writers[@]}" "${pid[@]}"; do
		kill "$name" 2>/dev/null || true
	done
	[ "$status" = 0 ] || echo "cluster-demo: it failed; the end of what each process wrote:" >&2
	for name in $nodes $agents; do
		[ "$status" = 0 ] || [ ! -e "$zone/$name.log" ] || { echo "--- $name" && tail -n 15 "$zone/$name.log"; } >&2
	done
	rm -rf "$zone"
	exit "$status" # and the guests end with the process namespace
}

# lay_out gives each node and host a network namespace on one bridge.
lay_out() {
	local name
	ip link set lo up
	ip link add br0 type bridge
	ip address add 10.213.0.1/24 dev br0
	ip link set br0 up
	for name in $nodes $agents; do
		ip netns add "demo-$name"
		ip link add "v-$name" type veth peer name eth0 netns "demo-$name"
		ip link set "v-$name" master br0 up
		ip -n "demo-$name" link set lo up
		ip -n "demo-$name" address add "${address[$name]}/24" dev eth0
		ip -n "demo-$name" link set eth0 up
	done
}

# within runs a command in the namespace of a node or a host.
within() { ip netns exec "demo-$1" "${@:2}"; }

# exec_within does so in the place of the shell that calls it.
exec_within() { exec ip netns exec "demo-$1" "${@:2}"; }

# start_node starts a node's server.
start_node() {
	exec_within "$1" "$bulkhead" server --log-level warn --data-dir "$zone/$1" >>"$zone/$1.log" 2>&1 &
	pid[$1]=$!
}

ready() { [ "$(within "$1" curl -s -o /dev/null -w '%{http_code}' --max-time 1 http://127.0.0.1:7480/readyz)" = 200 ]; }

token_for() { quietly join-token create --role "$1" -o json | jq -r .text; }

# make_cluster starts three nodes that manage one zone.
make_cluster() {
	local name
	"$bulkhead" server init --data-dir "$zone/n1" --name n1 --address 10.213.0.11:7481
	start_node n1
	wait_for "node n1" ready n1
	BULKHEAD_TOKEN=$(cat "$zone/n1/token")
	export BULKHEAD_TOKEN BULKHEAD_URL=http://127.0.0.1:7480
	for name in n2 n3; do
		within "$name" "$bulkhead" server join --token "$(token_for node)" --from 10.213.0.11:7481 \
			--data-dir "$zone/$name" --name "$name" --address "${address[$name]}:7481"
		start_node "$name"
		wait_for "node $name" ready "$name"
	done
	wait_for "three voters" voters 3
	show node list
}

voters() { [ "$(quietly node list -o json | jq '[.[] | select(.well and (.role == "leader" or .role == "voter"))] | length')" = "$1" ]; }
leader() { quietly node list -o json | jq -r '.[] | select(.role == "leader") | .name'; }

# write makes one small volume after another on a node, and notes when each was acknowledged.
write() {
	local i
	for ((i = 0; ; i++)); do
		timeout 2 ip netns exec "demo-$1" "$bulkhead" volume create "w-$1-$i" --pool book --size 1MiB --no-wait \
			>/dev/null 2>>"$zone/writer.err" && date +%s.%N >>"$zone/writes"
	done
}

start_writers() {
	local name
	touch "$zone/writes"
	for name in $nodes; do
		write "$name" &
		writers+=($!)
	done
}

# check_writes counts the volumes there are, and fails unless every acknowledged one is among them.
check_writes() {
	local there acknowledged
	kill "${writers[@]}" 2>/dev/null || true
	acknowledged=$(wc -l <"$zone/writes")
	there=$(quietly volume list -o json | jq '[.[] | select(.name // "" | startswith("w-"))] | length')
	[ "$there" -ge "$acknowledged" ] || fail "$acknowledged writes were acknowledged, $there are there"
	echo "$there"
}

# longest_gap prints how many writes there were since a moment, and the longest time without one.
longest_gap() {
	{ sort "$zone/writes" && date +'%s.%N end'; } | awk -v since="$1" '
		$1 >= since { n += NF == 1; if (last && $1 - last > gap) gap = $1 - last }
		{ last = $1 }
		END { printf "%d writes were acknowledged, at most %.2f s without one\n", n, gap }'
}

# start_host starts what runs on a host: an agent, its drivers and guests, which
# all end with the first of their processes.
start_host() {
	exec_within "$1" unshare --pid --fork --kill-child --mount-proc sh -c '"$@" & while :; do wait; sleep 1; done' host \
		"$bulkhead" agent --data-dir "$zone/$1" >>"$zone/$1.log" 2>&1 &
	pid[$1]=$!
}

# first_of prints the id of a host's first process.
first_of() { tr -d ' ' <"/proc/${pid[$1]}/task/${pid[$1]}/children"; }

# add_hosts starts two host agents, and makes what machines need: disks that both hosts
# see at the same path, as with NFS, and the image of a small guest.
add_hosts() {
	local name
	for name in $agents; do
		within "$name" "$bulkhead" host join --token "$(token_for host)" --from "${address[n1]}:7481" \
			--data-dir "$zone/$name" --name "$name" --listen "${address[$name]}:7481"
		start_host "$name"
	done
	for name in $agents; do
		wait_for "host $name" quietly host create "host-$name" --driver bulkhead/qemuhypervisor --node "$name"
	done
	show node list
	show host list
	show pool create disks --driver bulkhead/filestorage --property "path=$zone/pool" --shared --node a1
	show image-store create images --driver bulkhead/directoryimages --node a1 \
		--property "path=$zone/images" --property "allowPaths=$PWD/dist"
	show template create guest --format raw --file "$PWD/dist/guest.raw" --image-store images
	show pool create book --driver bulkhead/sim --node n1
}

# deploy starts a guest that counts on its console, which is shown from here on.
deploy() {
	cat >"$zone/count.sh" <<'GUEST'
#!/bin/sh
(i=0; while sleep 1; do i=$((i + 1)); echo "guest: second $i of boot $(cat /run/boots)"; done >/dev/console) &
GUEST
	show machine create counter --cpus 1 --memory 256MiB --template guest --user-data "$zone/count.sh"
	wait_for "the guest" counted 3
	echo "It says: $(last_count)"
}

# listen_in shows what the guest's console says in a second or two.
listen_in() { timeout 3 ip netns exec "demo-$at" "$bulkhead" machine console counter --read-only </dev/null 2>/dev/null || true; }
last_count() { listen_in | tr -d '\r' | grep -a 'guest: second' | tail -n 1; }
second_of() { sed -n 's/.*second \([0-9]*\) .*/\1/p' <<<"$1"; }
counted() { [ "$(second_of "$(last_count)")" -ge "$1" ]; }
host_of() { quietly machine show counter -o json | jq -r .status.hostId; }

kill_the_leader() {
	local since victim
	victim=$(leader)
	at=$(for name in $nodes; do [ "$name" = "$victim" ] || echo "$name"; done | head -n 1)
	since=$(date +%s.%N)
	echo "$victim leads: kill -9"
	kill -9 "${pid[$victim]}"
	wait "${pid[$victim]}" 2>/dev/null || true
	sleep 4
	longest_gap "$since"
	echo "$(leader) leads now; $victim starts again"
	start_node "$victim"
	wait_for "node $victim" ready "$victim"
	wait_for "three voters" voters 3
}

cut_off() {
	local since victim
	victim=$(leader)
	at=$(for name in $nodes; do [ "$name" = "$victim" ] || echo "$name"; done | tail -n 1)
	since=$(date +%s.%N)
	echo "$victim leads: its network is cut"
	ip link set "v-$victim" down
	sleep 6
	longest_gap "$since"
	echo "What $victim says, which reaches nobody:"
	BULKHEAD_TOKEN=$BULKHEAD_TOKEN within "$victim" "$bulkhead" pool list 2>&1 | head -n 3 || true
	ip link set "v-$victim" up
	wait_for "three voters" voters 3
	show node list
}

# empty_a_host has the host give its machines away while they run.
empty_a_host() {
	local before after from name
	from=$(host_of)
	name=$(quietly host show "$from" -o json | jq -r .name)
	before=$(last_count)
	echo "On $name: $before"
	show host maintain "$name"
	[ "$(host_of)" != "$from" ] || fail "the machine is still on $name"
	after=$(last_count)
	echo "On $(quietly host show "$(host_of)" -o json | jq -r .name): $after"
	if [ "$(second_of "$after")" -le "$(second_of "$before")" ] || [ "${after##*of }" != "${before##*of }" ]; then
		fail "the guest did not go on counting in the same boot"
	fi
	show host activate "$name"
}

# add_controller starts the controller (BMC) of a host, which cuts its power when
# it is told to, and says that it is off when nothing runs there any more.
add_controller() {
	local name=$1 port=$2 dir=$zone/bmc-$1
	mkdir -p "$dir/state"
	first_of "$name" >"$dir/first"
	cat >"$dir/chassis" <<'CHASSIS'
#!/bin/sh
cd "${0%/*}" || exit 1
shift
runs() { grep -qs '^State:.[^ZX]' "/proc/$(cat first)/status"; }
verb=$1
shift
case $verb in
get) for what; do
	on=0
	if [ "$what" = power ] && runs; then on=1; fi
	echo "$what:$on"
done ;;
set)
	if [ "$1=$2" = power=0 ]; then
		kill -9 "$(cat first)"
		while runs; do sleep 0.01; done
	fi
	;;
esac
CHASSIS
	chmod +x "$dir/chassis"
	cat >"$dir/lan.conf" <<-CONF
		name "bmc"
		set_working_mc 0x20
		startlan 1
		  addr 10.213.0.1 $port
		  priv_limit admin
		  allowed_auths_admin none md2 md5 straight
		  guid a123456789abcdefa123456789abcdef
		endlan
		chassis_control "$dir/chassis 0x20"
		user 2 true "root" "$secret" admin 10 none md2 md5 straight
	CONF
	printf 'mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\nmc_enable 0x20\n' >"$dir/emu"
	ipmi_sim -n -c "$dir/lan.conf" -f "$dir/emu" -s "$dir/state" >"$dir/log" 2>&1 &
	pid[bmc-$name]=$!
	show host update "host-$name" --out-of-band-driver bulkhead/ipmi --out-of-band-property "address=10.213.0.1" \
		--out-of-band-property "port=$port" --out-of-band-property user=root --out-of-band-property "password=@$zone/secret" \
		--out-of-band-property cipherSuite=3
	show host power-status "host-$name"
}

# referee notes, many times a second, how many QEMUs run for the machine.
referee() {
	local file n
	while sleep 0.02; do
		n=0
		for file in $(grep -als "$1" /proc/[0-9]*/cmdline); do
			case $(readlink "${file%/*}/exe") in *qemu*) n=$((n + 1)) ;; esac
		done
		echo "$n" >>"$zone/running"
	done
}

# ask types a line on the guest's console, and prints what that says.
ask() { { echo && sleep 1 && echo "$1" && sleep 3; } | within "$at" timeout 6 "$bulkhead" machine console counter 2>/dev/null | tr -d '\r' || true; }
booted_again() { ask 'echo "this is boot $(cat /run/boots)"' | grep -ao '^this is boot 2'; }

moved() { [ "$(quietly machine show counter -o json | jq -r '.phase + .status.hostId')" = "running$1" ]; }
suspected() { quietly host show "$1" -o json | jq -e .status.suspicion; }
since() { awk -v from="$1" -v to="$(date +%s.%N)" 'BEGIN { printf "%.1f s", to - from }'; }

# lose_a_host cuts the guest's host off, with the guest running there.
lose_a_host() {
	local from to name lost machine
	from=$(host_of)
	name=$(quietly host show "$from" -o json | jq -r .name)
	to=$(quietly host list -o json | jq -r --arg from "$from" '.[] | select(.id != $from) | .id')
	secret=$(head -c 8 /dev/urandom | od -An -tx1 | tr -d ' \n')
	echo -n "$secret" >"$zone/secret"
	add_controller a1 9001
	add_controller a2 9002
	show zone update --recovery-suspect 5
	show machine update counter --recovery restart
	machine=$(quietly machine show counter -o json | jq -r .id)
	referee "$machine" &
	writers+=($!)
	echo "The network of $name is cut; the guest runs on there"
	lost=$(date +%s.%N)
	ip link set "v-${name#host-}" down
	wait_for "a suspicion" suspected "$name"
	show ha status
	wait_for "the machine on another host" moved "$to"
	echo "After $(since "$lost") it runs on $(quietly host show "$to" -o json | jq -r .name)"
	show ha status
	wait_for "the guest" booted_again
	echo "After $(since "$lost") the guest says: $(booted_again)"
	[ "$(sort -n "$zone/running" | tail -n 1)" = 1 ] || fail "two QEMUs ran for one machine"
	echo "Of $(wc -l <"$zone/running") looks none saw more than one QEMU of it."
}

[ -x "$bulkhead" ] || fail "bin/bulkhead is missing; remedy: make cluster-demo"
if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null || fail "this needs root: it makes networks and runs machines; remedy: run it as root"
	exec sudo "$0"
fi
if [ "${1:-}" != apart ]; then
	scripts/setup.sh demo
	scripts/setup.sh cluster
	[ -e dist/guest.raw ] || { say "Building a small guest" && mkdir -p dist && guest/build.sh dist/guest.raw; }
	exec unshare --mount --net --pid --fork --kill-child --mount-proc --propagation private "$0" apart
fi
mkdir -p /run/netns
mount -t tmpfs tmpfs /run/netns
zone=$(mktemp -d /var/tmp/bh.XXXXXX)
chmod 0711 "$zone"
mkdir "$zone/pool" "$zone/images"
trap clean_up EXIT
trap 'exit 130' INT TERM

say "Three nodes, each in a network of its own"
lay_out
make_cluster
say "Two hosts, a pool they share, an image"
add_hosts
say "A guest that counts"
deploy
start_writers
sleep 2
say "kill -9 of the node that leads, under writes through all three"
kill_the_leader
echo "The guest: $(last_count)"
say "The network of the node that leads is cut"
cut_off
echo "The guest: $(last_count)"
say "The guest's host is emptied for maintenance"
empty_a_host
say "A host dies: its guest comes up on the other one"
lose_a_host
say "Everything there is"
show node list
show host list
show machine list
printf '\n%s volumes were written meanwhile; no acknowledged one is missing.\n' "$(check_writes)"
