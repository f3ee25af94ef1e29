#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Three releases, each built from the one before: files of the later ones consist of parts of old
# chunks and of new ones. All are mounted; every byte is right, and no chunk is decompressed twice.
. "$(dirname "$0")/../support/mount_lib.sh"

mkdir -p "$T/1/small"
noise 30000000 >"$T/1/big"
seq 1 2000000 >"$T/1/text"
for i in {1..800}; do
	head -c $((i * 53)) <(seq "$i" 100000) >"$T/1/small/$i.txt"
done
# The next release: bytes changed, inserted and removed in large files, small ones edited, moved, added.
cp -r "$T/1" "$T/2"
for at in 100000 5000000 20000001; do
	printf 'changed bytes' | dd of="$T/2/big" bs=1 seek="$at" conv=notrunc status=none
done
sed -i '300000s/.*/another line/; 900000,901000d' "$T/2/text"
for i in {1..800..3}; do
	sed -i '2s/.*/edited/' "$T/2/small/$i.txt"
done
mv "$T/2/small/5.txt" "$T/2/moved"
cp -r "$T/2" "$T/3"
{
	head -c 12345678 "$T/2/big"
	echo inserted
	tail -c +12345679 "$T/2/big"
} >"$T/3/big"
for i in {2..800..3}; do
	echo appended >>"$T/3/small/$i.txt"
done
chunks=0
from=none
for release in 1 2 3; do
	"$ASSETPACK" build --from "$from" --metadata-file "$T/metadata.json" "$T/$release" "$T/layout:$release" \
		>"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
	chunks=$((chunks + $(jq '."assetpack.stats".new_chunks' "$T/metadata.json")))
	from=$T/layout:$release
	"$ASSETPACK" verify "$T/layout:$release" || fail "release $release"
	mkdir "$T/mnt$release"
done
parts=$("$ASSETPACK" stat -v "$T/layout:3" big | sed -n 's/^extents *//p')
((parts >= 4)) || fail "the large file of the last release has $parts extents: nothing was reused"

note "the last release alone, by several processes at once"
"$ASSETFS" mount "$T/layout:3" "$MNT"
pids=()
for seed in 1 2 3 4; do
	"$READER" --shuffle --seed $seed --ways random,shared,read "$MNT" "$T/3" >"$T/reader.$seed" &
	pids+=($!)
done
for pid in "${pids[@]}"; do
	wait "$pid" || fail "$(tail -n 1 "$T"/reader.*)"
done
check_decompressed "$T/layout:3"
"$ASSETFS" umount "$MNT"
wait_for no_daemon || fail "the daemon stays"
rm "$STORE/stats" # the next daemon would go on from it

note "all three at once, oldest first: each costs its new chunks only"
for release in 1 2 3; do
	"$ASSETFS" mount "$T/layout:$release" "$T/mnt$release"
	"$READER" "$T/mnt$release" "$T/$release" >"$T/reader" || fail "release $release: $(tail -n 1 "$T/reader")"
done
check_eq "chunks decompressed again" "$(counter chunks_decompressed_again_total)" 0
check_eq "chunks decompressed" "$(counter chunks_decompressed_total)" "$chunks"
for release in 1 2 3; do
	"$ASSETFS" umount "$T/mnt$release"
done
