#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Deltas stand in for packs that are missing; verify and inspect know them.
# shellcheck disable=SC2154
load lib

: "${ADD_DELTA:?}"

# ./images with v1 and v2 of a tree, v2 with a delta from v1. Sets delta, base and packs of both.
with_delta() {
	mkdir -p t1/dir
	noise 1500000 >t1/dir/large.bin
	seq 1 2000 >t1/dir/text.txt
	cp -r t1 t2
	printf 'other bytes' | dd of=t2/dir/large.bin bs=1 seek=700000 conv=notrunc status=none
	build t1 ./images:v1
	build t2 ./images:v2
	"$ADD_DELTA" images v1 v2
	chmod -R u+w images
	delta=$(blob_of images "$(layer v2 delta)")
	base=$(blob_of images "$("$ASSETPACK" inspect --json ./images:v1 | jq -r '.images[0].digest')")
	pack1=$(blob_of images "$(layer v1 pack)")
	pack2=$(blob_of images "$(layer v2 pack)")
}

# layer TAG KIND: digest of the first layer of the kind
layer() {
	"$ASSETPACK" inspect --json "./images:$1" |
		jq -er --arg kind "$2" '[.images[0].layers[] | select(.mediaType | contains("." + $kind + "."))][0].digest'
}

# damaged PATTERN: verify of v2 ends with status 3 and a line that matches
damaged() {
	run -3 --separate-stderr "$ASSETPACK" verify ./images:v2
	echo "$stderr"
	[[ $stderr =~ $1 ]]
}

@test "deltas are checked where their base is, and inspect lists them" {
	with_delta
	run -0 --separate-stderr "$ASSETPACK" verify ./images:v2
	[[ -z $output && -z $stderr ]]
	run -0 "$ASSETPACK" inspect ./images:v2
	[[ $output == *"delta    sha256:${delta##*/} "* ]]
	[[ $output =~ "base   sha256:${base##*/}"\ +[0-9]+\ chunks ]]
	[[ $("$ASSETPACK" inspect --json ./images:v2 | jq '.images[0].layers[2].chunks') == \
		$("$ASSETPACK" inspect --json ./images:v2 | jq '.images[0].config.chunks') ]]
}

@test "deltas without their base are a note, not a finding" {
	with_delta
	rm "$base"
	run -0 --separate-stderr "$ASSETPACK" verify ./images:v2
	[[ ${#stderr_lines[@]} == 1 ]]
	[[ $stderr == *"1 of 1 deltas could not be checked"* ]]
	"$ASSETPACK" inspect ./images:v2
}

@test "deltas that are damaged or short are found, a missing one is a note" {
	with_delta
	flip "$delta"
	damaged "delta '[0-9a-f]{12}' is damaged"
	flip "$delta"
	printf 'X' | dd of="$delta" bs=1 seek=12 conv=notrunc status=none
	damaged "delta '[0-9a-f]{12}': frame 0: "
	truncate -s -1 "$delta"
	damaged "delta .* bytes instead of"
	rm "$delta"
	run -0 --separate-stderr "$ASSETPACK" verify ./images:v2
	[[ ${#stderr_lines[@]} == 1 ]]
	[[ $stderr == *"1 of 1 deltas are not in this layout"* ]]
	"$ASSETPACK" gc ./images
	run -0 --separate-stderr "$ASSETPACK" verify ./images:v2
	run -0 "$ASSETPACK" inspect ./images:v2
	[[ $output == *"cannot be read"* ]]
}

@test "a delta of another image is found" {
	with_delta
	mkdir other
	echo other >other/file
	build other ./images:v3
	"$ADD_DELTA" images v1 v3
	"$SUPPORT/edit_image.sh" images:v2 layer 2 "$(blob_of images "$(layer v3 delta)")"
	damaged "frame 0 is no chunk of the index"
}

@test "cat and extract read deltas where a pack is missing" {
	with_delta
	rm "$pack2"
	"$ASSETPACK" extract ./images:v2 out
	diff -r t2 out
	"$ASSETPACK" cat ./images:v2 dir/large.bin | cmp - t2/dir/large.bin
	mv "$pack1" away
	run -1 --separate-stderr "$ASSETPACK" cat ./images:v2 dir/large.bin
	[[ ${#stderr_lines[@]} == 1 ]]
	[[ $stderr == *"pack '"*"': chunk "*" not in "* ]]
	mv away "$pack1"
	rm "$base"
	run -1 --separate-stderr "$ASSETPACK" cat ./images:v2 dir/large.bin
	[[ $stderr == *"its delta needs image '$(head -c 12 <<<"${base##*/}")', which is not whole here" ]]
}
