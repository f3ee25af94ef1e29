#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Building again into the layout of the last build, where files are small and share chunks.
# shellcheck disable=SC2154
load lib

# 200 files of 5,000 bytes in src, which is built to ./layout:v, and layout copied to before.
first_build() {
	mkdir -p src/dir
	noise 1000000 | split -a 3 -d -b 5000 - src/dir/
	build src ./layout:v
	cp -r layout before
}

# Some files that become longer at their end, change in the middle, at the start, or become shorter.
edit() {
	printf x >>src/dir/050
	noise 150 >>src/dir/060
	noise 3000 >>src/dir/070
	printf 'other' | dd of=src/dir/150 bs=1 seek=2500 conv=notrunc status=none
	{
		echo before
		cat src/dir/180
	} >longer
	mv longer src/dir/180
	truncate -s 4000 src/dir/100
	truncate -s 0 src/dir/007
	rm src/dir/009
	noise 100 >src/dir/new
}

# comes_back IMAGE: the image is whole, and has what src has
comes_back() {
	"$ASSETPACK" verify "$1"
	rm -rf out
	"$ASSETPACK" extract "$1" out
	diff -r src out
}

# pack_bytes LAYOUT: of all packs of the tag
pack_bytes() {
	"$ASSETPACK" inspect --json "$1" | jq '[.images[0].layers[] | select(.mediaType | contains(".pack.")) | .size] | add'
}

@test "small files that change cost what is new of them, and come back" {
	first_build
	was=$(pack_bytes ./layout:v)
	edit
	build src ./layout:v
	comes_back ./layout:v
	# 3.3 KiB are new, and what lies around them is not packed again.
	(($(pack_bytes ./layout:v) - was < 8000))
}

@test "the same change of the same image gives the same bytes, by any number of threads" {
	first_build
	edit
	for jobs in 1 2 8; do
		rm -rf layout
		cp -r before layout
		rm -f layout/.assetpack-cache*
		"$ASSETPACK" build -j "$jobs" --progress none src ./layout:v >"digest.$jobs"
	done
	cmp digest.1 digest.2
	cmp digest.1 digest.8
}

@test "an index that is built again says what one from nothing says" {
	first_build
	edit
	build src ./layout:v
	build src ./other:v
	for layout in layout other; do
		index=$("$ASSETPACK" inspect --json "./$layout:v" | jq -er '.images[0].layers[0].digest')
		zstd -qdc "$(blob_of "$layout" "$index")" >index.sqlite
		sqlite3 index.sqlite "PRAGMA integrity_check; SELECT * FROM node ORDER BY ino; SELECT * FROM entry ORDER BY parent, name;
			SELECT * FROM entry INDEXED BY entry_seq ORDER BY parent, seq; SELECT hex(digest), * FROM content ORDER BY content;
			SELECT hex(digest) FROM content INDEXED BY content_digest ORDER BY digest;
			SELECT content, sum(length) FROM extent GROUP BY content;
			SELECT key, value FROM meta WHERE key <> 'chunks'" >"$layout.txt"
	done
	cmp layout.txt other.txt
	[[ $(head -n 1 layout.txt) == ok ]]
}

@test "what is damaged of the old image is not compared, and not taken over" {
	first_build
	printf 'other' | dd of=src/dir/150 bs=1 seek=2500 conv=notrunc status=none
	pack=$("$ASSETPACK" inspect --json ./layout:v | jq -er '[.images[0].layers[] | select(.mediaType | contains(".pack."))][0].digest')
	pack=$(blob_of layout "$pack")
	chmod u+w "$pack"
	# Within the smallest chunk's size: none is spared.
	size=$(stat -c %s "$pack")
	for ((off = 1000; off + 200 < size; off += 50000)); do
		printf '\125\252\125\252' | dd of="$pack" bs=1 seek="$off" conv=notrunc status=none
	done
	run -0 --separate-stderr "$ASSETPACK" build --progress none src ./layout:v
	[[ $stderr == *"some files are not compared with the earlier image: "*damaged* ]]
	"$ASSETPACK" cat ./layout:v dir/150 | cmp - src/dir/150
}
