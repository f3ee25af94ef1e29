#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Reads and page faults of a filled file do not reach the daemon, and its mapping
# lies on huge pages. The daemon is stopped while they are made: a request to it
# would hang until the watchdog fails the test.
. "$(dirname "$0")/../support/mount_lib.sh"

IFS=.- read -r major minor _ <<<"$(uname -r)"
((major > 6 || (major == 6 && minor >= 9))) || skip "kernel is older than 6.9: no FUSE passthrough"

src=$T/src
mkdir "$src"
noise 268435456 >"$src/large"
noise 70000 >"$src/small"
"$ASSETPACK" build "$src" "$T/layout:v1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
# Memory that is free only in small pieces gives no huge pages: put it together before the region needs it.
echo 1 >/proc/sys/vm/drop_caches
echo 1 >/proc/sys/vm/compact_memory
"$ASSETFS" mount "$T/layout:v1" "$MNT"

note "fill both files"
cmp "$MNT/large" "$src/large"
cmp "$MNT/small" "$src/small"
resident() {
	(($("$FSSTAT" --json | jq '.images[0].resident_bytes') >= $1))
}
wait_for resident 268505456 || fail "the files do not become resident: $("$FSSTAT" --json)"
check_eq "passthrough in fsstat" "$("$FSSTAT" --json | jq .passthrough)" true
check_eq "passthrough in status" "$("$ASSETFS" status --json | jq .passthrough)" true

note "packs that were used are in memory no more"
cached=$(fincore -b -n -r -o RES "$T"/layout/blobs/sha256/* | awk '{ s += $1 } END { printf "%.0f", s }')
((cached < 16 << 20)) || fail "$cached bytes of the layout are in the page cache"

note "opens of filled files are hits"
opens=$(counter opens_total)
hits=$(counter open_hits_total)
for _ in {1..10}; do
	cmp "$MNT/small" "$src/small"
done
check_eq "opens" "$(counter opens_total)" $((opens + 10))
check_eq "hits" "$(counter open_hits_total)" $((hits + 10))

note "read and touch while the daemon is stopped"
mkfifo "$T/read.in" "$T/touch.in"
"$WARM" read --wait "$MNT/large" <"$T/read.in" >"$T/read.out" &
reading=$!
"$WARM" touch --wait "$MNT/large" <"$T/touch.in" >"$T/touch.out" &
touching=$!
exec {go_read}>"$T/read.in" {go_touch}>"$T/touch.in" {small}<"$MNT/small"
wait_for grep -q opened "$T/read.out" || fail "cannot open"
wait_for grep -q opened "$T/touch.out" || fail "cannot open"
pid=$(daemon_pid)
kill -STOP "$pid"
echo >&"$go_read"
echo >&"$go_touch"
# Both have ended without the daemon, or the watchdog comes.
wait "$reading" || fail "read failed"
wait "$touching" || fail "touch failed"
cmp - "$src/small" <&"$small" || fail "small file"
kill -CONT "$pid"
exec {go_read}>&- {go_touch}>&- {small}<&-
cat "$T/touch.out"

note "huge pages"
# What the kernel itself keeps in the middle of free memory may cost a few.
huge=$(sed -n 's/.*shmem_pmd_kib=\([0-9]*\).*/\1/p' "$T/touch.out")
((huge >= 262144 * 9 / 10)) || fail "only $huge KiB of 262144 are mapped by huge pages"
check_eq "huge pages in fsstat" "$("$FSSTAT" --json | jq .region.huge_bytes)" $((huge * 1024))
"$ASSETFS" umount "$MNT"
