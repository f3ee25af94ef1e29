#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Mounts come and go: loops mount, read and unmount two images on one store, so that mounts are
# copied while their originals go away, sessions end while others begin, and the daemon ends while
# it is called. Every mount has to succeed and to show its own image.
. "$(dirname "$0")/../support/mount_lib.sh"

LOOPS=4
ROUNDS=20
for image in a b; do
	mkdir "$T/$image"
	seq "$(($(printf %d "'$image") * 1000))" 110000 >"$T/$image/text"
	for i in {1..20}; do
		echo "$image $i" >"$T/$image/$i"
	done
	"$ASSETPACK" build "$T/$image" "$T/layout:$image" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
done

# come_and_go N: a loop, on a directory of its own
come_and_go() {
	local dir=$T/mnt.$1 image i
	mkdir "$dir"
	for ((i = 0; i < ROUNDS; i++)); do
		image=a
		(((i + $1) % 3)) || image=b
		timeout "$PATIENCE" "$ASSETFS" mount "$T/layout:$image" "$dir" || fail "loop $1, round $i: mount"
		"$READER" --ways read,shared "$dir" "$T/$image" >"$T/reader.$1" || fail "loop $1, round $i: $(tail -n 1 "$T/reader.$1")"
		timeout "$PATIENCE" "$ASSETFS" umount "$dir" || fail "loop $1, round $i: umount"
	done
}

pids=()
for ((n = 0; n < LOOPS; n++)); do
	(
		trap - EXIT TERM
		come_and_go "$n"
	) &
	pids+=($!)
done
for pid in "${pids[@]}"; do
	wait "$pid" || fail "a loop has failed"
done
check_eq "mounts in the end" "$(own_mounts)" ""
wait_for no_daemon || fail "the daemon stays"
starts=$(grep -c 'serving the store' "$STORE/assetfs.log")
echo "   $((LOOPS * ROUNDS)) mounts, $starts daemons"
