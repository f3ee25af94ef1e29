#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What goes in comes out, for trees and edits that nobody thought of. $ROUNDS says for how
# many; $SEED repeats those of a failure, which names it.
# shellcheck disable=SC2154
load lib

# Under sanitizers all takes ten times as long.
: "${ROUNDS:=$([[ -z ${ASAN_OPTIONS:-} ]] && echo 8 || echo 2)}" "${SEED:=$RANDOM$RANDOM}"

# comes_back IMAGE TREE [OPTION]...: the image is whole and holds the tree
comes_back() {
	"$ASSETPACK" verify "$1"
	rm -rf out
	"$ASSETPACK" extract "$1" out
	random_tree list "${@:3}" "$2" >want.txt
	random_tree list "${@:3}" out >got.txt
	diff want.txt got.txt
}

# Options of a build, by the round.
options_of() {
	local all=("" "-j 1" "--chunk-size 4K" "--level 1" "--chunk-size 16K -j 3" "--chunk-size 1M" "--chunk-size 4M" "-j 8" "--level 7")
	echo "${all[$1 % ${#all[@]}]}"
}

@test "random trees come back, and so do their random edits" {
	for ((round = 0; round < ROUNDS; round++)); do
		seed=$((SEED + round))
		read -ra options < <(options_of "$round")
		echo "SEED=$seed, ${options[*]}"
		rm -rf src first layout
		random_tree make "$seed" src
		cp -a src first
		build "${options[@]}" --keep-mtime src ./layout:first
		comes_back ./layout:first src --times
		build "${options[@]}" src ./layout:v1
		comes_back ./layout:v1 src
		for edit in 1 2 3; do
			random_tree edit "$seed-$edit" src
			build "${options[@]}" --keep-mtime src ./layout:v1
			comes_back ./layout:v1 src --times
		done
		comes_back ./layout:first first --times
	done
}

@test "random trees of several platforms come back, and so do their random edits" {
	for ((round = 0; round < (ROUNDS + 3) / 4; round++)); do
		seed=$((SEED + round))
		read -ra options < <(options_of "$round")
		echo "SEED=$seed, ${options[*]}"
		rm -rf src amd64 arm64 layout
		for tree in src amd64 arm64; do
			random_tree make "$tree $seed" "$tree"
		done
		# Something that platforms share, and something that they do not.
		cp -a src/. amd64/ && random_tree edit "amd64 $seed" amd64
		for edit in 1 2; do
			build "${options[@]}" --keep-mtime -p linux/amd64=amd64 -p linux/arm64=arm64 src ./layout:v1
			"$ASSETPACK" verify ./layout:v1
			for platform in amd64 arm64; do
				rm -rf out merged
				random_tree overlay src "$platform" merged
				"$ASSETPACK" extract --platform "linux/$platform" ./layout:v1 out
				random_tree list --times merged >want.txt
				random_tree list --times out >got.txt
				diff want.txt got.txt
			done
			for tree in src amd64 arm64; do
				random_tree edit "$tree $seed-$edit" "$tree"
			done
		done
	done
}
