#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A service manager is the keeper: the daemon is killed, and restarted as `systemctl restart` does
# it, while files are read. Where no systemd runs, manager_stub.py speaks its side of the protocol.
. "$(dirname "$0")/../support/mount_lib.sh"

: "${CHURN:?}"
SEED=${SEED:-$(date +%s)}
echo "   SEED=$SEED"
mkdir "$T/src"
for i in {1..40}; do
	noise $((i * 20011)) >"$T/src/$i"
done
"$ASSETPACK" build "$T/src" "$T/layout:v1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
"$SUPPORT/manager_stub.py" "$T/notify" "$ASSETFS" serve --store "$STORE" --region-size 64M >"$T/events" 2>>"$STORE/assetfs.log" &
manager=$!
wait_for status_ok || fail "daemon does not answer"
"$ASSETFS" mount "$T/layout:v1" "$MNT"
"$CHURN" --processes 8 --seconds 1000000 --seed "$SEED" "$T/src" "$MNT" >"$T/churn" 2>&1 &
churn=$!

# goes_on WHAT
goes_on() {
	wait_for next_daemon || fail "$1: no other daemon"
	sleep 0.2
	kill -0 $churn 2>/dev/null || fail "$1: $(tail -n 5 "$T/churn")"
}

note "killed, restarted and upgraded"
for _ in {1..5}; do
	pid=$(daemon_pid)
	kill -KILL "$pid"
	goes_on "kill"
	pid=$(daemon_pid)
	kill -USR2 $manager
	goes_on "restart"
	pid=$(daemon_pid)
	"$ASSETFS" upgrade >"$T/upgrade"
	goes_on "upgrade"
done
expect_failure 1 "service manager starts the next daemon" "$ASSETFS" upgrade --binary "$ASSETFS"
kill $churn
wait $churn || fail "churn: $(tail -n 5 "$T/churn")"
tail -n 1 "$T/churn"
check_eq "daemons that were ready" "$(grep -c '^ready ' "$T/events")" 16
check_eq "errors" "$("$FSSTAT" --json | jq '[.images[].errors_total] | add')" 0

note "what has ended is no longer stored"
"$ASSETFS" umount "$MNT"
pid=$(daemon_pid)
kill -USR2 $manager
wait_for next_daemon || fail "no other daemon"
check_eq "stored" "$(tail -n 2 "$T/events" | sed -n 's/^started [0-9]* //p')" "region control"
kill $manager
wait $manager || fail "the daemon ends with an error: $(tail -n 1 "$T/events")"
