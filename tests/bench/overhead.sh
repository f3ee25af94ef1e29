#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What watching costs: reading with a daemon that serves metrics and is scraped every second, against
# one that does neither, in turns; each round with two fresh daemons, the other one first than in the
# round before. The game's assets and 10,000 files of 4 to 16 KiB:
#   cold  everything, by 2 processes that share the files; page cache dropped, daemon just started
#   tree  all of it in memory, as `warm` reads it
#   open  the 10,000 files, opened, read and closed in random order, in memory
#
# ROUNDS (15); PASSES: so many times in a row the last two (10)
LIMIT=7200
. "$(dirname "$0")/bench_lib.sh"

: "${ROUNDS:=15}" "${PASSES:=10}"
GOAL=1.01
mkdir -p "$T/src/many"
cp -r "$ASSETS" "$T/src/tree"
"$MAKE_TREE" tree "$T/src/many" 10000 4096 16384
"$ASSETPACK" build --progress none "$T/src" "$T/layout:v1" >"$T/build.log" 2>&1 || fail "build: $(<"$T/build.log")"

# scrape PORT: every second, until it is killed
scrape() {
	local http n=0
	while :; do
		exec {http}<>"/dev/tcp/127.0.0.1/$1"
		printf 'GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n' >&"$http"
		grep -q '^assetfs_opens_total ' <&"$http" || exit 1
		exec {http}>&-
		echo $((n += 1)) >"$T/scrapes"
		sleep 1
	done
}

share_files() {
	(cd "$1" && find . -type f -print0 | sort -z | xargs -0 -P 2 -n 128 cat >/dev/null)
}

# again COMMAND...: PASSES times
again() {
	local i
	for ((i = 0; i < PASSES; i++)); do
		"$@"
	done
}

# sample WHAT: one of each test, to $T/TEST.WHAT
sample() {
	local scraper='' options=()
	[[ $1 == plain ]] || options=(--metrics 127.0.0.1:0)
	: >"$STORE/assetfs.log"
	start_daemon "${options[@]}"
	"$ASSETFS" mount --small-files=off "$T/layout:v1" "$MNT"
	if [[ $1 == watched ]]; then
		scrape "$(sed -n 's/.*metrics at .*, port \([0-9]*\)$/\1/p' "$STORE/assetfs.log")" &
		scraper=$!
	fi
	sync -f "$T"
	echo 3 >/proc/sys/vm/drop_caches
	seconds share_files "$MNT" >>"$T/cold.$1"
	seconds again "$WARM" tree "$MNT" >>"$T/tree.$1"
	seconds again "$WARM" open "$MNT/many" >>"$T/open.$1"
	if [[ -n $scraper ]]; then
		kill "$scraper" || fail "the daemon was not scraped"
		wait "$scraper" || true
	fi
	"$ASSETFS" umount "$MNT"
	kill "$daemon"
	wait "$daemon" || fail "the daemon ended with an error"
	rm -f "$STORE/stats"
}

# median_of TEST WHAT
median_of() {
	local samples
	mapfile -t samples <"$T/$1.$2"
	median "${samples[@]}"
}

# spread TEST WHAT: half of the samples lie so far apart, as a part of their median: what noise can be
spread() {
	sort -g "$T/$1.$2" | awk '{ v[NR] = $1 } END { printf "%.3f", (v[int((3 * NR + 3) / 4)] - v[int((NR + 3) / 4)]) / v[int((NR + 1) / 2)] }'
}

report() {
	local plain watched r
	plain=$(median_of "$1" plain)
	watched=$(median_of "$1" watched)
	r=$(ratio "$watched" "$plain" 4)
	printf '%-6s %12s %12s %8s %6s %5s %8s\n' "$1" "$plain" "$watched" "$r" $GOAL "$(within "$r" $GOAL)" "$(spread "$1" plain)"
	record overhead --arg test "$1" --argjson plain "$plain" --argjson watched "$watched" --argjson spread "$(spread "$1" plain)" \
		--argjson rounds "$ROUNDS" --argjson scrapes "$(<"$T/scrapes")" \
		'{test: $test, seconds: $plain, watched_seconds: $watched, ratio: ($watched / $plain), spread: $spread, rounds: $rounds,
			scrapes_in_last_round: $scrapes}'
}

for ((i = 0; i < ROUNDS; i++)); do
	if ((i % 2)); then
		sample watched
		sample plain
	else
		sample plain
		sample watched
	fi
done
echo "Metrics and a scrape each second against neither; seconds, medians of $ROUNDS in turns"
printf '%-6s %12s %12s %8s %6s %5s %8s\n' "" without with ratio goal met spread
for test in cold tree open; do
	report $test
done
echo "(spread: of the middle half of the samples without, to their median; a ratio is no finer than that)"
