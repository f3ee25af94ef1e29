#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What stays in a region that is too small: pinned images, and floors of images. And a
# region on a file system that becomes smaller than the region may be.
. "$(dirname "$0")/../support/mount_lib.sh"

for image in a b; do
	mkdir "$T/$image" "$T/mnt.$image"
	for i in {1..60}; do
		{
			echo "$image $i"
			noise 300000
		} >"$T/$image/$i"
	done
	"$ASSETPACK" build "$T/$image" "$T/layout:$image" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
done

resident() {
	"$FSSTAT" --json | jq -er ".images[] | select(.image | endswith(\":$1\")) | .resident_bytes"
}

# read_all IMAGE: every byte of its mount is right
read_all() {
	"$READER" --ways shared "$T/mnt.$1" "$T/$1" >"$T/reader" || fail "$1: $(cat "$T/reader")"
}

mount_both() {
	"$ASSETFS" mount "$T/layout:a" "$T/mnt.a"
	"$ASSETFS" mount "$T/layout:b" "$T/mnt.b"
}

# end_daemon: with its mounts
end_daemon() {
	"$ASSETFS" umount "$T/mnt.a"
	"$ASSETFS" umount "$T/mnt.b"
	stop_daemon
}

start_daemon --region-size 24M
mount_both
bytes=$("$FSSTAT" --json | jq '.images[0].bytes')

note "a pinned image stays"
read_all a
check_eq "resident bytes of a" "$(resident a)" "$bytes"
"$ASSETFS" pin "$T/layout:a"
check_eq "pins" "$("$ASSETFS" status --json | jq -r '.pins[].image')" "$T/layout:a"
"$ASSETFS" status | finds "^pinned .*:a$" || fail "status does not show the pin"
for _ in 1 2; do
	read_all b
done
check_eq "resident bytes of a" "$(resident a)" "$bytes"
decompressed=$(counter chunks_decompressed_total)
read_all a
check_eq "chunks decompressed by reading a pinned image" "$(counter chunks_decompressed_total)" "$decompressed"

note "unpinned, it goes"
"$ASSETFS" unpin "$T/layout:a"
expect_failure 1 "'.*:a' is not pinned" "$ASSETFS" unpin "$T/layout:a"
for _ in 1 2; do
	read_all b
done
check_eq "resident bytes of b" "$(resident b)" "$bytes"
(($(resident a) < bytes / 2)) || fail "a has $(resident a) bytes in a region that b needs"

note "a floor"
read_all a
"$ASSETFS" pin --floor 10M "$T/layout:a"
for _ in 1 2; do
	read_all b
done
(($(resident a) >= 10485760)) || fail "a has only $(resident a) bytes, less than its floor"
(($(resident a) < bytes)) || fail "the floor keeps all of a"

note "a region full of what is pinned is no error, but an alarm"
check_eq "alarms" "$("$FSSTAT" --json | jq .region.full_total)" 0
"$ASSETFS" unpin "$T/layout:a"
read_all a
"$ASSETFS" pin "$T/layout:a"
"$ASSETFS" pin "$T/layout:b"
read_all b
(($("$FSSTAT" --json | jq .region.full_total) > 0)) || fail "no alarm"
check_eq "errors" "$("$FSSTAT" --json | jq '[.images[].errors_total] | add')" 0
end_daemon

note "a region's file system becomes smaller"
mkdir "$T/region"
mount -t tmpfs -o size=40M none "$T/region"
start_daemon --region "$T/region" --region-size 40M
mount_both
read_all a
mount -o remount,size=24M "$T/region"
read_all b
read_all a
(($("$FSSTAT" --json | jq .region.evictions_total) > 0)) || fail "nothing has left the region"
check_eq "errors" "$("$FSSTAT" --json | jq '[.images[].errors_total] | add')" 0
end_daemon
umount "$T/region"
