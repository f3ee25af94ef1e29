#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A keeper that is no parent of its daemons: they find what it holds, however they and it end, and what is no keeper is told.
. "$(dirname "$0")/../support/mount_lib.sh"

: "${CHURN:?}"
# What the keepers and daemons of this test have to say.
expect_log 'mounts end with this daemon until|ends: waiting for the next one'
socket=$STORE/keeper
mkdir "$T/src"
for i in {1..20}; do
	head -c $((i * 9001)) <(yes "small file $i") >"$T/src/small-$i"
done
noise 3000000 >"$T/src/medium"
"$ASSETPACK" build "$T/src" "$T/layout:v1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"

# start_keeper: pid in $keeper
start_keeper() {
	"$ASSETFS" keeper --listen "$socket" 2>>"$STORE/assetfs.log" &
	keeper=$!
	wait_for test -S "$socket" || fail "no keeper"
}
holds_it() {
	[[ $(connections_of "$keeper") == 1 ]]
}
# end PID STATUS
end() {
	local status=0
	wait "$1" || status=$?
	check_eq "status" "$status" "$2"
}
reading() {
	kill -0 "$churn" 2>/dev/null || fail "$1: $(tail -n 5 "$T/churn")"
}

note "what is wrong"
expect_failure 2 "requires an argument" "$ASSETFS" keeper --listen
expect_failure 2 "unexpected argument 'x'" "$ASSETFS" keeper --listen "$socket" x
expect_failure 2 "'loud' is not valid" "$ASSETFS" keeper --listen "$socket" --log-format loud
expect_failure 1 "'$T/none/keeper': No such file" "$ASSETFS" keeper --listen "$T/none/keeper"
expect_failure 1 "path is too long" "$ASSETFS" keeper --listen "$T/$(printf 'x%.0s' {1..120})"
expect_failure 1 "path is too long" "$ASSETFS" serve --store "$T/other" --keeper "$T/$(printf 'x%.0s' {1..120})"
expect_failure 1 "there is a keeper already" env FDSTORE=1 NOTIFY_SOCKET="$T/none" "$ASSETFS" serve --store "$T/other" --keeper "$socket"
python3 -c '
import socket, sys
listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listener.bind(sys.argv[1])
listener.listen()
for answer in (b"hello", b"FDSTORE=1\nFDNAME=fuse-1"):
    peer, _ = listener.accept()
    peer.send(answer)
    peer.recv(1)' "$T/liar" &
liar=$!
wait_for test -S "$T/liar" || fail "no liar"
expect_failure 1 "at '$T/liar' is no keeper" "$ASSETFS" serve --store "$T/other" --keeper "$T/liar"
expect_failure 1 "at '$T/liar' is no keeper" "$ASSETFS" serve --store "$T/other" --keeper "$T/liar"
end "$liar" 0

note "a daemon that is there before its keeper"
start_daemon --keeper "$socket"
"$ASSETFS" mount "$T/layout:v1" "$MNT"
connections=$(own_connections)
start_keeper
wait_for holds_it || fail "the daemon does not find the keeper"
check_eq "mode of the socket" "$(stat -c %a "$socket")" 700
expect_failure 1 "another keeper listens at" "$ASSETFS" keeper --listen "$socket"
wait_for holds_it || fail "the keeper has lost it"
"$CHURN" --processes 4 --seconds 1000000 "$T/src" "$MNT" >"$T/churn" 2>&1 &
churn=$!

note "kill -9 of the daemon; the next one begins while it still dies"
for _ in 1 2 3; do
	kill -KILL "$daemon"
	before=$daemon
	start_daemon --keeper "$socket"
	wait "$before" || true
	reading "after a kill"
done
note "SIGTERM, SIGINT and upgrade leave the mounts"
kill -TERM "$daemon"
end "$daemon" 75
start_daemon --keeper "$socket"
kill -INT "$daemon"
end "$daemon" 75
reading "without a daemon"
start_daemon --keeper "$socket"
"$ASSETFS" upgrade >"$T/upgrade" &
upgrade=$!
end "$daemon" 75
start_daemon --keeper "$socket"
end "$upgrade" 0
expect_failure 1 "leave out --binary" "$ASSETFS" upgrade --binary "$ASSETFS"

note "kill -9 of the keeper"
kill -KILL "$keeper"
wait "$keeper" || true
start_keeper
wait_for holds_it || fail "the daemon does not find the next keeper"
kill -KILL "$daemon"
wait "$daemon" || true
start_daemon --keeper "$socket"
reading "after the keeper's death"

note "a keeper that is to end while there is no daemon waits for one"
kill -TERM "$daemon"
end "$daemon" 75
kill -TERM "$keeper"
waits() {
	tail -n 3 "$STORE/assetfs.log" | finds "ends when a daemon has taken what it holds"
}
wait_for waits || fail "the keeper does not wait"
start_daemon --keeper "$socket"
end "$keeper" 0
note "a daemon that is to end while there is no keeper waits for one"
kill -TERM "$daemon"
start_keeper
end "$daemon" 75
wait_for holds_it || fail "the keeper was not given the mount"
start_daemon --keeper "$socket"

note "nobody has noticed"
kill "$churn"
wait "$churn" || fail "churn: $(tail -n 5 "$T/churn")"
check_eq "connections" "$(own_connections)" "$connections"
check_eq "errors" "$("$FSSTAT" --json | jq '[.images[].errors_total] | add')" 0
"$READER" "$MNT" "$T/src" >"$T/reader" || fail "reader: $(tail -n 1 "$T/reader")"

note "what is unmounted keeps no keeper, whether the daemon came to say so or not"
umount "$MNT"
kill -KILL "$daemon"
wait "$daemon" || true
kill -TERM "$keeper"
end "$keeper" 0
