#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Damaged images: a mount is refused, or a file gives EIO, with one clear line; what is
# not damaged reads as ever; the daemon lives on. One image, damaged in one way a time.
. "$(dirname "$0")/../support/mount_lib.sh"

src=$T/src
mkdir "$src"
noise 12000000 >"$src/big"
seq 1 1500000 >"$src/text"
for i in {1..300}; do
	head -c $((i * 97)) <(seq "$i" 100000) >"$src/small-$i.txt"
done
touch "$src/empty"
"$ASSETPACK" build "$src" "$T/good:v1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
layout=$T/layout
cases=0

edit() {
	"$SUPPORT/edit_image.sh" "$layout:v1" "$@"
}

# A fresh copy of the image for one case; its own store, as nothing good may be left in one.
begin() {
	note "$1"
	case_name=$1
	rm -rf "$layout"
	cp -r "$T/good" "$layout"
	STORE=$T/store.$((++cases))
	export ASSETFS_STORE=$STORE
	mkdir "$STORE"
}

# Files, one a line, with an extent in a chunk of which SQL condition $1 holds.
files_of_chunks() {
	edit query "SELECT DISTINCT CAST(entry.name AS TEXT) FROM extent JOIN chunk USING (chunk)
		JOIN node USING (content) JOIN entry USING (ino) WHERE $1 ORDER BY 1"
}

# The middle chunk of a file.
chunk_of() {
	edit query "SELECT chunk FROM extent JOIN node USING (content) JOIN entry USING (ino)
		WHERE CAST(name AS TEXT) = '$1' ORDER BY offset LIMIT 1 OFFSET
		(SELECT count(*) / 2 FROM extent JOIN node USING (content) JOIN entry USING (ino)
			WHERE CAST(name AS TEXT) = '$1')"
}

