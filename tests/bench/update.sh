#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What a server that holds the old version of a data set has to load for the new one, index
# included: assetpack with chunks alone and with deltas, and others. Then the time that deltas cost.
# $SETS and $PEERS choose.
LIMIT=21600
. "$(dirname "$0")/bench_lib.sh"
. "$(dirname "$0")/sets.sh"
. "$(dirname "$0")/peers.sh"

: "${ROUNDS:=3}" "${PEERS:=casync desync composefs ostree borg restic}"
declare -A CHUNKS_GOAL=([stk]=0.5 [wesnoth]=0.9 [fgai]=0.25 [oa]=1.0 [wz]=0.95)
declare -A DELTA_GOAL=([stk]=0.33 [wesnoth]=0.33 [fgai]=0.10 [oa]=0.98 [wz]=0.75)
DELTA_TIME_GOAL=1.0
choose_sets update
setup_peers "$T/peers"
read -ra wanted <<<"$PEERS"
choose_peers "${wanted[@]}"

build() {
	"$ASSETPACK" build -j 2 --progress none "$@"
}

# new_bytes BLOBS OLD_BLOBS: of what the new image names and the old one does not, without deltas
new_bytes() {
	awk -v old="$2" '
		BEGIN { while ((getline line < old) > 0) { split(line, f, " "); held[f[2]] = 1 } }
		!held[$2] && $1 != "delta" { s += $3 }
		END { printf "%.0f\n", s }' "$1"
}

# layout_copy FROM TO: the layout with all that lies beside it; blobs never change, so they are linked
layout_copy() {
	rm -rf "$2"
	cp -al "$1" "$2"
	find "$2" -type f -links +1 ! -path '*/blobs/*' -exec sh -c 'cp -p "$1" "$1.own" && mv "$1.own" "$1"' sh {} \;
	sync -f "$2"
}

# line SET WITH BYTES RATIO GOAL
line() {
	printf '%-10s %-24s %12s %8s %8s %6s\n' "$1" "$2" "$3" "$4" "$5" "$(within "${4:-0}" "${5:--}")"
}

# others SET OLD NEW: sets best and best_peer
others() {
	local peer bytes
	best='' best_peer=''
	for peer in "${peers[@]}"; do
		bytes=$(peer_update "$peer" "$2" "$3" "$T/peer") || {
			echo "skip: $peer fails on $1: $(tail -n 1 "$T/peer.log")"
			rm -rf "$T/peer"
			continue
		}
		rm -rf "$T/peer"
		line "$1" "$peer" "$(mb "$bytes")" "" ""
		record update --arg set "$1" --arg with "$peer" --argjson b "$bytes" '{set: $set, with: $with, bytes: $b}'
		((bytes >= ${best:-bytes + 1})) || best=$bytes best_peer=$peer
	done
	[[ -n $best ]] || fail "nothing to compare with"
}

# own SET OLD NEW
own() {
	local chunks deltas c d
	mkdir "$T/packed"
	build "$2" "$T/packed/layout:v" >"$T/out"
	image_blobs "$T/packed/layout:v" >"$T/old.blobs"
	layout_copy "$T/packed" "$T/old"
	build --metadata-file "$T/metadata.json" "$3" "$T/packed/layout:v" >"$T/out"
	image_blobs "$T/packed/layout:v" >"$T/new.blobs"
	chunks=$(new_bytes "$T/new.blobs" "$T/old.blobs")
	deltas=$(jq '."assetpack.stats".delta_bytes' "$T/metadata.json")
	c=$(ratio "$chunks" "$best" 3)
	d=$(ratio "$deltas" "$best" 3)
	line "$1" "assetpack, chunks alone" "$(mb "$chunks")" "$c" "${CHUNKS_GOAL[$1]:--}"
	line "$1" "assetpack, with deltas" "$(mb "$deltas")" "$d" "${DELTA_GOAL[$1]:--}"
	echo "           (ratio to $best_peer)"
	record update --arg set "$1" --arg best "$best_peer" --argjson b "$best" --argjson c "$chunks" --argjson d "$deltas" \
		--arg old "$(set_versions "$1" 1)" --arg new "$(set_versions "$1" 2)" \
		'{set: $set, with: "assetpack", old: $old, new: $new, best: $best, best_bytes: $b, chunks_bytes: $c, deltas_bytes: $d,
			chunks_ratio: ($c / $b), deltas_ratio: ($d / $b)}'
	rm -rf "$T/packed"
}

# delta_time SET NEW: with the layout of the old version in $T/old
delta_time() {
	local i with=() without=() full=() w o f cost
	warm_up "$2"
	for ((i = 0; i < ROUNDS; i++)); do
		mkdir "$T/full"
		full+=("$(seconds build --no-deltas "$2" "$T/full/layout:v")")
		rm -rf "$T/full"
		layout_copy "$T/old" "$T/packed"
		without+=("$(seconds build --no-deltas "$2" "$T/packed/layout:v")")
		layout_copy "$T/old" "$T/packed"
		with+=("$(seconds build "$2" "$T/packed/layout:v")")
	done
	w=$(median "${with[@]}")
	o=$(median "${without[@]}")
	f=$(median "${full[@]}")
	cost=$(awk -v w="$w" -v o="$o" -v f="$f" 'BEGIN { printf "%.2f", (w - o) / f }')
	times+=("$(printf '%-10s %12s %16s %14s %14s %8s %6s' "$1" "$f" "$o" "$w" "$cost" "$DELTA_TIME_GOAL" \
		"$(within "$cost" "$DELTA_TIME_GOAL")")")
	record delta_time --arg set "$1" --argjson w "$w" --argjson o "$o" --argjson f "$f" \
		'{set: $set, full_seconds: $f, update_seconds: $o, update_with_deltas_seconds: $w, cost: (($w - $o) / $f),
			cost_to_update: (if $o > 0 then ($w - $o) / $o else null end)}'
	rm -rf "$T/packed"
}

times=()
echo "Bytes to load for the new version by who holds the old one, index included"
printf '%-10s %-24s %12s %8s %8s %6s\n' set with MB ratio goal met
for set in "${sets[@]}"; do
	set_fits "$set" "$T" || continue
	unpack_set "$set" 1 "$T/tree1"
	unpack_set "$set" 2 "$T/tree2"
	others "$set" "$T/tree1" "$T/tree2"
	own "$set" "$T/tree1" "$T/tree2"
	delta_time "$set" "$T/tree2"
	rm -rf "$T/tree1" "$T/tree2" "$T/old"
done
echo
echo "Seconds of building the new version, medians of $ROUNDS in turns; cost: what deltas take, to a full build"
printf '%-10s %12s %16s %14s %14s %8s %6s\n' set full "update, chunks" "and deltas" cost goal met
printf '%s\n' "${times[@]}"
