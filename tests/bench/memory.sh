#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Peak of resident memory of a build: many small files, and one large file without holes, with 2 and
# 8 jobs. $FILES and $BIG_GIB make it smaller for a trial.
LIMIT=14400
. "$(dirname "$0")/bench_lib.sh"

: "${FILES:=1000000}" "${BIG_GIB:=20}"

# room GIB WHAT
room() {
	local free
	free=$(df --output=avail -B 1G "$T" | tail -n 1)
	(($1 <= free)) || {
		echo "skip: $2 needs $1 GiB of free disk, there are $((free))"
		return 1
	}
}

# peaks WHAT TREE FILES
peaks() {
	local jobs line kib limit wall
	for jobs in 2 8; do
		mkdir "$T/packed"
		line=$(measured "$ASSETPACK" build -j "$jobs" --progress none "$2" "$T/packed/layout:v")
		kib=$(column 3 "$line")
		wall=$(column 1 "$line")
		limit=$((64 * 1024 + 16 * 1024 * jobs + 200 * $3 / 1024))
		printf '%-34s %6s %10s %12s %12s %8s %6s\n' "$1" "$jobs" "$wall" "$kib" "$limit" \
			"$(ratio "$kib" "$limit")" "$(within "$kib" "$limit")"
		record memory --arg what "$1" --argjson jobs "$jobs" --argjson files "$3" --argjson kib "$kib" \
			--argjson limit "$limit" --argjson s "$wall" \
			'{what: $what, jobs: $jobs, files: $files, peak_kib: $kib, limit_kib: $limit, seconds: $s}'
		rm -rf "$T/packed"
	done
	rm -rf "$2"
}

echo "Peak of resident memory; the limit is 64 MiB + 16 MiB a job + 200 bytes a file"
printf '%-34s %6s %10s %12s %12s %8s %6s\n' source jobs seconds "peak KiB" "limit KiB" ratio met
if room $((1 + FILES * 8 / 1000000)) "a tree of $FILES files"; then
	mkdir "$T/tree"
	"$MAKE_TREE" tree "$T/tree" "$FILES"
	peaks "$FILES files of 100 to 4000 bytes" "$T/tree" "$FILES"
fi
if room $((1 + BIG_GIB * 2)) "a file of $BIG_GIB GiB"; then
	mkdir "$T/tree"
	"$MAKE_TREE" file "$T/tree/file" $((BIG_GIB << 30))
	peaks "1 file of $BIG_GIB GiB" "$T/tree" 1
fi
