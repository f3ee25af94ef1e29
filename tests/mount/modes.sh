#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Files that are larger than what open(2) waits for change from cached mode to passthrough when they are
# complete and nobody holds them in the old way. Processes open, read, map, hold and let go of
# such files all the time, and compare what they see, while the files are filled; a fresh daemon each round.
. "$(dirname "$0")/../support/mount_lib.sh"

: "${CHURN:?}" "${ROUNDS:=2}"
SEED=${SEED:-$(date +%s)}
echo "   SEED=$SEED"
mkdir "$T/src"
for i in 1 2 3; do
	head -c $((17 << 20)) <(seq $((i * 1000000)) 9000000) >"$T/src/text-$i"
	noise $((17 << 20)) >"$T/src/noise-$i"
done
"$ASSETPACK" build "$T/src" "$T/layout:v1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"

complete() {
	(($("$FSSTAT" --json | jq '.images[0].resident_bytes') >= (6 * 17) << 20))
}

for ((round = 0; round < ROUNDS; round++)); do
	STORE=$T/store.$round
	export ASSETFS_STORE=$STORE
	mkdir "$STORE"
	start_daemon --region-size 200M
	"$ASSETFS" mount "$T/layout:v1" "$MNT"
	# While they are filled, and after that.
	for actions in 60 60; do
		"$CHURN" --processes 4 --held 1 --seconds 0 --actions "$actions" --seed $((SEED + round)) "$T/src" "$MNT" >"$T/churn" 2>&1 ||
			fail "round $round: $(tail -n 5 "$T/churn")"
		cat "$MNT"/* >/dev/null
		wait_for complete || fail "round $round: the files are not filled"
	done
	check_decompressed "$T/layout:v1"
	hits=$(counter open_hits_total)
	((hits > 0)) || fail "round $round: no open met a complete file"
	check_eq "errors" "$("$FSSTAT" --json | jq '.images[0].errors_total')" 0
	"$ASSETFS" umount "$MNT"
	stop_daemon
	check_log || exit 1
	echo "   round $round: $(tail -n 1 "$T/churn"); $hits opens met complete files"
done
