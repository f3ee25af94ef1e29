#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# ls, tree, cat, stat, inspect.
# shellcheck disable=SC2154
load lib

@test "extract takes a file by a path with slashes at its end" {
	mkdir -p src/dir
	echo text >src/dir/file
	build src ./one
	"$ASSETPACK" extract ./one out dir/file//
	[[ $(ls -A out) == file && $(cat out/file) == text ]]
}

@test "ls lists a directory, or one file" {
	make_tree src
	build src ./layout
	[[ $("$ASSETPACK" ls ./layout | sort) == "$(find src -mindepth 1 -maxdepth 1 -printf "%f\n" | sort)" ]]
	[[ $("$ASSETPACK" ls ./layout deep/a) == $'b\ncopy\nhard3' ]]
	[[ $("$ASSETPACK" ls ./layout /deep/a/copy) == /deep/a/copy ]]
	run -0 "$ASSETPACK" ls -l ./layout
	[[ $output =~ "lrwxrwxrwx   1           14 1970-01-01 00:00:00 dangling -> does/not/exist" ]]
	[[ $output =~ "-rw-r--r--   3            7 1970-01-01 00:00:00 hard1" ]]
	[[ $("$ASSETPACK" ls -l ./layout modes | grep sticky) == drwxrwxrwt* ]]
}

@test "names are bytes in a pipe and escaped on a terminal" {
	mkdir src
	touch "src/$(printf 'esc\e[31m\xff')" src/日本
	build src ./layout
	[[ $("$ASSETPACK" ls ./layout | od -An -tx1 | tr -d ' \n') == "$(printf 'esc\e[31m\xff\n日本\n' | od -An -tx1 | tr -d ' \n')" ]]
	run -0 script -qec "$ASSETPACK ls ./layout" /dev/null
	[[ $output == *'esc\033[31m\377'* ]]
	[[ $output == *日本* ]]
}

@test "tree draws lines and counts" {
	mkdir -p src/a/b src/c
	echo 1 >src/a/b/file
	ln -s x src/c/link
	build src ./layout
	cat >want <<'END'
/
|-- a
|   `-- b
|       `-- file
`-- c
    `-- link -> x

3 directories, 1 files, 1 links
END
	"$ASSETPACK" tree ./layout >got
	diff want got
	[[ $(LC_ALL=C.UTF-8 "$ASSETPACK" tree ./layout a) == *"└── b"* ]]
}

@test "cat writes files one after another" {
	make_tree src
	build src ./layout
	"$ASSETPACK" cat ./layout sizes/text sizes/zeros hard1 sizes/0 >got
	cat src/sizes/text src/sizes/zeros src/hard1 src/sizes/0 | cmp - got
	expect_error 1 "the image has no 'nothing'" "$ASSETPACK" cat ./layout nothing
	expect_error 1 "'deep' is not a regular file" "$ASSETPACK" cat ./layout deep
}

@test "output that cannot be written is an error" {
	mkdir src
	echo x >src/file
	build src ./layout
	for command in "cat ./layout file" "ls ./layout" "tree ./layout" "stat ./layout" "inspect --json ./layout" "--help" "build --help"; do
		run -1 --separate-stderr bash -c "$ASSETPACK $command >/dev/full"
		[[ $stderr == "assetpack: standard output: No space left on device" ]]
	done
}

@test "stat tells sizes, and all about a file" {
	make_tree src
	build src ./layout
	run -0 "$ASSETPACK" stat ./layout
	[[ $output =~ files\ +"$(find src -type f -printf '%i\n' | sort -u | wc -l)" ]]
	[[ $output =~ "unique bytes" ]]
	run -0 "$ASSETPACK" stat -v ./layout sizes/300000
	[[ $output == *"content  sha256:$(sha256sum <src/sizes/300000 | cut -d ' ' -f 1)"* ]]
	[[ $output == *"in chunk"* ]]
	run -0 "$ASSETPACK" stat ./layout deep/link
	[[ $output == *"target   ../sizes/4096"* ]]
}

@test "inspect shows digests that the files have" {
	make_tree src
	digest=$(build src ./layout:v1)
	"$ASSETPACK" inspect --json ./layout:v1 >json
	[[ $(jq -r .digest json) == "$digest" ]]
	[[ $(jq '.images[0].config.files' json) == "$(find src -type f -printf '%i\n' | sort -u | wc -l)" ]]
	[[ $(jq '.images[0].config.directories' json) == "$(find src -type d | wc -l)" ]]
	[[ $(jq '.images[0].config.links' json) == 3 ]]
	while read -r blob size; do
		[[ $(sha256sum <"$(blob_of layout "$blob")") == "${blob#sha256:}  -" ]]
		[[ $(stat -c %s "$(blob_of layout "$blob")") == "$size" ]]
	done < <(jq -r '.images[0] | .layers[], .configBlob, {digest, size} | "\(.digest) \(.size)"' json)
	run -0 "$ASSETPACK" inspect ./layout:v1
	[[ $output == *"$digest"* ]]
}

@test "packs are plain zstd" {
	mkdir src
	echo "plain bytes" >src/file
	build src ./layout
	pack=$("$ASSETPACK" inspect --json ./layout | jq -r '.images[0].layers[1].digest')
	[[ $(zstd -dc <"$(blob_of layout "$pack")") == "plain bytes" ]]
}