# flip FILE OFFSET: all bits of one byte
flip() {
	local byte
	byte=$(od -An -tu1 -j "$2" -N 1 "$1")
	chmod u+w "$1"
	# shellcheck disable=SC2059
	printf "\\x$(printf %02x $((byte ^ 255)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

check_case_log() {
	[[ ! -e $STORE/assetfs.log ]] || ! grep -E 'Sanitizer|runtime error|[Aa]ssertion|stack smashing' "$STORE/assetfs.log" ||
		fail "$case_name: the daemon is broken, not the image"
}

# The image must be refused, with one line that matches $1.
refused() {
	expect_failure "[13]" "$1" timeout "$PATIENCE" "$ASSETFS" mount "$layout:v1" "$MNT"
	echo "   $(cat "$T/stderr")"
	check_eq "$case_name: mounts" "$(own_mounts)" ""
	wait_for no_daemon || fail "$case_name: the daemon stays"
	check_case_log
}

# The image is refused, or mounted with some of the files $2 (lines) not readable: at
# least one of them, and no other. $1: what the line about it must match.
refused_or_partial() {
	local bad status=0
	if ! timeout "$PATIENCE" "$ASSETFS" mount "$layout:v1" "$MNT" 2>"$T/stderr"; then
		refused "$1"
		return
	fi
	for _ in 1 2; do
		"$READER" --list-eio --ways read "$MNT" "$src" >"$T/reader" || fail "$case_name: $(tail -n 1 "$T/reader")"
		sed -n 's/^eio //p' "$T/reader" | sort >"$T/eio"
		[[ -s $T/eio ]] || fail "$case_name: every file reads, the damage is not seen"
		bad=$(comm -23 "$T/eio" <(sort <<<"$2"))
		[[ -z $bad ]] || fail "$case_name: undamaged files give EIO: $(head -n 5 <<<"$bad" | tr '\n' ' ')"
	done
	# A mapping of a damaged file ends in an error or a signal, not in wrong bytes.
	(timeout "$PATIENCE" "$WARM" touch "$MNT/$(head -n 1 "$T/eio")" >"$T/stdout" 2>&1 || exit $?) 2>"$T/signal" || status=$?
	[[ $status != 0 ]] || fail "$case_name: a mapping of a damaged file reads"
	[[ $status != 124 ]] || fail "$case_name: a mapping of a damaged file hangs"
	status_ok || fail "$case_name: the daemon is gone"
	(($("$FSSTAT" --json | jq '[.images[].errors_total] | add') > 0)) || fail "$case_name: fsstat counts no error"
	grep -vE ': (serving the store|mount of) ' "$STORE/assetfs.log" | grep -E "$1" >"$T/lines" || fail "$case_name: no line in the log says '$1': $(cat "$STORE/assetfs.log")"
	echo "   $(wc -l <"$T/eio") of $(wc -l <<<"$2") files give EIO; log: $(head -n 1 "$T/lines")"
	check_case_log
	"$ASSETFS" umount "$MNT"
	wait_for no_daemon || fail "$case_name: the daemon stays"
}

for file in big text small-150.txt; do
	begin "flipped byte in a chunk of $file"
	chunk=$(chunk_of "$file")
	IFS='|' read -r pack at <<<"$(edit query "SELECT pack, frame_offset + frame_size / 2 FROM chunk WHERE chunk = $chunk")"
	flip "$(edit paths | sed -n "$((pack + 1))p")" "$at"
	refused_or_partial 'chunk|pack' "$(files_of_chunks "chunk = $chunk")"
done

begin "truncated pack"
pack_file=$(edit paths | sed -n 2p)
keep=$(($(stat -c %s "$pack_file") / 2))
truncate -s "$keep" "$pack_file"
refused_or_partial "${pack_file##*/}|pack" "$(files_of_chunks "frame_offset + frame_size > $keep")"

begin "empty pack"
truncate -s 0 "$pack_file"
refused_or_partial "${pack_file##*/}|pack" "$(files_of_chunks 1)"

begin "missing pack"
rm "$pack_file"
refused_or_partial "${pack_file##*/}|pack" "$(files_of_chunks 1)"

begin "flipped byte in the index"
index_file=$(edit paths | sed -n 1p)
flip "$index_file" $(($(stat -c %s "$index_file") / 2))
refused "${index_file##*/}|index"

begin "missing index"
rm "$index_file"
refused "${index_file##*/}|index"

begin "index that is not zstd"
head -c 100000 "$src/text" >"$T/not-zstd"
edit index "$T/not-zstd"
refused 'index|zstd'

begin "index that is not SQLite"
zstd -q -f -o "$T/not-sqlite" "$src/text"
edit index "$T/not-sqlite"
refused 'index|database'

begin "index with a trigger"
edit sql "CREATE TRIGGER t AFTER INSERT ON meta BEGIN DELETE FROM meta; END"
refused 'index|trigger|schema'

begin "index of a newer version"
edit sql "PRAGMA user_version = 2"
refused 'version'

begin "index with an extent beyond its chunk"
chunk=$(chunk_of text)
edit sql "UPDATE extent SET chunk_offset = (SELECT size FROM chunk WHERE chunk.chunk = extent.chunk) WHERE chunk = $chunk"
refused_or_partial 'extent|chunk' "$(files_of_chunks "chunk = $chunk")"

begin "index with an extent beyond its file"
edit sql "UPDATE extent SET length = length + 1 WHERE chunk = $chunk"
refused_or_partial 'extent|chunk' "$(files_of_chunks "chunk = $chunk")"

begin "index with a chunk of 1 TiB"
edit sql "UPDATE chunk SET size = 1 << 40 WHERE chunk = $chunk"
refused_or_partial 'chunk' "$(files_of_chunks "chunk = $chunk")"

begin "frame that claims 1 TiB"
edit frame-size "$chunk"
refused_or_partial 'chunk|frame' "$(files_of_chunks "chunk = $chunk")"

begin "index.json that is not JSON"
echo '{"manifests": [' >"$layout/index.json"
refused 'index.json'

begin "no damage"
"$ASSETFS" mount "$layout:v1" "$MNT"
"$READER" "$MNT" "$src" >"$T/reader" || fail "the good image: $(cat "$T/reader")"
"$ASSETFS" umount "$MNT"
