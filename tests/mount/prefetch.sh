#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# prefetch fills what it says, in the background, so that reading decompresses nothing; status
# waits for it, and says why not.
. "$(dirname "$0")/../support/mount_lib.sh"

src=$T/src
image=$T/layout:v1
mkdir "$src"
# Larger than what open fills whole.
noise 40000000 >"$src/large"
noise 3000000 >"$src/one"
noise 2000000 >"$src/two"
for i in {1..30}; do
	seq "$i" 9000 >"$src/small $i"
done
truncate -s 5000000 "$src/hole"
printf '# assetfs trace 1\n0 0 two\n20000000 2000000 large\n5 1 small 7\n0 1 gone\n' >"$T/trace"
"$ASSETPACK" build --progress none --trace "$T/trace" "$src" "$image" >/dev/null
"$ASSETPACK" build --progress none "$src" "$T/layout:plain" >/dev/null

# prefetch_of FIELD: of the last prefetch
prefetch_of() {
	"$ASSETFS" status --json | jq -r ".prefetches[-1].$1"
}

note "nothing to ask"
expect_failure 1 "no daemon serves the store" "$ASSETFS" prefetch "$image"
start_daemon
expect_failure 1 "no image is mounted" "$ASSETFS" status --wait resident
expect_failure 1 "No such file" "$ASSETFS" prefetch "$T/none:v1"
expect_failure 1 "trace '.*/src' is not a regular file" "$ASSETFS" prefetch --trace "$src" "$image"
printf 'x' >"$T/bad"
expect_failure 1 "the trace: not a trace" "$ASSETFS" prefetch --trace "$T/bad" "$image"
expect_failure 1 "the trace: not a trace" "$ASSETFS" mount --prefetch="$T/bad" "$image" "$MNT"
wait_for no_mounts || fail "mounts after a bad trace"
expect_failure 2 "usage" "$ASSETFS" prefetch --all --trace "$T/trace" "$image"
expect_failure 2 "'filled' is not valid" "$ASSETFS" status --wait filled

note "an image that is not mounted, along its own trace"
"$ASSETFS" prefetch --wait "$image"
check_eq "state" "$(prefetch_of state)" "done"
# All of two and of the small file, a part of the large one.
check_eq "bytes" "$(prefetch_of done_bytes)" $((2000000 + 2000000 + $(stat -c %s "$src/small 7")))
check_eq "total" "$(prefetch_of total_bytes)" "$(prefetch_of done_bytes)"
decompressed=$(counter chunks_decompressed_total)
((decompressed > 0)) || fail "nothing was decompressed"
"$ASSETFS" mount "$image" "$MNT"
"$ASSETFS" status --wait resident "$MNT"
cmp "$MNT/two" "$src/two"
cmp "$MNT/small 7" "$src/small 7"
check_eq "chunks decompressed for what was prefetched" "$(counter chunks_decompressed_total)" "$decompressed"
(($("$FSSTAT" --json "$MNT" | jq '.images[0].resident_bytes') < 30000000)) || fail "more than the trace was filled"

note "all of it"
"$ASSETFS" prefetch --all --wait "$MNT"
check_eq "bytes" "$(prefetch_of done_bytes)" "$(prefetch_of total_bytes)"
decompressed=$(counter chunks_decompressed_total)
diff -r "$MNT" "$src"
check_eq "chunks decompressed by reading" "$(counter chunks_decompressed_total)" "$decompressed"
check_eq "decompressed again" "$(counter chunks_decompressed_again_total)" 0
"$ASSETFS" umount "$MNT"
stop_daemon

note "along another trace, before and with the mount"
start_daemon
expect_failure 1 "not resident after 0 s: .* are filled" "$ASSETFS" status --wait resident --timeout 0 "$T/layout:plain"
printf '# assetfs trace 1\n0 0 one' >"$T/other"
"$ASSETFS" prefetch --trace "$T/other" --wait "$image"
check_eq "bytes" "$(prefetch_of done_bytes)" 3000000
printf '# assetfs trace 1\n0 1 small 1\n39999999 5 large\n' >"$T/other"
"$ASSETFS" mount --prefetch="$T/other" "$image" "$MNT"
"$ASSETFS" status --wait resident "$MNT"
check_eq "bytes" "$(prefetch_of done_bytes)" $(($(stat -c %s "$src/small 1") + 1))
"$ASSETFS" umount "$MNT"
stop_daemon

note "with the mount; without a trace it is all"
start_daemon
"$ASSETFS" mount --prefetch "$T/layout:plain" "$MNT"
"$ASSETFS" status --wait resident --timeout 600
check_eq "bytes" "$(prefetch_of done_bytes)" "$(du --apparent-size -cb "$src"/* | tail -n 1 | cut -f 1)"
decompressed=$(counter chunks_decompressed_total)
diff -r "$MNT" "$src"
check_eq "chunks decompressed by reading" "$(counter chunks_decompressed_total)" "$decompressed"
"$ASSETFS" umount "$MNT"
stop_daemon

note "a daemon that ends by itself stays until a prefetch is done; status begins one"
"$ASSETFS" mount "$image" "$MNT"
"$ASSETFS" status --wait resident "$image"
check_eq "state" "$(prefetch_of state)" "done"
"$ASSETFS" prefetch --all "$image"
"$ASSETFS" umount "$MNT"
wait_for no_daemon || fail "the daemon does not end"

note "no room"
start_daemon --region-size 20M
expect_failure 1 "not resident: the region has no room" "$ASSETFS" prefetch --all --wait "$image"
check_eq "state" "$(prefetch_of state)" full
expect_failure 1 "not resident: the region has no room" "$ASSETFS" status --wait resident "$image"
stop_daemon

note "what has left the region is no longer resident, until it is asked for"
# Room for what the trace has, or for this.
mkdir "$T/rival"
noise 30000000 >"$T/rival/file"
"$ASSETPACK" build --progress none "$T/rival" "$T/layout:rival" >/dev/null
start_daemon --region-size 48M
"$ASSETFS" prefetch --wait "$image"
"$ASSETFS" prefetch --trace "$T/trace" --wait "$T/layout:plain"
check_eq "states" "$("$ASSETFS" status --json | jq -r '[.prefetches[].state] | join(" ")')" "done done"
"$ASSETFS" prefetch --wait "$T/layout:rival"
check_eq "states" "$("$ASSETFS" status --json | jq -r '[.prefetches[].state] | join(" ")')" "evicted evicted done"
[[ $("$ASSETFS" status) == *"evicted, "*" of "*": some of it has left the region"* ]] || fail "status: $("$ASSETFS" status)"
expect_failure 1 "layout:plain is not resident: some of it has left the region" "$ASSETFS" status --wait resident "$T/layout:plain"
"$ASSETFS" status --wait resident "$image"
check_eq "state" "$(prefetch_of state)" "done"
check_eq "bytes" "$(prefetch_of done_bytes)" "$(prefetch_of total_bytes)"
"$ASSETFS" mount "$T/layout:rival" "$MNT"
expect_failure 1 "what is mounted is not resident: some of it has left the region" "$ASSETFS" status --wait resident
"$ASSETFS" umount "$MNT"
stop_daemon

note "damage"
for pack in $("$ASSETPACK" inspect --json "$image" | jq -r '.images[].layers[] | select(.mediaType | test("pack")) | .digest[7:]'); do
	truncate -s 0 "$T/layout/blobs/sha256/$pack"
done
start_daemon
expect_failure 1 "not resident: .*pack" "$ASSETFS" status --wait resident "$image"
check_eq "state" "$(prefetch_of state)" failed
stop_daemon
