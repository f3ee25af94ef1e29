#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Further mounts of an image that is mounted: each shows all of it, and is on its own.
. "$(dirname "$0")/../support/mount_lib.sh"

mkdir -p "$T/src/sub" "$T/other"
noise 3000000 >"$T/src/large"
noise 3000 >"$T/src/sub/file"
"$ASSETPACK" build "$T/src" "$T/layout:v1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
# As the root of a machine with systemd is.
mount --bind "$T" "$T"
mount --make-shared "$T"

note "all that is left of the first mount is a directory of it"
"$ASSETFS" mount "$T/layout:v1" "$MNT"
mount --bind "$MNT/sub" "$T/other"
umount "$MNT"
"$ASSETFS" mount "$T/layout:v1" "$MNT"
"$READER" --ways shared "$MNT" "$T/src" || fail "wrong bytes"
umount "$T/other"

note "what is mounted in one is not seen in the other"
"$ASSETFS" mount "$T/layout:v1" "$T/other"
check_eq "sessions" "$("$ASSETFS" status --json | jq '.mounts | length')" 1
mount -t tmpfs none "$MNT/sub"
[[ ! -e $MNT/sub/file ]] || fail "nothing was mounted"
cmp "$T/src/sub/file" "$T/other/sub/file"
umount "$MNT/sub"
"$ASSETFS" umount "$T/other"
"$ASSETFS" umount "$MNT"
