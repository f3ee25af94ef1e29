#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Packing the assets: assetpack against mksquashfs with the same compression, in turns,
# with the source in the page cache.
. "$(dirname "$0")/bench_lib.sh"

ROUNDS=3
cp -r "$ASSETS" "$T/src"
bytes=$(find "$T/src" -type f -printf '%s\n' | awk '{ s += $1 } END { printf "%.0f\n", s }')
find "$T/src" -type f -exec cat {} + >/dev/null

for ((i = 0; i < ROUNDS; i++)); do
	rm -rf "$T/layout" "$T/squashfs"
	pack+=("$(seconds "$ASSETPACK" build "$T/src" "$T/layout:v1")")
	squash+=("$(seconds mksquashfs "$T/src" "$T/squashfs" -comp zstd -Xcompression-level 3 -noappend -quiet -no-progress)")
done
pack_size=$(find "$T/layout" -type f -printf '%s\n' | awk '{ s += $1 } END { printf "%.0f\n", s }')
squash_size=$(stat -c %s "$T/squashfs")
ps=$(median "${pack[@]}")
ss=$(median "${squash[@]}")

echo "Packing $((bytes / 1000000)) MB of assets, medians of $ROUNDS in turns"
printf '%-34s %12s %12s %8s\n' "" "assetpack" "mksquashfs" "ratio" \
	"seconds" "$ps" "$ss" "$(ratio "$ps" "$ss")" \
	"bytes" "$pack_size" "$squash_size" "$(ratio "$pack_size" "$squash_size" 3)"
echo "(ratio below 1: assetpack is better; goals: time 2.5, size 1.0)"
record pack --argjson bytes "$bytes" --argjson ps "$ps" --argjson ss "$ss" --argjson pz "$pack_size" --argjson sz "$squash_size" \
	'{source_bytes: $bytes, seconds: $ps, squashfs_seconds: $ss, time_ratio: ($ps / $ss),
		bytes: $pz, squashfs_bytes: $sz, size_ratio: ($pz / $sz)}'
