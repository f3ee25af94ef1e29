#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The measured curve behind the defaults: size against processor time, by level at the default
# chunk size, and by chunk size at level 3. $SETS, $LEVELS, $CHUNKS and $ROUNDS choose.
# Writes levels.tsv and levels.svg beside the results.
LIMIT=43200
. "$(dirname "$0")/bench_lib.sh"
. "$(dirname "$0")/sets.sh"

: "${ROUNDS:=3}" "${LEVELS:=1 2 3 4 5 6 7 9 12 15 19}" "${CHUNKS:=16K 32K 64K 128K 256K 512K 1M}"
ONCE=60 # seconds: what takes longer is measured once
here=$(dirname "$(readlink -f "$0")")
tsv=${RESULTS%/*}/levels.tsv
svg=${RESULTS%/*}/levels.svg
choose_sets levels

# run KIND VALUE: adds a line to the points of KIND-VALUE, unless one was enough
run() {
	local points=$T/points/$1-$2 option=(--level "$2") line
	[[ $1 == level ]] || option=(--level 3 --chunk-size "$2")
	[[ ! -e $points ]] || awk -v most="$ONCE" '$1 > most { exit 1 }' "$points" || return 0
	rm -rf "$T/packed"
	mkdir "$T/packed"
	line=$(measured "$ASSETPACK" build -j 2 "${option[@]}" --progress none "$T/tree" "$T/packed/layout:v")
	echo "$line $(image_bytes "$T/packed/layout:v")" >>"$points"
}

# report SET KIND VALUE SOURCE_BYTES
report() {
	local lines wall cpu bytes
	mapfile -t lines <"$T/points/$2-$3"
	wall=$(column_median 1 "${lines[@]}")
	cpu=$(column_median 2 "${lines[@]}")
	bytes=$(column 4 "${lines[0]}")
	printf '%-10s %-6s %6s %12s %8s %10s %10s\n' "$1" "$2" "$3" "$(mb "$bytes")" "$(ratio "$bytes" "$4" 4)" "$wall" "$cpu"
	printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" "$bytes" "$wall" "$cpu" >>"$tsv"
	record levels --arg set "$1" --arg kind "$2" --arg value "$3" --argjson src "$4" --argjson b "$bytes" \
		--argjson wall "$wall" --argjson cpu "$cpu" --argjson runs "${#lines[@]}" \
		'{set: $set, kind: $kind, value: $value, source_bytes: $src, bytes: $b, seconds: $wall, cpu_seconds: $cpu, runs: $runs}'
}

measure_set() {
	local i value bytes
	bytes=$(dir_bytes "$T/tree")
	mkdir "$T/points"
	for ((i = 0; i < ROUNDS; i++)); do
		for value in $LEVELS; do
			run level "$value"
		done
		for value in $CHUNKS; do
			run chunk "$value"
		done
	done
	for value in $LEVELS; do
		report "$1" level "$value" "$bytes"
	done
	for value in $CHUNKS; do
		report "$1" chunk "$value" "$bytes"
	done
	rm -rf "$T/points"
}

printf 'set\tkind\tvalue\tsource_bytes\tbytes\tseconds\tcpu_seconds\n' >"$tsv"
echo "Size and time by level (default chunk size) and by chunk size (level 3), 2 jobs, medians of up to $ROUNDS in turns"
printf '%-10s %-6s %6s %12s %8s %10s %10s\n' set by value MB share seconds "CPU s"
for set in "${sets[@]}"; do
	set_fits "$set" "$T" || continue
	unpack_set "$set" 1 "$T/tree"
	warm_up "$T/tree"
	measure_set "$set"
	rm -rf "$T/tree" "$T/packed"
done
awk -f "$here/plot_levels.awk" "$tsv" >"$svg"
echo "table: $tsv; plot: $svg"
