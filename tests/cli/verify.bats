#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# verify finds what is wrong, goes on, and ends with status 3.
# shellcheck disable=SC2154
load lib

# One good layout for all tests of this file, in $GOOD.
setup_file() {
	GOOD=$BATS_FILE_TMPDIR/good
	export GOOD
	cd "$BATS_FILE_TMPDIR" || return 1
	mkdir -p src/dir/sub
	noise 1500000 >src/dir/large.bin
	seq 1 2000 >src/dir/text.txt
	echo one >src/one.txt
	ln src/one.txt src/dir/one-again.txt
	ln -s dir/text.txt src/link
	truncate -s 1000000 src/sparse
	echo end >>src/sparse
	"$ASSETPACK" build --progress none src "$GOOD:v1"
}

fresh() {
	rm -rf bad
	cp -r "$GOOD" bad
	chmod -R u+w bad
}

# damaged PATTERN: verify of ./bad ends with status 3 and a line that matches
damaged() {
	run -3 --separate-stderr "$ASSETPACK" verify ./bad:v1
	echo "$stderr"
	[[ -z $output ]]
	[[ $stderr =~ $1 ]]
	[[ $(grep -vc '^assetpack: ' <<<"$stderr") == 0 ]]
}

# lie PATTERN SQL: as damaged, for an index that was changed and has all digests right
lie() {
	fresh
	"$SUPPORT/edit_image.sh" bad:v1 sql "$2"
	damaged "$1"
}

@test "a good image has no findings" {
	run -0 --separate-stderr "$ASSETPACK" verify "$GOOD:v1"
	[[ -z $output && -z $stderr ]]
}

@test "a flipped byte in any blob is found" {
	n=0
	for blob in "$GOOD"/blobs/sha256/*; do
		fresh
		flip "bad/blobs/sha256/${blob##*/}"
		damaged "${blob##*/}|${blob:(-64):12}"
		n=$((n + 1))
	done
	((n == 5)) # image index, manifest, config, index, pack
}

@test "a flipped byte in a pack names the pack, its chunk and what suffers" {
	fresh
	flip "$(find bad/blobs/sha256 -size +1000k)"
	damaged "pack '[0-9a-f]{12}' is damaged"
	[[ $stderr =~ "chunk "[0-9]+" is damaged" ]]
	[[ $stderr == *"1 contents are incomplete, the first is 'dir/large.bin'"* ]]
}

@test "a frame without a checksum is found" {
	fresh
	pack=$(find bad/blobs/sha256 -size +1000k)
	descriptor=$(od -An -tu1 -j 4 -N 1 "$pack")
	((descriptor & 4))
	# shellcheck disable=SC2059
	printf "\\x$(printf %02x $((descriptor ^ 4)))" | dd of="$pack" bs=1 seek=4 conv=notrunc status=none
	damaged "chunk [0-9]+ is damaged: its frame has no checksum"
}

@test "packs that are short or missing are found" {
	fresh
	truncate -s -1000 "$(find bad/blobs/sha256 -size +1000k)"
	damaged "pack .* bytes instead of"
	fresh
	rm "$(find bad/blobs/sha256 -size +1000k)"
	damaged "pack .* is missing"
	[[ $stderr =~ "contents are incomplete" ]]
}

@test "cat and extract of a damaged image end with 3 and give what is good" {
	fresh
	flip "$(find bad/blobs/sha256 -size +1000k)"
	run -3 --separate-stderr "$ASSETPACK" cat ./bad:v1 dir/large.bin
	[[ $(wc -l <<<"$stderr") == 1 ]]
	[[ $("$ASSETPACK" cat ./bad:v1 one.txt) == one ]]
	run -3 --separate-stderr "$ASSETPACK" extract ./bad:v1 out
	[[ $stderr == *"dir/large.bin"* ]]
	[[ ! -e out/dir/large.bin && -z $(find out -name '.tmp-*') ]]
	cmp out/dir/text.txt "$BATS_FILE_TMPDIR/src/dir/text.txt"
	[[ $(stat -c %h out/one.txt) == 2 ]]
}

@test "lies in the tree are found" {
	lie "link count of 3" "UPDATE node SET nlink = 3 WHERE ino = (SELECT ino FROM entry WHERE name = CAST('one.txt' AS BLOB))"
	lie "does not exist|entry" "UPDATE entry SET ino = 9999 WHERE name = CAST('text.txt' AS BLOB)"
	lie "out of order|seq" "UPDATE entry SET seq = seq + 10 WHERE name = CAST('sparse' AS BLOB)"
	lie "names instead of" "UPDATE entry SET ino = 1 WHERE name = CAST('sub' AS BLOB)"
	lie "names instead of 1|names" "DELETE FROM entry WHERE name = CAST('sub' AS BLOB)"
	lie "says|entries" "UPDATE node SET size = size + 1 WHERE ino = 1"
	lie "target" "UPDATE node SET size = size + 1 WHERE target IS NOT NULL"
	lie "miscounts" "UPDATE meta SET value = value + 1 WHERE key = 'nodes'"
}

