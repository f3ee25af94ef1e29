#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What an update costs, file by file, and why.
# shellcheck disable=SC2154
load lib

# Two releases, in layout tags 1 and 2, with a file for each reason.
make_releases() {
	mkdir -p src/sub src/gone
	for name in same changed moved twin hard gone/1 gone/2; do
		noise 200000 >"src/$name"
	done
	echo small >src/mode
	ln -s here src/link
	build src ./layout:1
	noise 300000 >src/changed
	mv src/moved src/sub/renamed
	cp src/twin src/sub/twin
	rm -r src/gone
	noise 400000 >src/new
	cp src/new src/sub/new-too
	ln src/new src/sub/new-linked
	chmod 755 src/mode
	ln -sfn there src/link
	: >src/empty
	build --from ./layout:1 src ./layout:2
}

# field PATH NAME: of the file PATH in diff.json
field() {
	jq -r --arg path "$1" --arg name "$2" '.files[] | select(.path == $path)[$name]' diff.json
}

@test "each file has its reason, the costliest first" {
	make_releases
	"$ASSETPACK" diff --json ./layout:1 ./layout:2 >diff.json
	[[ $(field new reason) == new && $(field changed reason) == changed && $(field link reason) == changed ]]
	[[ $(field sub/renamed reason) == moved && $(field sub/renamed was) == moved ]]
	[[ $(field sub/twin reason) == moved && $(field sub/twin was) == twin ]]
	[[ $(field empty reason) == new && $(field empty cost) == 0 ]]
	[[ -z $(field same reason) && -z $(field gone/1 reason) ]]
	[[ $(jq -c '.files | map(.cost) == (map(.cost) | sort | reverse)' diff.json) == true ]]
	[[ $(jq -r '.files[:2] | map(.path) | join(" ")' diff.json) == "new changed" ]]
	[[ $(jq -c '[.counts.new, .counts.changed, .counts.moved, .counts.removed, .counts.unchanged]' diff.json) == "[4,2,2,3,3]" ]]
	[[ $(jq '.removed_file_bytes' diff.json) == 600000 ]]
}

@test "equal contents and hard links cost once, and moved files nothing" {
	make_releases
	"$ASSETPACK" diff --json ./layout:1 ./layout:2 >diff.json
	(($(field new cost) >= 400000 && $(field new cost) < 401000))
	[[ $(field sub/new-too cost) == 0 && $(field sub/new-linked cost) == 0 ]]
	(($(field changed cost) >= 300000 && $(field changed cost) < 301000))
	[[ $(field sub/renamed cost) == 0 && $(field sub/twin cost) == 0 ]]
	# No byte of a new chunk is left out, but for what division rounds.
	jq -e '(.files | map(.cost) | add) as $sum | $sum <= .new_chunk_bytes and $sum > .new_chunk_bytes - 10' diff.json
}

@test "totals are the blobs that the old image lacks" {
	make_releases
	"$ASSETPACK" diff --json ./layout:1 ./layout:2 >diff.json
	for tag in 1 2; do
		"$ASSETPACK" inspect --json "./layout:$tag" |
			jq -r '.images[0] | ([.] + [.configBlob] + .layers)[] | "\(.digest) \(.size)"' | sort >"blobs.$tag"
	done
	want=$(comm -13 blobs.1 blobs.2 | awk '{ sum += $2 } END { print sum }')
	[[ $(jq .update_bytes diff.json) == "$want" ]]
	[[ $(jq .dropped_bytes diff.json) == $(comm -23 blobs.1 blobs.2 | awk '{ sum += $2 } END { print sum }') ]]
	jq -e '.update_bytes == .pack_bytes + .index_bytes + .manifest_bytes' diff.json
	jq -e '.new_chunk_bytes + .kept_chunk_bytes <= .pack_bytes' diff.json
	"$ASSETPACK" diff --json ./layout:2 ./layout:2 >diff.json
	jq -e '.update_bytes == 0 and .files == [] and .dropped_bytes == 0' diff.json
}

@test "the same bytes in other chunks are re-cut" {
	mkdir src
	noise 3000000 >src/large
	build src ./layout:1
	build --chunk-size 16K src ./layout:2
	"$ASSETPACK" diff --json ./layout:1 ./layout:2 >diff.json
	[[ $(field large reason) == re-cut ]]
	(($(field large cost) > 2500000))
	jq -e '.new_chunk_bytes > 2500000' diff.json
	mv src/large src/other
	build --chunk-size 16K src ./layout:2
	"$ASSETPACK" diff --json ./layout:1 ./layout:2 >diff.json
	[[ $(field other reason) == re-cut ]]
}

