#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Two architectures in one image: the assets of a game for both, its programs for each; against
# what assets and programs take alone.
LIMIT=3600
. "$(dirname "$0")/bench_lib.sh"
. "$(dirname "$0")/sets.sh"

GOAL=1.02

# alone NAME TREE: bytes
alone() {
	mkdir "$T/$1"
	"$ASSETPACK" build --progress none "$2" "$T/$1/layout:v" >"$T/out"
	image_bytes "$T/$1/layout:v"
}

echo "Bytes of an image for two architectures"
printf '%-10s %12s %12s %12s %12s %8s %8s %6s\n' version "together" "shared" amd64 arm64 ratio goal met
for version in 1 2; do
	unpack_set stk $version "$T/shared"
	unpack_set bin $version "$T/programs"
	mkdir "$T/together"
	"$ASSETPACK" build --progress none -p linux/amd64="$T/programs/amd64" -p linux/arm64="$T/programs/arm64" \
		"$T/shared" "$T/together/layout:v" >"$T/out"
	both=$(image_bytes "$T/together/layout:v")
	shared=$(alone alone.shared "$T/shared")
	amd64=$(alone alone.amd64 "$T/programs/amd64")
	arm64=$(alone alone.arm64 "$T/programs/arm64")
	r=$(ratio "$both" $((shared + amd64 + arm64)) 4)
	printf '%-10s %12s %12s %12s %12s %8s %8s %6s\n' "$version" "$both" "$shared" "$amd64" "$arm64" "$r" "$GOAL" \
		"$(within "$r" "$GOAL")"
	record arch --arg packages "$(set_versions stk $version) $(set_versions bin $version)" --argjson b "$both" \
		--argjson s "$shared" --argjson x "$amd64" --argjson a "$arm64" \
		'{packages: $packages, bytes: $b, shared_bytes: $s, amd64_bytes: $x, arm64_bytes: $a, ratio: ($b / ($s + $x + $a))}'
	rm -rf "$T/shared" "$T/programs" "$T/together" "$T"/alone.*
done
