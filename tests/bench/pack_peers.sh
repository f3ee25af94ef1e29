#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Packing each data set, in turns, with the source in the page cache and 2 processors: assetpack
# as it is by default against mksquashfs at zstd 3, and casync, desync and mkdwarfs at zstd 3.
# Then sizes at equal level, and at the highest. $SETS, $ROUNDS and $SIZE_CHUNK choose.
LIMIT=14400
. "$(dirname "$0")/bench_lib.sh"
. "$(dirname "$0")/sets.sh"
. "$(dirname "$0")/peers.sh"

: "${ROUNDS:=3}" "${SIZE_CHUNK:=1M}"
choose_sets pack_peers
setup_peers "$T/peers"
choose_peers mksquashfs casync desync mkdwarfs

# Commands and what they start stay on two processors; there may be more.
taskset -cp "$(taskset -cp $$ | sed 's/.*: //' | awk -F '[,-]' '{ print $1 "," $1 + 1 }')" $$ >/dev/null 2>&1 ||
	echo "note: cannot choose processors"

# pack WITH TREE: seconds; what comes out is in $T/out.WITH
pack() {
	rm -rf "$T/out.$1"
	mkdir "$T/out.$1"
	sync -f "$T"
	if [[ $1 == assetpack ]]; then
		seconds "$ASSETPACK" build -j 2 --progress none "$2" "$T/out.$1/layout:v1"
	else
		seconds peer_pack "$1" "$2" "$T/out.$1" v1
	fi
}

# packed_bytes WITH
packed_bytes() {
	if [[ $1 == assetpack ]]; then
		image_bytes "$T/out.$1/layout:v1"
	else
		dir_bytes "$T/out.$1"
	fi
}

# times SET TREE
times() {
	local set=$1 tree=$2 with i m line fastest squash
	local -A seconds_of=() median_of=() bytes_of=()
	for ((i = 0; i < ROUNDS; i++)); do
		for with in assetpack "${peers[@]}"; do
			line=$(pack "$with" "$tree")
			seconds_of[$with]+=" $line"
		done
	done
	for with in assetpack "${peers[@]}"; do
		# shellcheck disable=SC2086
		median_of[$with]=$(median ${seconds_of[$with]})
		bytes_of[$with]=$(packed_bytes "$with")
	done
	squash=${median_of[mksquashfs]}
	fastest=$(for with in "${peers[@]}"; do
		[[ $with == mksquashfs ]] || echo "${median_of[$with]}"
	done | sort -g | head -n 1)
	for with in assetpack "${peers[@]}"; do
		m=${median_of[$with]}
		printf '%-10s %-12s %10s %12s %10s %10s\n' "$set" "$with" "$m" "$(mb "${bytes_of[$with]}")" \
			"$(ratio "${median_of[assetpack]}" "$m")" "$(ratio "${bytes_of[assetpack]}" "${bytes_of[$with]}" 3)"
		record pack_time --arg set "$set" --arg with "$with" --arg packages "$(set_versions "$set" 1)" \
			--argjson s "$m" --argjson b "${bytes_of[$with]}" \
			'{set: $set, with: $with, packages: $packages, seconds: $s, bytes: $b}'
	done
	goal "$set" "default size, to mksquashfs" "$(ratio "${bytes_of[assetpack]}" "${bytes_of[mksquashfs]}" 3)" 1.0
	goal "$set" "time, to mksquashfs" "$(ratio "${median_of[assetpack]}" "$squash" 3)" 1.0
	[[ -z $fastest ]] || goal "$set" "time, to the fastest of the others" "$(ratio "${median_of[assetpack]}" "$fastest" 3)" 0.5
	rm -rf "$T"/out.*
}

# goal SET WHAT RATIO GOAL: a line for the last table
goal() {
	goals+=("$(printf '%-10s %-36s %8s %8s %6s' "$@" "$(within "$3" "$4")")")
}

# sizes SET TREE: at equal level
sizes() {
	local set=$1 tree=$2 own squash r
	mkdir "$T/out.size"
	"$ASSETPACK" build --level 3 --chunk-size "$SIZE_CHUNK" --progress none "$tree" "$T/out.size/layout:v1" >/dev/null
	mksquashfs "$tree" "$T/out.squash" -b 1M -comp zstd -Xcompression-level 3 -noappend -quiet -no-progress >/dev/null
	own=$(image_bytes "$T/out.size/layout:v1")
	squash=$(stat -c %s "$T/out.squash")
	r=$(ratio "$own" "$squash" 4)
	goal "$set" "size, level 3, to mksquashfs -b 1M" "$r" 1.0
	record pack_size --arg set "$set" --arg chunk "$SIZE_CHUNK" --argjson own "$own" --argjson squash "$squash" \
		'{set: $set, level: 3, chunk_size: $chunk, bytes: $own, squashfs_1m_bytes: $squash, ratio: ($own / $squash)}'
	rm -rf "$T"/out.*
	[[ " ${peers[*]} " == *" mkdwarfs "* ]] || return 0
	highest "$set" "$tree"
}

# highest SET TREE: one run, it takes long
highest() {
	local set=$1 tree=$2 own dwarfs r
	mkdir "$T/out.size"
	"$ASSETPACK" build --level 19 --chunk-size 4M --progress none "$tree" "$T/out.size/layout:v1" >/dev/null
	mkdwarfs -i "$tree" -o "$T/out.dwarfs" -l 7 --no-progress >"$T/out" 2>&1
	own=$(image_bytes "$T/out.size/layout:v1")
	dwarfs=$(stat -c %s "$T/out.dwarfs")
	r=$(ratio "$own" "$dwarfs" 4)
	goal "$set" "size, level 19, to mkdwarfs -l7" "$r" 1.02
	record pack_size --arg set "$set" --argjson own "$own" --argjson dwarfs "$dwarfs" \
		'{set: $set, level: 19, chunk_size: "4M", bytes: $own, dwarfs_l7_bytes: $dwarfs, ratio: ($own / $dwarfs)}'
	rm -rf "$T"/out.*
}

goals=()
echo "Packing on 2 processors, medians of $ROUNDS in turns; ratios are assetpack's to the line's"
printf '%-10s %-12s %10s %12s %10s %10s\n' set with seconds MB "time ratio" "size ratio"
for set in "${sets[@]}"; do
	set_fits "$set" "$T" || continue
	unpack_set "$set" 1 "$T/tree"
	warm_up "$T/tree"
	times "$set" "$T/tree"
	sizes "$set" "$T/tree"
	rm -rf "$T/tree"
done
echo
printf '%-10s %-36s %8s %8s %6s\n' set "assetpack's" ratio goal met
printf '%s\n' "${goals[@]}"