@test "mode and time alone are metadata" {
	mkdir src
	noise 100000 >src/mode
	noise 100000 >src/time
	noise 100000 >src/neither
	touch -d @1000 src/*
	build --keep-mtime src ./layout:1
	chmod 600 src/mode
	touch -d @2000 src/time
	build --keep-mtime src ./layout:2
	"$ASSETPACK" diff --json ./layout:1 ./layout:2 >diff.json
	[[ $(field mode reason) == metadata && $(field time reason) == metadata && -z $(field neither reason) ]]
	jq -e '.update_bytes > 0 and .pack_bytes == 0' diff.json
}

@test "extended attributes alone are metadata" {
	mkdir src
	echo x >src/xattr
	build --xattrs src ./layout:1
	setfattr -n user.kind -v rock src/xattr 2>/dev/null || skip "no xattrs on this file system"
	build --xattrs src ./layout:2
	setfattr -n user.kind -v wood src/xattr
	build --xattrs src ./layout:3
	for tag in 1 2; do
		"$ASSETPACK" diff --json "./layout:$tag" "./layout:$((tag + 1))" >diff.json
		[[ $(jq -c '.files | map([.path, .reason])' diff.json) == '[["xattr","metadata"]]' ]]
	done
	"$ASSETPACK" diff --json ./layout:3 ./layout:3 | jq -e '.files == []'
}

@test "a directory in the place of a file, and the other way round" {
	mkdir -p a/file-now/deep b/dir-now/deep
	echo one >a/file-now/deep/one
	echo two >a/dir-now
	echo three >b/file-now
	echo four >b/dir-now/deep/four
	build a ./layout:1
	build b ./layout:2
	"$ASSETPACK" diff --json ./layout:1 ./layout:2 >diff.json
	[[ $(field file-now reason) == changed && $(field dir-now/deep/four reason) == new ]]
	[[ $(jq -c .counts.removed diff.json) == 2 ]]
}

@test "one table for people, cut where they say" {
	make_releases
	run -0 --separate-stderr "$ASSETPACK" diff -n 2 ./layout:1 ./layout:2
	[[ -z $stderr && ${lines[0]} == *COST*SIZE*REASON*PATH ]]
	[[ ${lines[1]} =~ ^\ +39[01]\.[0-9]\ KiB\ +390\.6\ KiB\ \ new\ +new$ ]]
	[[ ${lines[2]} == *changed ]]
	[[ ${lines[3]} == *" more" ]]
	run -0 "$ASSETPACK" diff -n 0 ./layout:1 ./layout:2
	[[ $output == *"sub/renamed  was moved"* && $output != *" more"* ]]
	expect_error 2 "number of lines" "$ASSETPACK" diff -n x ./layout:1 ./layout:2
	expect_error 2 "wants OLD and NEW" "$ASSETPACK" diff ./layout:1
	expect_error 1 "no image tagged 'x'" "$ASSETPACK" diff ./layout:1 ./layout:x
}

@test "names that are no text" {
	mkdir src
	build src ./layout:1
	echo x >"src/$(printf 'caf\xe9')"
	echo y >"src/$(printf 'new\nline')"
	build src ./layout:2
	"$ASSETPACK" diff --json ./layout:1 ./layout:2 >diff.json
	[[ $(jq -c '.files | map(.path) | sort' diff.json) == '["caf\\351","new\nline"]' ]]
	TERM=xterm run -0 script -qec "$ASSETPACK diff ./layout:1 ./layout:2" /dev/null
	[[ $output == *'new\012line'* && $output == *'caf\351'* ]]
}

@test "layouts and platforms of one's choice" {
	mkdir src amd64 arm64
	echo common >src/common
	echo amd64 >amd64/own
	echo arm64 >arm64/own
	build -p linux/amd64=amd64 -p linux/arm64=arm64 src ./one
	echo other >arm64/own
	build -p linux/amd64=amd64 -p linux/arm64=arm64 src ./two
	[[ $("$ASSETPACK" diff --json --platform linux/amd64 ./one ./two | jq .update_bytes) == 0 ]]
	[[ $("$ASSETPACK" diff --json --platform linux/arm64 ./one ./two | jq -r '.files[].path') == own ]]
}

@test "an index that lies is damage, not a crash" {
	make_releases
	edit="$SUPPORT/edit_image.sh"
	for lie in 'update node set content = 999 where content is not null' \
		'delete from content where content = 1' \
		'update extent set length = length + 5000000' \
		'update entry set ino = 999 where parent = 1' \
		"update chunk set pack = 9" \
		"delete from extent"; do
		rm -rf lied
		cp -r layout lied
		"$edit" ./lied:2 sql "$lie"
		run --separate-stderr "$ASSETPACK" diff ./layout:1 ./lied:2
		echo "$lie: $status: $stderr"
		# A content without extents is a file of zeros: no lie.
		[[ $status == 3 || ($lie == "delete from extent" && $status == 0) ]]
		run --separate-stderr "$ASSETPACK" diff ./lied:2 ./layout:2
		echo "$lie, as the old one: $status: $stderr"
		[[ $status == 3 || $status == 0 ]]
	done
}
