#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Single flight: 64 processes open the same cold file of 256 MiB at once and read a byte of each
# MiB of it; against one process, in turns. And the same, reading it
# whole: 64 copies of it, which take their time also when all is filled, as is listed beside.
#
# First byte: open(2) and one pread(2) of one byte at a random place of a cold file of 10 GiB, against
# what one chunk takes: a second byte, far from the first, of the same file. Daemon and mount are
# fresh, and the page cache is dropped after mounting. The large file is 640 blocks of 16 MiB, each
# one of 16 different ones: its chunks are as any other's, but the image is small.
LIMIT=3600
. "$(dirname "$0")/bench_lib.sh"

: "${ROUNDS:=5}" "${PROCESSES:=64}" "${BIG_GIB:=10}"
CROWD=$BUILD/tests/bench/crowd
GOAL=1.2
FIRST_GOAL_US=5000
MIB=$((1 << 20))

start_cold() {
	rm -rf "$STORE"
	mkdir "$STORE"
	"$ASSETFS" mount "$T/layout:$1" "$MNT"
	sync -f "$T"
	echo 3 >/proc/sys/vm/drop_caches
}

stop() {
	"$ASSETFS" umount "$MNT"
	wait_for no_daemon || fail "the daemon stays"
}

filled() {
	(($("$FSSTAT" --json | jq '.images[0].resident_bytes') >= $1))
}

# cold_read read|touch N: seconds, and those of the same when the file is filled
cold_read() {
	local cold warm
	start_cold flight
	cold=$("$CROWD" "$1" "$2" "$MNT/file")
	wait_for filled $((256 * MIB)) || fail "the file does not become resident"
	check_decompressed "$T/layout:flight"
	warm=$("$CROWD" "$1" "$2" "$MNT/file")
	stop
	echo "$cold $warm"
}

# flight_of read|touch WHAT
flight_of() {
	local i one=() many=() one_cold one_warm many_cold many_warm all
	for ((i = 0; i < ROUNDS; i++)); do
		one+=("$(cold_read "$1" 1)")
		many+=("$(cold_read "$1" "$PROCESSES")")
	done
	one_cold=$(column_median 1 "${one[@]}")
	one_warm=$(column_median 2 "${one[@]}")
	many_cold=$(column_median 1 "${many[@]}")
	many_warm=$(column_median 2 "${many[@]}")
	all=$(ratio "$many_cold" "$one_cold")
	echo "A cold file of 256 MiB, $2, seconds, medians of $ROUNDS in turns; each chunk was decompressed once"
	printf '%-34s %12s %12s\n' "" "cold" "filled" "1 process" "$one_cold" "$one_warm" "$PROCESSES processes" "$many_cold" "$many_warm"
	if [[ $1 == touch ]]; then
		printf '%-34s %12s %12s\n' "ratio (goal $GOAL)" "$all" "$(within "$all" $GOAL)"
	else
		printf '%-34s %12s\n' "ratio" "$all"
	fi
	record single_flight --arg how "$1" --argjson n "$PROCESSES" --argjson oc "$one_cold" --argjson ow "$one_warm" --argjson mc "$many_cold" --argjson mw "$many_warm" \
		'{how: $how, processes: $n, one_cold_seconds: $oc, one_filled_seconds: $ow, cold_seconds: $mc, filled_seconds: $mw,
			ratio: ($mc / $oc), chunks_decompressed_again: 0}'
}

single_flight() {
	mkdir "$T/src"
	"$MAKE_TREE" file "$T/src/file" $((256 * MIB))
	"$ASSETPACK" build --progress none "$T/src" "$T/layout:flight" >"$T/build.log" 2>&1
	flight_of touch "a byte of each MiB"
	echo
	flight_of read "read whole"
	rm -rf "$T/src"
}

# Print a random offset in the large file.
random_offset() {
	echo $((((RANDOM << 30) ^ (RANDOM << 15) ^ RANDOM) % (BIG_GIB << 30)))
}

first_byte() {
	local i blocks=$((BIG_GIB * 64)) lines=() overs=() over at o f d free line
	free=$(df --output=avail -B 1G "$T" | tail -n 1)
	((BIG_GIB + 2 <= free)) || skip "needs $((BIG_GIB + 2)) GiB of free disk"
	mkdir "$T/src"
	"$MAKE_TREE" file "$T/base" $((256 * MIB))
	for ((i = 0; i < blocks; i++)); do
		# shellcheck disable=SC2017 # whole numbers are meant
		dd if="$T/base" bs=16M skip=$(((i * 7 + i / 16 * 5) % 16)) count=1 status=none
	done >"$T/src/pak"
	"$ASSETPACK" build --progress none "$T/src" "$T/layout:pak" >"$T/build.log" 2>&1
	rm -rf "$T/src" "$T/base"
	for ((i = 0; i < ROUNDS * 3; i++)); do
		at=$(random_offset)
		start_cold pak
		line=$("$CROWD" bytes "$MNT/pak" "$at" $(((at + (BIG_GIB << 29) + 5 * MIB) % (BIG_GIB << 30))))
		stop
		lines+=("$line")
		read -r o f d <<<"$line"
		overs+=("$((o + f - d))")
	done
	o=$(column_median 1 "${lines[@]}")
	f=$(column_median 2 "${lines[@]}")
	d=$(column_median 3 "${lines[@]}")
	over=$(median "${overs[@]}")
	echo "First byte of a cold file of $BIG_GIB GiB, microseconds, medians of $((ROUNDS * 3)); image of $(mb "$(image_bytes "$T/layout:pak")") MB"
	printf '%-34s %12s\n' "open" "$o" "first byte" "$f" "one chunk" "$d"
	printf '%-34s %12s %12s\n' "over one chunk (goal $FIRST_GOAL_US)" "$over" "$(within "$over" $FIRST_GOAL_US)"
	record first_byte --argjson gib "$BIG_GIB" --argjson o "$o" --argjson f "$f" --argjson d "$d" --argjson over "$over" \
		'{file_gib: $gib, open_us: $o, first_byte_us: $f, one_chunk_us: $d, over_one_chunk_us: $over,
			one_chunk_is: "a second byte, half the file away, by the same descriptor"}'
}

single_flight
echo
first_byte