@test "lies about bytes are found" {
	lie "do not make the bytes" "UPDATE content SET digest = zeroblob(32) WHERE size > 1000000 AND size < 1400000"
	lie "its digest is another" "UPDATE chunk SET digest = zeroblob(32) WHERE chunk = 1"
	lie "seek table|index has" "UPDATE chunk SET size = size + 1 WHERE chunk = 2"
	lie "extent|content" "UPDATE extent SET chunk_offset = 4194304 WHERE offset = 0"
	lie "do not make the bytes" "DELETE FROM extent WHERE content = (SELECT content FROM content WHERE size > 1400000) AND offset = 0"
	lie "miscounts" "UPDATE meta SET value = value + 1 WHERE key = 'chunks'"
}

@test "an index that is no database is found" {
	fresh
	echo "no database" | zstd -q >fake
	"$SUPPORT/edit_image.sh" bad:v1 index fake
	damaged "not an SQLite database"
}

@test "an index blob that is a pipe is damage, and nobody waits for it" {
	fresh
	index=$("$ASSETPACK" inspect --json ./bad:v1 | grep -A1 'index.v1+zstd' | grep -o '[0-9a-f]\{64\}')
	rm "bad/blobs/sha256/$index"
	mkfifo "bad/blobs/sha256/$index"
	run -3 --separate-stderr timeout 20 "$ASSETPACK" ls ./bad:v1
	[[ $stderr == *damaged* ]]
	run -3 --separate-stderr timeout 20 "$ASSETPACK" verify ./bad:v1
}

@test "directories in two directories cannot blow up a tree" {
	path=src
	for _ in {1..25}; do
		mkdir -p "$path/a" "$path/b"
		path+=/a
	done
	build src ./bad:v1
	"$SUPPORT/edit_image.sh" bad:v1 sql "UPDATE entry SET ino = (SELECT e.ino FROM entry e
		WHERE e.parent = entry.parent AND e.name = x'61') WHERE name = x'62'"
	damaged "directory .* has 2 names"
	expect_error 3 "is in two directories" timeout 20 "$ASSETPACK" extract ./bad:v1 ./out
	run -3 --separate-stderr timeout 20 "$ASSETPACK" tree ./bad:v1
	[[ $stderr == *"is in two directories" ]]
}

@test "a pack may have frames that are no chunk of the image" {
	fresh
	path=dir/large.bin
	content="(SELECT content FROM node JOIN entry USING (ino) WHERE CAST(name AS TEXT) = 'large.bin')"
	# The file is forgotten, and with it its chunks: what is left is numbered anew.
	"$SUPPORT/edit_image.sh" bad:v1 sql "
		CREATE TEMP TABLE kept AS SELECT chunk, row_number() OVER (ORDER BY chunk) AS number FROM chunk
			WHERE chunk NOT IN (SELECT chunk FROM extent WHERE content = $content AND offset > 0);
		UPDATE meta SET value = (SELECT count(*) FROM kept) WHERE key = 'chunks';
		UPDATE meta SET value = value - (SELECT size FROM content WHERE content = $content)
			+ (SELECT length FROM extent WHERE content = $content AND offset = 0) WHERE key IN ('bytes', 'content_bytes');
		UPDATE node SET size = (SELECT length FROM extent WHERE content = $content AND offset = 0)
			WHERE content = $content;
		UPDATE content SET size = (SELECT length FROM extent WHERE content = $content AND offset = 0),
			digest = (SELECT chunk.digest FROM chunk JOIN extent USING (chunk) WHERE content = $content AND offset = 0)
			WHERE content = $content;
		DELETE FROM extent WHERE chunk NOT IN (SELECT chunk FROM kept);
		DELETE FROM chunk WHERE chunk NOT IN (SELECT chunk FROM kept);
		UPDATE extent SET chunk = (SELECT number FROM kept WHERE kept.chunk = extent.chunk);
		UPDATE chunk SET chunk = (SELECT number FROM kept WHERE kept.chunk = chunk.chunk);"
	(($("$SUPPORT/edit_image.sh" bad:v1 query "SELECT count(*) FROM chunk") < 10))
	run -0 --separate-stderr "$ASSETPACK" verify ./bad:v1
	echo "$stderr"
	[[ -z $stderr ]]
	"$ASSETPACK" cat ./bad:v1 "$path" | cmp - <(head -c "$("$ASSETPACK" cat ./bad:v1 "$path" | wc -c)" "$BATS_FILE_TMPDIR/src/$path")
	"$SUPPORT/edit_image.sh" bad:v1 sql "UPDATE chunk SET frame_offset = frame_offset + 1 WHERE chunk = 2"
	damaged "no frame where the index has chunk 2"
	fresh
	"$SUPPORT/edit_image.sh" bad:v1 sql "UPDATE chunk SET (frame_offset, frame_size, size, digest) =
		(SELECT frame_offset, frame_size, size, digest FROM chunk WHERE chunk = 1) WHERE chunk = 2"
	damaged "no frame where the index has chunk 2"
}
