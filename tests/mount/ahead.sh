#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Who opens the files of a directory in order finds the next ones filled; who does not, or with
# --fill-ahead 0, fills what it opens.
. "$(dirname "$0")/../support/mount_lib.sh"

image=$T/layout:v1
EXPECTED_LOG="dir/102. of .*damaged"
size=400000
n=40
mkdir "$T/src" "$T/src/dir"
# Each a chunk of its own.
for ((i = 100; i < 100 + n; i++)); do
	noise $size >"$T/src/dir/$i"
done
"$ASSETPACK" build --progress none --chunk-size 128K "$T/src" "$image" >/dev/null

resident() {
	"$FSSTAT" --json "$MNT" | jq '.images[0].resident_bytes'
}

# are_resident N: files
are_resident() {
	(($(resident) == $1 * size))
}

note "nothing is filled ahead of files in no order"
start_daemon
"$ASSETFS" mount "$image" "$MNT"
for i in 130 120 110 100; do
	cmp "$MNT/dir/$i" "$T/src/dir/$i"
done
check_eq "files ahead" "$(counter files_ahead_total)" 0
are_resident 4 || fail "$(resident) bytes are resident"

note "after the second in order"
cmp "$MNT/dir/101" "$T/src/dir/101"
wait_for are_resident 9 || fail "$(resident) bytes are resident"
check_eq "files ahead" "$(counter files_ahead_total)" 4
hits=$(counter open_hits_total)
cmp "$MNT/dir/102" "$T/src/dir/102"
check_eq "opens of what was filled ahead" "$(counter open_hits_total)" $((hits + 1))

note "all of them, once"
for ((i = 103; i < 100 + n; i++)); do
	cmp "$MNT/dir/$i" "$T/src/dir/$i"
done
check_eq "resident" "$(resident)" $((n * size))
decompressed=$(counter bytes_decompressed_total)
check_eq "bytes decompressed" "$decompressed" $((n * size))
ahead=$(counter files_ahead_total)
((ahead > 10)) || fail "$ahead files ahead of a reader of $n"

note "nothing is left to fill"
cat "$MNT"/dir/* | cmp - <(cat "$T/src"/dir/*)
check_eq "files ahead" "$(counter files_ahead_total)" "$ahead"
"$ASSETFS" umount "$MNT"
stop_daemon

note "not when it is off"
expect_failure 2 "'x' is not valid" "$ASSETFS" serve --store "$T/none" --fill-ahead x
start_daemon --fill-ahead 0
before=$(counter files_ahead_total)
hits=$(counter open_hits_total)
"$ASSETFS" mount "$image" "$MNT"
cat "$MNT"/dir/* | cmp - <(cat "$T/src"/dir/*)
check_eq "files ahead" "$(counter files_ahead_total)" "$before"
check_eq "hits" "$(counter open_hits_total)" "$hits"
"$ASSETFS" umount "$MNT"
stop_daemon

note "a damaged file that nobody opens is no error"
start_daemon --log-level debug
before=$(counter errors_total)
# Its third chunk, of the third file.
pack=$(find "$T/layout/blobs" -type f -size +1M)
printf 'damage' | dd of="$pack" bs=1 seek=$((2 * size + 1000)) conv=notrunc status=none
"$ASSETFS" mount "$image" "$MNT"
cmp "$MNT/dir/100" "$T/src/dir/100"
cmp "$MNT/dir/101" "$T/src/dir/101"
wait_for are_resident 5 || fail "$(resident) bytes are resident"
check_eq "errors" "$(counter errors_total)" "$before"
expect_failure 1 "Input/output error" cat "$MNT/dir/102"
cmp "$MNT/dir/103" "$T/src/dir/103"
"$ASSETFS" umount "$MNT"
stop_daemon
