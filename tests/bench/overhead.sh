#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What watching costs: reading with a daemon that serves metrics and is scraped every second, against
# one that does neither. Both run at the same time and are read from in turns, the other one first
# than the time before; nobody scrapes while the plain one is. The game's assets and 10,000 files of
# 4 to 16 KiB:
#   cold  everything, by 2 processes that share the files; page cache dropped, daemon just started
#   tree  all of it in memory, as `warm` reads it
#   open  the 10,000 files, opened, read and closed in random order, in memory
#
# ROUNDS (15) with daemons of their own; PASSES (6): so often the last two in each round
LIMIT=7200
. "$(dirname "$0")/bench_lib.sh"

: "${ROUNDS:=15}" "${PASSES:=6}"
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

# of WHAT: the daemon that commands are for
of() {
	STORE=$T/store.$1
	export ASSETFS_STORE=$STORE
}

# begin WHAT: a daemon that has nothing, with its mount
begin() {
	local options=()
	of "$1"
	[[ $1 == plain ]] || options=(--metrics 127.0.0.1:0)
	rm -rf "$STORE"
	mkdir -p "$STORE" "$T/mnt.$1"
	start_daemon "${options[@]}"
	daemons[$1]=$daemon
	"$ASSETFS" mount --small-files=off "$T/layout:v1" "$T/mnt.$1"
}

end() {
	of "$1"
	"$ASSETFS" umount "$T/mnt.$1"
	kill "${daemons[$1]}"
	wait "${daemons[$1]}" || fail "the daemon ended with an error"
}

# sample TEST WHAT COMMAND...: to $T/TEST.WHAT
sample() {
	kill -"$([[ $2 == plain ]] && echo STOP || echo CONT)" "$scraper" || fail "the daemon was not scraped"
	seconds "${@:3}" >>"$T/$1.$2"
}

cold() {
	sync -f "$T"
	echo 3 >/proc/sys/vm/drop_caches
	sample cold "$1" share_files "$T/mnt.$1"
}

# in_turns FUNCTION: for both, the other one first than the time before
turn=0
in_turns() {
	local order=(plain watched)
	((turn++ % 2)) && order=(watched plain)
	for what in "${order[@]}"; do
		"$1" "$what"
	done
}

warm() {
	sample tree "$1" "$WARM" tree "$T/mnt.$1"
	sample open "$1" "$WARM" open "$T/mnt.$1/many"
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

declare -A daemons
for ((i = 0; i < ROUNDS; i++)); do
	begin plain
	begin watched
	scrape "$(sed -n 's/.*metrics at .*, port \([0-9]*\)$/\1/p' "$T/store.watched/assetfs.log")" &
	scraper=$!
	in_turns cold
	for ((pass = 0; pass < PASSES; pass++)); do
		in_turns warm
	done
	kill -CONT $scraper
	kill $scraper || fail "the daemon was not scraped"
	wait $scraper || true
	end plain
	end watched
done
echo "Metrics and a scrape each second against neither; seconds, medians of $ROUNDS (cold) and $((ROUNDS * PASSES)) in turns"
printf '%-6s %12s %12s %8s %6s %5s %8s\n' "" without with ratio goal met spread
for test in cold tree open; do
	report $test
done
echo "(spread: of the middle half of the samples without, to their median; a ratio is no finer than that)"
