#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A release whose pack is not here, but its delta and the older release are: it mounts
# and reads as ever, by many readers at once. Without the older release's pack, what is read gives EIO.
. "$(dirname "$0")/../support/mount_lib.sh"
: "${ADD_DELTA:?}"

mkdir "$T/a"
noise 12000000 >"$T/a/big"
seq 1 700000 >"$T/a/text"
for i in {1..300}; do
	head -c $((i * 97)) <(seq "$i" 100000) >"$T/a/small-$i.txt"
done
cp -r "$T/a" "$T/b"
for at in 100000 5000000 11999000; do
	printf 'changed bytes' | dd of="$T/b/big" bs=1 seek="$at" conv=notrunc status=none
done
sed -i '300000s/.*/another line/' "$T/b/text"
echo new >"$T/b/new"
rm "$T/b/small-7.txt"
for tag in a b; do
	"$ASSETPACK" build "$T/$tag" "$T/layout:$tag" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
done
"$ADD_DELTA" "$T/layout" a b

# blob TAG KIND: file of the only layer of the kind
blob() {
	local digest
	digest=$("$ASSETPACK" inspect --json "$T/layout:$1" |
		jq -er --arg kind "$2" '[.images[0].layers[] | select(.mediaType | contains("." + $kind + "."))]
			| if length == 1 then .[0].digest else error end')
	echo "$T/layout/blobs/sha256/${digest#sha256:}"
}

pack_a=$(blob a pack)
pack_b=$(blob b pack)
delta=$(blob b delta)
(($(stat -c %s "$delta") * 10 < $(stat -c %s "$pack_b"))) || fail "the delta is not small: $(stat -c %s "$delta") bytes"

note "the delta stands in for the pack"
rm "$pack_b"
"$ASSETFS" mount "$T/layout:b" "$MNT"
start_holder "$T/b"
start_holder "$T/b"
wait_for holders_ready || fail "readers do not end"
"$READER" "$MNT" "$T/b" >"$T/reader" || fail "mounted: $(tail -n 1 "$T/reader")"
release_holders
check_decompressed "$T/layout:b"
check_log
"$ASSETFS" umount "$MNT"
wait_for no_daemon || fail "the daemon stays"

note "both releases at once, one region"
"$ASSETFS" mount "$T/layout:a" "$MNT"
mkdir "$T/mnt2"
"$ASSETFS" mount "$T/layout:b" "$T/mnt2"
"$READER" "$MNT" "$T/a" >"$T/reader" || fail "the older release: $(tail -n 1 "$T/reader")"
"$READER" "$T/mnt2" "$T/b" >"$T/reader" || fail "beside the older release: $(tail -n 1 "$T/reader")"
"$ASSETFS" umount "$MNT"
"$ASSETFS" umount "$T/mnt2"
wait_for no_daemon || fail "the daemon stays"
check_log

note "without the base's pack, too, there is a line and EIO"
expect_log 'files in them will fail|not in .*delta'
mv "$pack_a" "$T/away"
"$ASSETFS" mount "$T/layout:b" "$MNT"
grep -q '1 of 1 packs cannot be used' "$STORE/assetfs.log" || fail "nothing in the log: $(cat "$STORE/assetfs.log")"
"$READER" --list-eio --ways read "$MNT" "$T/b" >"$T/reader" || fail "wrong bytes: $(tail -n 1 "$T/reader")"
check_eq "files that give EIO" "$(grep -c '^eio ' "$T/reader")" "$(find "$T/b" -type f -size +0 | wc -l)"
grep -qE "pack '[0-9a-f]{12}': chunk .* delta '[0-9a-f]{12}'" "$STORE/assetfs.log" || fail "no line about the delta: $(cat "$STORE/assetfs.log")"
"$ASSETFS" umount "$MNT"
