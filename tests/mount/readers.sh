#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# 16 processes at once on a cold daemon read everything in every way; each byte is
# right, and no chunk is decompressed twice.
. "$(dirname "$0")/../support/mount_lib.sh"

seed=${SEED:-$(date +%s)}
note "seed $seed (set SEED to repeat)"
src=$T/src
mkdir -p "$src/small" "$src/medium" "$src/large"
# Text compresses, random bytes do not, the third kind is half and half.
numbers() {
	head -c "$2" <(seq "$1" 100000000)
}
for i in {1..1500}; do
	numbers $((seed % 1000 + i)) $((i * 11)) >"$src/small/$i.txt"
done
for i in {1..40}; do
	{
		noise $((i * 20011))
		numbers "$i" $((i * 30011))
	} >"$src/medium/$i.bin"
done
cp "$src/medium/40.bin" "$src/medium/same-as-40.bin"
noise 268435456 >"$src/large/256MiB"
numbers 1 50000000 >"$src/large/text"
{
	head -c 20000000 "$src/large/256MiB"
	head -c 20000000 /dev/zero
	tail -c 20000001 "$src/large/256MiB"
} >"$src/large/shares-chunks"
(cd "$src" && find . -type f -exec sha256sum {} +) >"$T/sums"

"$ASSETPACK" build "$src" "$T/layout:v1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
"$ASSETFS" mount "$T/layout:v1" "$MNT"

note "16 processes on a cold daemon"
pids=()
for i in {0..15}; do
	case $((i % 4)) in
	0) (cd "$MNT" && sha256sum --quiet -c "$T/sums" >&2) & ;;
	1) "$READER" --shuffle --seed $((seed + i)) --ways random,read "$MNT" "$src" >"$T/reader.$i" & ;;
	2) "$READER" --shuffle --seed $((seed + i)) --ways shared,random "$MNT" "$src" >"$T/reader.$i" & ;;
	3) "$READER" --shuffle --seed $((seed + i)) --ways private,shared,random,read "$MNT" "$src" >"$T/reader.$i" & ;;
	esac
	pids+=($!)
done
bad=0
for i in {0..15}; do
	wait "${pids[i]}" || {
		echo "process $i failed" >&2
		bad=1
	}
done
((bad == 0)) || fail "wrong bytes or errors; seed $seed"
check_decompressed "$T/layout:v1"
# In the background, the last requests may still be under way.
balanced() {
	"$FSSTAT" --json | jq -e '.cache | .chunk_hits_total + .chunks_decompressed_total == .chunk_requests_total' >/dev/null
}
wait_for balanced || fail "requests are not hits and decompressions: $("$FSSTAT" --json | jq -c .cache)"

# A second copy, though a compressed one: what was read is dropped. A tmpfs has nothing to drop.
if [[ $(findmnt -n -o FSTYPE --target "$T") != tmpfs ]]; then
	kept=$(fincore -nb -o RES "$T"/layout/blobs/sha256/* | awk '{ s += $1 } END { printf "%.0f\n", s }')
	all=$(cat "$T"/layout/blobs/sha256/* | wc -c)
	((kept * 10 < all)) || fail "$kept of the packs' $all bytes stay in the page cache"
fi

note "everything again, warm"
decompressed=$(counter chunks_decompressed_total)
"$READER" --seed "$seed" "$MNT" "$src" >"$T/reader.warm" || fail "warm reader"
check_eq "chunks decompressed by warm reads" "$(counter chunks_decompressed_total)" "$decompressed"
"$ASSETFS" umount "$MNT"
