#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Keeper and daemon in containers of their own, by podman and crun: the daemon's is stopped, removed and started anew, killed,
# and then the keeper's is replaced, while processes on the node and in other containers read. Nobody notices.
. "$(dirname "$0")/../support/mount_lib.sh"
# shellcheck source=tests/pods/podman_lib.sh
. "$(dirname "$0")/podman_lib.sh"

: "${CHURN:?}" "${ROLLOUTS:=3}"
mounts=$T/mounts
mkdir -p "$mounts/game" "$T/src"
for i in {1..40}; do
	head -c $((i * 9001)) <(yes "small file $i") >"$T/src/small-$i"
done
for i in {1..4}; do
	noise $((i * 3000001)) >"$T/src/medium-$i"
done
# Larger than what open(2) waits for: it is read in cached mode until it is complete.
noise $((17 << 20)) >"$T/src/large"
"$ASSETPACK" build "$T/src" "$T/layout:v1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
mount --bind "$mounts" "$mounts"
mount --make-shared "$mounts"
pull_image

socket=$STORE/keeper
# As the manifests have them: one has what serving needs, the other one has no rights at all.
# start_keeper N
start_keeper() {
	pod run --detach --name "keeper$1" --network none --read-only --cap-drop all --security-opt no-new-privileges --memory 64m --stop-timeout 60 \
		--volume "$STORE:$STORE" "$image" keeper --listen "$socket" >/dev/null || fail "no keeper $1"
}
# start_pod N: a daemon
start_pod() {
	pod run --detach --name "daemon$1" --network none --read-only --pid host --cap-add SYS_ADMIN,SYS_PTRACE --security-opt unmask=all --device /dev/fuse \
		--memory 256m --stop-timeout 30 --volume "$STORE:$STORE" --volume "$T/layout:$T/layout:ro" "$image" \
		keeper --store "$STORE" --keeper "$socket" --region-size 128M >/dev/null || fail "no daemon $1"
}
# end NAME: stop and remove a container, which must end well
end() {
	pod stop "$1" >/dev/null || fail "$1 does not stop"
	check_eq "status of $1" "$(pod inspect --format '{{.State.ExitCode}}' "$1")" 0
	pod logs "$1" >>"$T/logs" 2>&1
	pod rm "$1" >/dev/null
}
reading() {
	kill -0 "$churn" 2>/dev/null || fail "$1: $(tail -n 5 "$T/churn")"
}
# Reads in a container of its own, all of it each time, and says how often; it ends at the first error.
start_game() {
	pod run --detach --name game --network none --read-only --memory 32m --volume "$mounts:/assets:ro,rslave" --entrypoint /bin/sh "$image" -c \
		'n=0; trap "exit 0" TERM; while cat /assets/game/* >/dev/null; do n=$((n + 1)); echo $n; done; exit 1' >/dev/null || fail "no game"
}
game_goes_on() {
	local before
	before=$(pod logs game 2>/dev/null | tail -n 1)
	more() {
		[[ $(pod logs game 2>/dev/null | tail -n 1) != "$before" ]]
	}
	wait_for more || fail "$1: the game hangs"
	check_eq "$1: the game" "$(pod inspect --format '{{.State.Running}}' game)" true
}

note "a keeper, and a daemon that finds it"
start_keeper 1
wait_for test -S "$socket" || fail "the keeper does not listen"
start_pod 1
wait_for status_ok || fail "the daemon does not answer"
"$ASSETFS" mount "$T/layout:v1" "$mounts/game"
connections=$(own_connections)
"$CHURN" --processes 6 --seconds 1000000 "$T/src" "$mounts/game" >"$T/churn" 2>&1 &
churn=$!
start_game
game_goes_on "at first"

n=1
for ((i = 0; i < ROLLOUTS; i++)); do
	note "the daemon's container is replaced by another one"
	pid=$(daemon_pid)
	end "daemon$n"
	reading "while there is no daemon"
	start_pod $((n += 1))
	wait_for next_daemon || fail "no daemon goes on"
	reading "after roll-out $i"
	game_goes_on "after roll-out $i"
done
note "charged: $(charged "daemon$n") bytes to the daemon, $(charged keeper1) to the keeper, $(charged game) to the game"

note "the daemon alone is killed, then its container"
pid=$(daemon_pid)
kill -KILL "$pid"
wait_for next_daemon || fail "no daemon goes on"
pid=$(daemon_pid)
pod kill --signal KILL "daemon$n" >/dev/null
pod wait "daemon$n" >/dev/null
pod rm "daemon$n" >/dev/null
start_pod $((n += 1))
wait_for next_daemon || fail "no daemon goes on"
reading "after a kill"
game_goes_on "after a kill"

note "the keeper's container is replaced, and the daemon's after that"
end keeper1
start_keeper 2
# holds N: the keeper has the connection of the one mount
holds() {
	[[ $(connections_of "$(pod inspect --format '{{.State.Pid}}' "keeper$1")") == 1 ]]
}
wait_for holds 2 || fail "the daemon does not find the next keeper"
pid=$(daemon_pid)
end "daemon$n"
start_pod $((n += 1))
wait_for next_daemon || fail "no daemon goes on"
reading "after the keeper's end"
game_goes_on "after the keeper's end"

kill "$churn"
wait "$churn" || fail "churn: $(tail -n 5 "$T/churn")"
tail -n 1 "$T/churn"
pod stop --time 100 game >/dev/null
check_eq "the game's end" "$(pod inspect --format '{{.State.ExitCode}}' game)" 0
check_eq "connections" "$(own_connections)" "$connections"
check_eq "errors" "$("$FSSTAT" --json | jq '[.images[].errors_total] | add')" 0
check_eq "chunks decompressed again" "$(counter chunks_decompressed_again_total)" 0
"$READER" "$mounts/game" "$T/src" >"$T/reader" || fail "reader: $(tail -n 1 "$T/reader")"
wait_for all_closed || fail "files that nobody has open: $("$ASSETFS" status --json | jq -c '[.mounts[].open_files]')"

note "all ends"
"$ASSETFS" umount "$mounts/game"
end "daemon$n"
end keeper2
sed "s|$T||g" "$T/logs" | grep -iE "$SUSPICIOUS" | grep -vE 'signal 9|keeper at .* ends: waiting' && fail "unexpected lines in the logs"
check_eq "mounts" "$(own_mounts)" ""
