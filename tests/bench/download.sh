#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Download of a whole image with "assetpack pull", against curl that writes the same blobs to files, by the same number of
# connections, in turns: from a registry on this machine, and by way of a link of MBIT Mbit/s and a round trip of RTT ms
# (tests/support/far_link.py). What pull does besides, all digests and all on the disk, is counted; curl is counted with its files in
# the page cache, and once more with them on the disk.
LIMIT=3600
# shellcheck source=registry_lib.sh
. "$(dirname "$0")/registry_lib.sh"
. "$(dirname "$0")/bench_lib.sh"

: "${ROUNDS:=5}" "${JOBS:=4}" "${MBIT:=1000}" "${RTT:=20}"
GOAL=0.9

# list_for HOST: what curl is to get, as its configuration
list_for() {
	image_blobs "$T/layout:1" | awk -v host="$1" -v dir="$T/curled" '$1 != "images" && $1 != "manifest" {
		printf "url = \"http://%s/v2/game/blobs/%s\"\noutput = \"%s/%d\"\n", host, $2, dir, NR }' >"$T/list"
}

with_pull() {
	"$ASSETPACK" pull --progress none --jobs "$JOBS" "$1/game:1" "$T/pulled:1"
}

with_curl() {
	mkdir "$T/curled"
	curl --silent --show-error --fail --parallel --parallel-immediate --parallel-max "$JOBS" --config "$T/list"
}

with_curl_synced() {
	with_curl
	sync "$T"/curled/*
}
export -f with_pull with_curl with_curl_synced
export T JOBS

# turn WAY HOST: "SECONDS PROCESSOR_SECONDS KIB"
turn() {
	rm -rf "$T/pulled" "$T/curled"
	sync -f "$T"
	measured bash -ec "with_$1 $2"
}

# compare NAME HOST
compare() {
	local i way lines=() s c
	local -A turns=()
	list_for "$2"
	for ((i = 0; i < ROUNDS; i++)); do
		for way in pull curl curl_synced; do
			turns[$way]+=$(turn "$way" "$2")$'\n'
		done
	done
	for way in pull curl curl_synced; do
		mapfile -t lines <<<"${turns[$way]%$'\n'}"
		s=$(column_median 1 "${lines[@]}")
		c=$(column_median 2 "${lines[@]}")
		[[ $way != pull ]] || pull_s=$s
		ratio=$(ratio "$s" "$pull_s")
		printf '%-24s %-14s %9s %9s %9s %9s' "$1" "$way" "$s" "$(awk -v b="$bytes" -v s="$s" 'BEGIN { printf "%.0f", b / 1e6 / s }')" "$c" \
			"$([[ $way == pull ]] && echo - || echo "$ratio")"
		[[ $way != curl ]] || printf ' %6s %4s' "$GOAL" "$(awk -v r="$ratio" -v g="$GOAL" 'BEGIN { print (r >= g) ? "yes" : "NO" }')"
		echo
		record download --arg link "$1" --arg way "$way" --argjson jobs "$JOBS" --argjson b "$bytes" --argjson s "$s" --argjson c "$c" \
			--argjson p "$pull_s" '{link: $link, way: $way, jobs: $jobs, bytes: $b, seconds: $s, processor_seconds: $c, pull_to_it: ($s / $p)}'
	done
}

start_registry
"$ASSETPACK" build --progress none "$ASSETS" "$T/layout:1" >"$T/build.log" 2>&1 || fail "$(cat "$T/build.log")"
"$ASSETPACK" push --progress none "$T/layout:1" "$real/game:1" >"$T/out"
bytes=$(image_bytes "$T/layout:1")
warm_up "$T/real/store"
echo "Download of $(mb "$bytes") MB with $JOBS connections, medians of $ROUNDS in turns"
printf '%-24s %-14s %9s %9s %9s %9s %6s %4s\n' from with seconds MB/s cpu-s pull/it goal met
compare "this machine" "$real"
far_link "$MBIT" "$RTT"
compare "$MBIT Mbit/s, $RTT ms" "$far"
far_link_ends
