#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Start of a real game server, Debian's supertuxkart, headless, on a node that has nothing, from an image with the trace of an
# earlier start in a registry that is behind a link of MBIT Mbit/s and a round trip of RTT ms (tests/support/far_link.py):
#   pull      everything with "assetpack pull", then "assetfs mount --prefetch", and the start
#   registry  "assetfs mount --prefetch" straight from the registry, and the start
# in turns. Needs what ./dev deps installs.
LIMIT=3600
if [[ -z ${ASSETFS_TEST_INSIDE:-} ]]; then
	# Outside of the namespaces: the cache directory is locked while it is filled.
	GAME=$(XDG_CACHE_HOME=${CACHE%/*} "${SUPPORT:?}/fetch_package.sh" supertuxkart) || exit 1
	export GAME
fi
# shellcheck source=registry_lib.sh
. "$(dirname "$0")/registry_lib.sh"
. "$(dirname "$0")/bench_lib.sh"
# shellcheck source=game_lib.sh
. "$(dirname "$0")/game_lib.sh"

: "${ROUNDS:=3}" "${MBIT:=200}" "${RTT:=20}"
GOAL_TIMES=5
GOAL_SHARE=0.3

# An image with the trace of a start.
make_image() {
	"$ASSETPACK" build --progress none "$data" "$T/layout:plain" >"$T/build.log" 2>&1
	"$ASSETFS" mount "$T/layout:plain" "$MNT"
	"$ASSETFS" trace record -o "$T/trace" "$MNT"
	serve_game "$MNT"
	"$ASSETFS" trace stop -o "$T/trace" "$MNT"
	end_game
	"$ASSETFS" umount "$MNT"
	wait_for no_daemon || fail "the daemon stays"
	"$ASSETPACK" build --progress none --from none --trace "$T/trace" "$data" "$T/layout:traced" >"$T/build.log" 2>&1 ||
		fail "build: $(cat "$T/build.log")"
}

start_pull() {
	"$ASSETPACK" pull --progress none "$far/game:1" "$T/pulled:1" >"$T/out"
	"$ASSETFS" mount --prefetch "$T/pulled:1" "$MNT"
	serve_game "$MNT"
}

start_registry_mount() {
	"$ASSETFS" mount --prefetch "$far/game:1" "$MNT"
	serve_game "$MNT"
}

# cold FUNCTION: milliseconds, in $ms; bytes that were fetched by the daemon, in $fetched
cold() {
	local begin
	rm -rf "$STORE" "$T/pulled"
	mkdir "$STORE"
	start_daemon --fetch-rate off
	sync -f "$T"
	echo 3 >/proc/sys/vm/drop_caches
	begin=$(date +%s%N)
	"$1"
	ms=$((($(date +%s%N) - begin) / 1000000))
	end_game
	fetched=$(counter bytes_fetched_total)
	"$ASSETFS" umount "$MNT"
	stop_daemon
}

start_registry
far_link "$MBIT" "$RTT"
make_image
"$ASSETPACK" push --progress none "$T/layout:traced" "$real/game:1" >"$T/out"
all=$(image_blobs "$T/layout:traced" | awk '{ s += $3 } END { printf "%.0f\n", s }')
pulls=() mounts=() bytes=()
for ((i = 0; i < ROUNDS; i++)); do
	cold start_pull
	pulls+=("$ms")
	cold start_registry_mount
	mounts+=("$ms")
	bytes+=("$fetched")
done
pull=$(median "${pulls[@]}")
mounted=$(median "${mounts[@]}")
came=$(median "${bytes[@]}")
echo "Cold start of the supertuxkart server from a registry, $MBIT Mbit/s, $RTT ms, medians of $ROUNDS in turns"
printf '%-22s %8s %8s %5s\n' "" "ms" "MB" "met"
printf '%-22s %8s %8s\n' "pull, then start" "$pull" "$(mb "$all")"
printf '%-22s %8s %8s\n' "straight from there" "$mounted" "$(mb "$came")"
printf '%-22s %8s %8s %5s\n' "times sooner" "$(ratio "$pull" "$mounted")" "" "$(within $GOAL_TIMES "$(ratio "$pull" "$mounted")")"
printf '%-22s %8s %8s %5s\n' "share of the bytes" "" "$(ratio "$came" "$all" 3)" "$(within "$(ratio "$came" "$all" 3)" $GOAL_SHARE)"
record registry_start --argjson pull "$pull" --argjson mounted "$mounted" --argjson bytes "$came" --argjson all "$all" \
	--argjson mbit "$MBIT" --argjson rtt "$RTT" '{mbit_per_s: $mbit, rtt_ms: $rtt, pull_ms: $pull, registry_ms: $mounted,
		fetched_bytes: $bytes, image_bytes: $all}'
leave_game
