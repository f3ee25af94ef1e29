#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Building again what is in the layout already: nothing changed, and a byte appended to every
# hundredth file, against a full build into a new layout. $SETS and $ROUNDS choose.
LIMIT=7200
. "$(dirname "$0")/bench_lib.sh"
. "$(dirname "$0")/sets.sh"

: "${ROUNDS:=3}"
SAME_GOAL=0.05
TOUCHED_GOAL=0.10
choose_sets rebuild

build() {
	"$ASSETPACK" build -j 2 --progress none "$T/src" "$T/packed/layout:v"
}

# touch_files: a byte to every 100th file
touch_files() {
	find "$T/src" -type f -print0 | sort -z | awk 'BEGIN { RS = ORS = "\0" } NR % 100 == 0' |
		xargs -0 sh -c 'for f; do printf x >>"$f"; done' sh
}

blob_names() {
	find "$T/packed/layout/blobs" -type f -printf '%f\n' | sort
}

measure_set() {
	local i full=() same=() touched=() f s t
	(($(find "$T/src" -type f | wc -l) >= 100)) || {
		echo "skip: $1 has fewer than 100 files"
		return
	}
	for ((i = 0; i < ROUNDS; i++)); do
		rm -rf "$T/packed"
		mkdir "$T/packed"
		sync -f "$T"
		# Files that have just changed may change again unseen: a build does not trust them.
		sleep 3
		full+=("$(seconds build)")
		cp "$T/out" "$T/digest"
		blob_names >"$T/before"
		same+=("$(seconds build)")
		cmp -s "$T/out" "$T/digest" || fail "$1: nothing changed, and the digest is another"
		blob_names | cmp -s - "$T/before" || fail "$1: nothing changed, and there are new blobs"
		touch_files
		touched+=("$(seconds build)")
	done
	f=$(median "${full[@]}")
	s=$(ratio "$(median "${same[@]}")" "$f" 3)
	t=$(ratio "$(median "${touched[@]}")" "$f" 3)
	printf '%-10s %-26s %10s %8s %8s %6s\n' \
		"$1" full "$f" "" "" "" \
		"$1" "nothing changed" "$(median "${same[@]}")" "$s" "$SAME_GOAL" "$(within "$s" "$SAME_GOAL")" \
		"$1" "1 % of the files touched" "$(median "${touched[@]}")" "$t" "$TOUCHED_GOAL" "$(within "$t" "$TOUCHED_GOAL")"
	record rebuild --arg set "$1" --argjson f "$f" --argjson s "$s" --argjson t "$t" \
		'{set: $set, full_seconds: $f, same_ratio: $s, touched_ratio: $t}'
}

echo "Building again, source in the page cache, medians of $ROUNDS in turns"
printf '%-10s %-26s %10s %8s %8s %6s\n' set build seconds ratio goal met
for set in "${sets[@]}"; do
	set_fits "$set" "$T" || continue
	unpack_set "$set" 1 "$T/src"
	warm_up "$T/src"
	measure_set "$set"
	rm -rf "$T/src" "$T/packed"
done
