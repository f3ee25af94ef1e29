#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The daemon is killed, upgraded, and its keeper killed, again and again while 16 processes open, read, map, stat and list files of
# two images whose objects come and go: nobody may see it.
. "$(dirname "$0")/../support/mount_lib.sh"

: "${CHURN:?}" "${NEXT_ASSETFS:?}" "${KILLS:=25}" "${UPGRADES:=10}"
SEED=${SEED:-$(date +%s)}
RANDOM=$SEED
echo "   SEED=$SEED"
# What the daemons that were killed leave to say.
expect_log 'was ended by signal 9'

for image in a b; do
	mkdir -p "$T/$image/dir"
	for i in {1..60}; do
		head -c $((i * 7001)) <(yes "small file $i of $image") >"$T/$image/small-$i"
	done
	for i in {1..6}; do
		noise $((i * 700001)) >"$T/$image/dir/medium-$i"
	done
done
# Larger than what open(2) waits for: it is read in cached mode until it is complete.
noise $((17 << 20)) >"$T/a/large"
cp "$T/a/dir/medium-4" "$T/b/same"
trees=()
for image in a b; do
	"$ASSETPACK" build "$T/$image" "$T/layout:$image" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
	mkdir "$T/mnt.$image"
	trees+=("$T/$image" "$T/mnt.$image")
done

"$ASSETFS" keeper --store "$STORE" --region-size 24M 2>>"$STORE/assetfs.log" &
wait_for status_ok || fail "daemon does not answer"
for image in a b; do
	"$ASSETFS" mount "$T/layout:$image" "$T/mnt.$image"
done
connections=$(own_connections)
"$ASSETFS" pin --floor 1M --for 3600 "$T/layout:a"
"$ASSETFS" pin "$T/layout:b"
"$ASSETFS" unpin "$T/layout:b"

note "$KILLS times kill -9"
"$CHURN" --processes 16 --seconds 1000000 --seed "$SEED" "${trees[@]}" >"$T/churn" 2>&1 &
churn=$!
for ((i = 0; i < KILLS; i++)); do
	wait_for status_ok || fail "no daemon answers after $i kills"
	pid=$(daemon_pid)
	sleep "0.$((RANDOM % 10))$((RANDOM % 10))"
	kill -0 $churn 2>/dev/null || fail "after $i kills: $(tail -n 5 "$T/churn")"
	kill -KILL "$pid"
	wait_for next_daemon || fail "no other daemon after kill $i"
done

note "$UPGRADES upgrades, to the next version and back"
cp "$NEXT_ASSETFS" "$T/next"
# What a later version may be that this one cannot go on from.
! "$ASSETFS" keeper --can-adopt=3,2 || fail "this version can go on from one that it does not know"
! "$T/next" keeper --can-adopt=3,3 || fail "so can the next one"
"$T/next" keeper --can-adopt=3,2 || fail "the next version is none"
for ((i = 0; i < UPGRADES; i++)); do
	pid=$(daemon_pid)
	"$ASSETFS" upgrade --binary "$([[ $((i % 2)) == 0 ]] && echo "$T/next" || echo "$ASSETFS")" >"$T/upgrade" ||
		fail "upgrade $i"
	check_eq "upgrade" "$(<"$T/upgrade")" "daemon $(daemon_pid) has taken over from $pid"
	kill -0 $churn 2>/dev/null || fail "after upgrade $i: $(tail -n 5 "$T/churn")"
done
"$ASSETFS" upgrade --binary "$T/next" >"$T/upgrade"
check_eq "program" "$(readlink "/proc/$(daemon_pid)/exe")" "$T/next"

note "programs that cannot take over change nothing"
pid=$(daemon_pid)
printf '#!/bin/sh\nexit 1\n' >"$T/broken"
# One that says that it can, and then does not run.
printf '#!/bin/sh\n[ "$1" = keeper ]\n' >"$T/liar"
chmod +x "$T/broken" "$T/liar"
expect_failure 1 "cannot take over" "$ASSETFS" upgrade --binary "$T/broken"
expect_failure 1 "No such file" "$ASSETFS" upgrade --binary "$T/not-there"
expect_failure 1 "Permission denied" "$ASSETFS" upgrade --binary "$T/layout/index.json"
check_eq "daemon" "$(daemon_pid)" "$pid"
expect_log 'did not get ready: back to the program before|ended with status 1'
"$ASSETFS" upgrade --binary "$T/liar" >"$T/upgrade"
check_eq "program" "$(readlink "/proc/$(daemon_pid)/exe")" "$T/next"
"$ASSETFS" upgrade --binary "$ASSETFS" >"$T/upgrade"
kill -0 $churn 2>/dev/null || fail "after upgrades: $(tail -n 5 "$T/churn")"

note "the keeper is killed, and the daemon, and that keeper, and the next daemon"
expect_log 'keeper has died|daemon has died'
for i in 1 2; do
	pid=$(daemon_pid)
	keepers=$(daemons | grep -vx "$pid")
	kill -KILL "$keepers"
	another_keeper() {
		local now
		now=$(daemons | grep -vx "$pid") && [[ -n $now && $now != "$keepers" ]] &&
			[[ $(find "/proc/$now/fd" -lname '/dev/fuse' | wc -l) == 2 ]]
	}
	wait_for another_keeper || fail "no other keeper after kill $i"
	check_eq "daemon" "$(daemon_pid)" "$pid"
	kill -KILL "$pid"
	wait_for next_daemon || fail "no other daemon after the keeper's death $i"
	kill -0 $churn 2>/dev/null || fail "after the keeper's death $i: $(tail -n 5 "$T/churn")"
done
sleep 1
kill $churn
wait $churn || fail "churn: $(tail -n 5 "$T/churn")"
tail -n 1 "$T/churn"
check_eq "connections" "$(own_connections)" "$connections"
check_eq "errors" "$("$FSSTAT" --json | jq '[.images[].errors_total] | add')" 0

check_eq "pins" "$("$ASSETFS" status --json | jq -c '[.pins[] | [.image, .floor_bytes]]')" "[[\"$T/layout:a\",1048576]]"
left=$("$ASSETFS" status --json | jq '.pins[0].seconds_left')
((left > 1800 && left < 3600)) || fail "a pin for an hour has $left s left"

note "all of it still reads, and ends"
for image in a b; do
	"$READER" "$T/mnt.$image" "$T/$image" >"$T/reader" || fail "reader of $image: $(tail -n 1 "$T/reader")"
done
# Nothing is open any more: a count that was lost or made twice would show.
wait_for all_closed || fail "files that nobody has open: $("$ASSETFS" status --json | jq -c '[.mounts[].open_files]')"
for image in a b; do
	"$ASSETFS" umount "$T/mnt.$image"
done
pid=$(daemon_pid)
kill "$(daemons | grep -vx "$pid")"
wait_for no_daemon || fail "keeper and daemon do not end"
