#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# One image a platform; what they have in common is stored once.
# shellcheck disable=SC2154
load lib

make_platforms() {
	mkdir -p src/lib/plugins src/common amd64/lib arm64/lib amd64/new
	noise 2000000 >src/common/large.bin
	echo common >src/common/small.txt
	echo base >src/lib/engine.txt
	noise 500000 >amd64/lib/engine.so
	noise 500000 >arm64/lib/engine.so
	echo amd64 >amd64/lib/engine.txt
	echo arm64 >arm64/lib/engine.txt
	noise 700000 >amd64/both.bin
	cp amd64/both.bin arm64/both.bin
	# A file over a directory, and a directory over a file.
	echo file >amd64/lib/plugins
	mkdir arm64/lib/engine.dir
	echo x >src/turns
	mkdir arm64/turns
	echo below >arm64/turns/below
	chmod 700 src/lib
}

packs() {
	"$ASSETPACK" inspect --json ./layout:v1 | jq -r --arg p "$1" '.images[] | select(.platform == $p)
		| .layers[] | select(.mediaType | endswith("pack.v1+zstd")).digest' | sort
}

@test "each platform's tree is the common one with its own laid over it" {
	make_platforms
	build -p linux/amd64=amd64 -p linux/arm64=arm64 src ./layout:v1
	"$ASSETPACK" verify ./layout:v1
	"$ASSETPACK" extract --platform linux/amd64 ./layout:v1 out.amd64
	"$ASSETPACK" extract --platform linux/arm64 ./layout:v1 out.arm64
	cp -a src want.amd64
	rm -r want.amd64/lib/plugins
	cp -r amd64/. want.amd64
	cp -a src want.arm64
	rm want.arm64/turns
	cp -r arm64/. want.arm64
	chmod 700 want.amd64/lib want.arm64/lib # merged directories keep the common one's mode
	same_tree want.amd64 out.amd64
	same_tree want.arm64 out.arm64
}

@test "both name the packs of what they share, and each its own" {
	make_platforms
	build -p linux/amd64=amd64 -p linux/arm64=arm64 src ./layout:v1
	shared=$(comm -12 <(packs linux/amd64) <(packs linux/arm64))
	own_amd64=$(comm -23 <(packs linux/amd64) <(packs linux/arm64))
	own_arm64=$(comm -13 <(packs linux/amd64) <(packs linux/arm64))
	[[ $(wc -w <<<"$shared $own_amd64 $own_arm64") == 3 ]]
	# The file that both overlays have is stored once, and is shared.
	(($(stat -c %s "$(blob_of layout "$shared")") > 2700000))
	(($(stat -c %s "$(blob_of layout "$own_amd64")") < 600000))
	(($(stat -c %s "$(blob_of layout "$own_arm64")") < 600000))
	run -0 "$ASSETPACK" stat ./layout:v1
	[[ $output == *"shared bytes"*"$(stat -c %s "$(blob_of layout "$shared")")"* ]]
}

@test "without platforms there is one image for all" {
	make_platforms
	build src ./layout:v1
	[[ $("$ASSETPACK" inspect --json ./layout:v1 | jq -r '.images | map(.platform) | join(" ")') == any ]]
	image_index=$(jq -r '.manifests[0].digest' layout/index.json)
	[[ $(jq -r '[.manifests[].platform.architecture] | join(" ")' "$(blob_of layout "$image_index")") == "amd64 arm64" ]]
	"$ASSETPACK" ls --platform linux/arm64 ./layout:v1 common
}

@test "a platform that the image lacks is an error that lists those it has" {
	make_platforms
	build -p linux/amd64=amd64 src ./layout:v1
	expect_error 1 "linux/amd64" "$ASSETPACK" ls --platform linux/riscv64 ./layout:v1
	expect_error 1 "linux/amd64" "$ASSETPACK" verify --platform linux/riscv64 ./layout:v1
}

@test "a tag is switched alone, and blobs in use stay" {
	make_platforms
	first=$(build src ./layout:v1)
	second=$(build -p linux/amd64=amd64 src ./layout:v2)
	third=$(build amd64 ./layout:v1)
	[[ $first != "$third" ]]
	[[ $("$ASSETPACK" inspect --json ./layout:v1 | jq -r .digest) == "$third" ]]
	[[ $("$ASSETPACK" inspect --json ./layout:v2 | jq -r .digest) == "$second" ]]
	[[ $(jq '.manifests | length' layout/index.json) == 2 ]]
	"$ASSETPACK" verify ./layout:v1
	"$ASSETPACK" verify ./layout:v2
}
