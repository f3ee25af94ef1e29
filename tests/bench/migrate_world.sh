#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A game world with players moves from one node to another. A node is a network and a mount namespace with a daemon and a
# store of its own; players are on a third network. ZONES zones of ZONE_MB MB, of which PLAYERS are in use, and a core
# that each world loads at its start.
#   stop, start    the world before ends, then the next one starts, on a node that has nothing in memory
#   ahead, cold    the next one starts first, and takes over when it has loaded; zones come as players need them
#   ahead, traced  the same, on a node that has been filled along a trace of the world before
# The node that the world moves to has the image from a registry behind a link of MBIT Mbit/s and a round trip of RTT ms,
# and fetches nothing ahead by itself; with SMALL, from a layout. What is counted is what players notice
# (container/examples/migrating/player.c).
LIMIT=1800
if [[ -z ${ASSETFS_TEST_INSIDE:-}${SMALL:-} ]]; then
	# Outside of the namespaces: the cache directory is locked while it is filled.
	REGISTRY=$(XDG_CACHE_HOME=${CACHE%/*} "${SUPPORT:?}/fetch_package.sh" docker-registry)/usr/bin/docker-registry || exit 1
	export REGISTRY
fi
. "$(dirname "$0")/migrate_lib.sh"

: "${ZONES:=$(small 12 64)}" "${ZONE_MB:=$(small 2 8)}" "${PLAYERS:=$(small 6 24)}" "${TURNS:=$(small 20 200)}" "${ROUNDS:=$(small 1 3)}" "${MBIT:=200}" "${RTT:=20}"
OLD=10.99.0.1 NEW=10.99.1.1 PORT=7000

# A node: a process that keeps its namespaces. node_on NAME COMMAND...; node_exec, in place of this shell.
declare -A nodes=()
node_new() {
	mkfifo "$T/$1.in"
	: >"$T/$1.up"
	unshare --net --mount --propagation private sh -c 'echo up && exec cat' <>"$T/$1.in" >"$T/$1.up" &
	nodes[$1]=$!
	wait_for grep -q up "$T/$1.up" || fail "no namespaces"
	node_on "$1" ip link set lo up
}

node_exec() {
	exec nsenter --net="/proc/${nodes[$1]}/ns/net" --mount="/proc/${nodes[$1]}/ns/mnt" "${@:2}"
}

node_on() {
	(node_exec "$@")
}

# wire NODE ADDRESS NODE ADDRESS: a link between two
wires=0
wire() {
	local one=wire$((wires++)) two=wire$((wires++))
	node_on "$1" ip link add "$one" type veth peer name "$two" netns "${nodes[$3]}" || fail "no network"
	node_on "$1" ip address add "$2/24" dev "$one"
	node_on "$3" ip address add "$4/24" dev "$two"
	node_on "$1" ip link set "$one" up
	node_on "$3" ip link set "$two" up
}

# The image in a registry that only the new node sees; $far is its name there.
start_registry() {
	local real
	mkdir "$T/real"
	cat >"$T/real/config.yml" <<-END
		version: 0.1
		log: {level: info, accesslog: {disabled: true}}
		storage: {filesystem: {rootdirectory: $T/real/store}}
		http: {addr: '127.0.0.1:0'}
	END
	node_exec new "$REGISTRY" serve "$T/real/config.yml" >"$T/real/out" 2>&1 &
	wait_for grep -q 'listening on' "$T/real/out" || fail "$(cat "$T/real/out")"
	real=127.0.0.1:$(sed -n 's/.*listening on 127.0.0.1:\([0-9]*\).*/\1/p' "$T/real/out")
	node_on new "$ASSETPACK" push --progress none "$T/layout:v1" "$real/game:v1" >"$T/out"
	node_exec new python3 "$SUPPORT/far_link.py" "${real#*:}" "$MBIT" "$RTT" "$T/link" &
	wait_for test -e "$T/link" || fail "no link"
	far=127.0.0.1:$(<"$T/link")/game:v1
}

# Each has a daemon, in a store of its own. node_serve NAME IMAGE; pid in ${node_daemon[NAME]}
declare -A node_daemon=()
node_serve() {
	rm -rf "${STORE:?}/$1"
	mkdir -p "$STORE/$1" "$T/mnt.$1"
	node_exec "$1" "$ASSETFS" serve --store "$STORE/$1" --fetch-rate off 2>>"$STORE/assetfs.log" &
	node_daemon[$1]=$!
	node_ready() {
		"$ASSETFS" status --store "$STORE/$1" >/dev/null 2>&1
	}
	wait_for node_ready "$1" || fail "no daemon on $1"
	node_on "$1" "$ASSETFS" mount --store "$STORE/$1" "$2" "$T/mnt.$1"
}

node_stop() {
	node_on "$1" "$ASSETFS" umount --store "$STORE/$1" "$T/mnt.$1"
	kill -TERM "${node_daemon[$1]}"
	wait "${node_daemon[$1]}" || fail "the daemon of $1 ends with status $?"
}

decompressed() {
	"$FSSTAT" --store "$STORE/$1" --json | jq .cache.bytes_decompressed_total
}

# start_world NODE OUTPUT ARGUMENT...: pid in $world, its input is $T/OUTPUT.in
start_world() {
	local node=$1 out=$2
	shift 2
	rm -f "$T/$out.in"
	mkfifo "$T/$out.in"
	: >"$T/$out"
	node_exec "$node" "$MIGRATING/world" "$T/mnt.$node" "$@" <>"$T/$out.in" >"$T/$out" 2>&1 &
	world=$!
}

world_says() {
	grep -q "$2" "$T/$1" || ! kill -0 "$world" 2>/dev/null
}

wait_for_world() {
	wait_for world_says "$1" "$2" || fail "the world does not say '$2'"
	grep -q "$2" "$T/$1" || fail "$(cat "$T/$1")"
}

players_play() {
	grep -q playing "$T/players"
}

# The world before, with players and, where one is asked for, a recording: $old and $players
play_on_old() {
	[[ -z $1 ]] || node_on old "$ASSETFS" trace record --store "$STORE/old" -o "$T/trace" "$T/mnt.old"
	start_world old world.old "$OLD:$PORT"
	old=$world
	wait_for_world world.old plays
	: >"$T/players"
	node_exec players "$MIGRATING/player" "$OLD:$PORT" "$NEW:$PORT" "$PLAYERS" "$TURNS" >"$T/players" 2>&1 &
	players=$!
	wait_for players_play || fail "nobody plays: $(cat "$T/players")"
	[[ -z $1 ]] || node_on old "$ASSETFS" trace stop --store "$STORE/old" -o "$T/trace" "$T/mnt.old"
}

# number NAME: of what the players say
number() {
	sed -E "s/.*\\b$1=([0-9.]+).*/\\1/" "$T/players" | tail -n 1
}

# move WAY: sets NAME for each number
move() {
	local begin from
	node_serve old "$T/layout:v1"
	play_on_old "$([[ $1 != traced ]] || echo trace)"
	node_serve new "$far"
	if [[ -z $SMALL ]]; then
		sync -f "$T"
		echo 3 >/proc/sys/vm/drop_caches
	fi
	# A successor that breaks off: the world goes on.
	node_on new bash -c "exec 3<>/dev/tcp/$OLD/$((PORT + 1)) && read -r -N 1 -u 3" || fail "nothing to take over"
	begin=$(date +%s%N)
	[[ $1 != traced ]] || node_on new "$ASSETFS" prefetch --store "$STORE/new" --trace "$T/trace" --wait "$T/mnt.new"
	ahead_ms=$((($(date +%s%N) - begin) / 1000000))
	warmed=$(decompressed new)
	if [[ $1 == stop ]]; then
		ahead_ms=0
		start_world new world.new "$NEW:$PORT" --take "$OLD:$PORT" --stop-first
	else
		start_world new world.new "$NEW:$PORT" --take "$OLD:$PORT"
		wait_for_world world.new ready
		ahead_ms=$((($(date +%s%N) - begin) / 1000000))
		from=$(decompressed new)
		echo >"$T/world.new.in"
	fi
	wait "$players" || fail "players: $(cat "$T/players")"
	wait "$old" || fail "the world before ended with status $?"
	during=$(($(decompressed new) - ${from:-$warmed}))
	kill "$world"
	wait "$world" || true
	check_eq "moves that the world forgot, or played twice" "$(number wrong)" 0
	node_stop new
	node_stop old
}

mkdir -p "$T/src/core" "$T/src/zones"
for ((i = 0; i < ZONES + 4; i++)); do
	"$MIGRATING/forked" make "$T/record" $((ZONE_MB * 1000000)) "$i"
	if ((i < ZONES)); then
		mv "$T/record" "$T/src/zones/$i"
	else
		mv "$T/record" "$T/src/core/$i"
	fi
done
pack "$T/src" "$T/layout:v1"
far=$T/layout:v1
for node in old new players; do
	node_new $node
done
wire players 10.99.0.2 old $OLD
wire players 10.99.1.2 new $NEW
wire old 10.99.2.1 new 10.99.2.2
node_on new ip route add 10.99.0.0/24 via 10.99.2.1
node_on old ip route add 10.99.1.0/24 via 10.99.2.2
[[ -n $SMALL ]] || start_registry

declare -A pauses lates afters befores stalls aheads reads
for ((round = 0; round < ROUNDS; round++)); do
	for way in stop cold traced; do
		move $way
		pauses[$way]+="$(number pause) " lates[$way]+="$(number late) " afters[$way]+="$(number after_max) "
		befores[$way]+="$(number before_max) " stalls[$way]+="$(number stalled) " aheads[$way]+="$ahead_ms " reads[$way]+="$during "
		[[ $way == traced ]] || ((during > PLAYERS * ZONE_MB * 500000)) || fail "$way: only $during bytes were filled while players waited"
		[[ $way != traced ]] || ((during == 0)) || fail "$during bytes were filled while players waited, in spite of the trace"
	done
done

# middle LIST
middle() {
	# shellcheck disable=SC2086
	median $1
}
echo "A world of $((ZONES * ZONE_MB)) MB in $ZONES zones moves with $PLAYERS players in $PLAYERS of them; milliseconds, medians of $ROUNDS"
[[ -n $SMALL ]] || echo "The node that it moves to has a registry at $MBIT Mbit/s, $RTT ms"
printf '%-14s %11s %8s %14s %10s %15s %15s %17s\n' "" "ready after" "pause" "slowest after" "over 50 ms" "stalled in all" "slowest before" "MB filled in play"
for way in stop cold traced; do
	name=$(case $way in stop) echo "stop, start" ;; cold) echo "ahead, cold" ;; *) echo "ahead, traced" ;; esac)
	printf '%-14s %11.0f %8.1f %14.1f %10.0f %15.1f %15.1f %17s\n' "$name" "$(middle "${aheads[$way]}")" "$(middle "${pauses[$way]}")" \
		"$(middle "${afters[$way]}")" "$(middle "${lates[$way]}")" "$(middle "${stalls[$way]}")" "$(middle "${befores[$way]}")" \
		"$(mb "$(middle "${reads[$way]}")")"
	record migrate_world --arg way "$way" --arg p "${pauses[$way]}" --arg a "${afters[$way]}" --arg l "${lates[$way]}" --arg s "${stalls[$way]}" \
		--arg b "${befores[$way]}" --arg h "${aheads[$way]}" --arg r "${reads[$way]}" --argjson zones "$ZONES" --argjson mb "$ZONE_MB" --argjson n "$PLAYERS" \
		'{way: $way, zones: $zones, zone_mb: $mb, players: $n, samples: ({pause_ms: $p, after_max_ms: $a, late: $l, stalled_ms: $s,
			before_max_ms: $b, ahead_ms: $h, filled_bytes: $r} | map_values(split(" ") | map(select(. != "") | tonumber)))}'
done
for node in "${nodes[@]}"; do
	kill "$node"
done
