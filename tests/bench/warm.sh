#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# One file of 256 MiB, warm: read(2) and random touches of a mapping, on the mount and on
# the local file system, in turns. The local copy is written in pieces of 2 MiB, so that its page
# cache is in folios as large as can be: the local file system at its best.
. "$(dirname "$0")/bench_lib.sh"

ROUNDS=7
mkdir "$T/src"
dd if=/dev/urandom of="$T/src/file" bs=2M count=128 iflag=fullblock status=none
"$ASSETPACK" build "$T/src" "$T/layout:v1" >"$T/build.log" 2>&1
dd if="$T/src/file" of="$T/local" bs=2M status=none
sync "$T/local"
"$ASSETFS" mount "$T/layout:v1" "$MNT"
cmp "$MNT/file" "$T/local"
resident() {
	(($("$FSSTAT" --json | jq '.images[0].resident_bytes') >= 268435456))
}
wait_for resident || fail "the file does not become resident"

for ((i = 0; i < ROUNDS; i++)); do
	read_mount+=("$("$WARM" read "$MNT/file")")
	read_local+=("$("$WARM" read "$T/local")")
	"$WARM" touch "$MNT/file" >"$T/touch.mount"
	"$WARM" touch "$T/local" >"$T/touch.local"
	touch_mount+=("$(cut -d ' ' -f 1 "$T/touch.mount")")
	touch_local+=("$(cut -d ' ' -f 1 "$T/touch.local")")
done
rm=$(median "${read_mount[@]}")
rl=$(median "${read_local[@]}")
tm=$(median "${touch_mount[@]}")
tl=$(median "${touch_local[@]}")
huge_mount=$(grep -o 'shmem_pmd_kib=[0-9]*' "$T/touch.mount" | cut -d = -f 2)
huge_local=$(grep -o 'file_pmd_kib=[0-9]*' "$T/touch.local" | cut -d = -f 2)

echo "Warm, one file of 256 MiB, medians of $ROUNDS in turns"
printf '%-34s %12s %12s %8s\n' "" "assetfs" "local" "ratio" \
	"read(2) 128 KiB, MB/s" "$rm" "$rl" "$(ratio "$rm" "$rl")" \
	"random touch of a map, ns/page" "$tm" "$tl" "$(ratio "$tl" "$tm")" \
	"of it on huge pages, KiB" "$huge_mount" "$huge_local" ""
echo "(ratio above 1: assetfs is faster; goals: read 0.85, touch 0.90)"
record warm --argjson rm "$rm" --argjson rl "$rl" --argjson tm "$tm" --argjson tl "$tl" \
	--argjson hm "$huge_mount" --argjson hl "$huge_local" \
	'{read_mb_s: $rm, local_read_mb_s: $rl, read_ratio: ($rm / $rl), touch_ns: $tm, local_touch_ns: $tl,
		touch_ratio: ($tl / $tm), huge_kib: $hm, local_huge_kib: $hl}'
"$ASSETFS" umount "$MNT"
