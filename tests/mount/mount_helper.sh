#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# mount.assetfs, as mount(8) calls it.
. "$(dirname "$0")/../support/mount_lib.sh"

mkdir "$T/src" "$T/arm64" "$T/other" "$T/sbin"
echo common >"$T/src/file"
echo arm64 >"$T/arm64/only"
"$ASSETPACK" build -p linux/arm64="$T/arm64" "$T/src" "$T/layout:v1" >/dev/null 2>&1
HELPER=$T/sbin/mount.assetfs
ln -s "$ASSETFS" "$HELPER"

mounted() {
	own_mounts | finds -xF "$1"
}

note "as from fstab"
"$HELPER" "$T/layout:v1" "$MNT" -o rw,nofail,_netdev,x-systemd.device-timeout=9,platform=linux/arm64,store="$STORE"
check_eq "contents" "$(cat "$MNT/file" "$MNT/only" | tr '\n' ' ')" "common arm64 "
check_eq "daemon" "$("$ASSETFS" status --json --store "$STORE" | jq -r '.mounts[0].platform')" linux/arm64

note "by mount(8) itself"
# mount(8) looks for helpers in /sbin only; this mount namespace is ours.
mkdir "$T/upper" "$T/work"
if mount -t overlay overlay -o "lowerdir=/sbin,upperdir=$T/upper,workdir=$T/work" /sbin 2>/dev/null; then
	ln -sf "$ASSETFS" /sbin/mount.assetfs
	mount -t assetfs "$T/layout:v1" "$T/other" -o "ro,platform=linux/arm64,store=$STORE"
	check_eq "contents" "$(cat "$T/other/only")" arm64
	umount "$T/other"
	status=0
	mount -t assetfs "$T/layout:v1" "$T/other" -o fancy 2>"$T/stderr" || status=$?
	((status != 0)) || fail "an unknown option is taken"
	grep -q fancy "$T/stderr" || fail "message: $(cat "$T/stderr")"
	umount /sbin
fi

note "what is refused"
expect_failure 1 "unknown option 'fancy'" "$HELPER" "$T/layout:v1" "$T/other" -o ro,fancy,nofail
expect_failure 1 "platform" "$HELPER" "$T/layout:v1" "$T/other" -o platform=
expect_failure 1 "usage" "$HELPER" "$T/layout:v1"
expect_failure 32 "v9" "$HELPER" "$T/layout:v9" "$T/other" -o "store=$STORE"
expect_failure 32 "sparc" "$HELPER" "$T/layout:v1" "$T/other" -o "platform=linux/sparc,store=$STORE"
! mounted "$T/other" || fail "mounted after all"

expect_failure 32 "'$T/key': No such file" "$HELPER" "$T/layout:v1" "$T/other" -o "verify-key=$T/key,store=$STORE"
expect_failure 32 "'$T/auth': No such file" "$HELPER" "$T/layout:v1" "$T/other" -o "auth-file=$T/auth,store=$STORE"

note "sloppy, and a dry run"
"$HELPER" -s "$T/layout:v1" "$T/other" -o "fancy,platform=linux/arm64,store=$STORE"
mounted "$T/other" || fail "not mounted"
umount "$T/other"
"$HELPER" -f "$T/layout:v1" "$T/other" -o "platform=linux/arm64,store=$STORE"
! mounted "$T/other" || fail "-f mounts"
umount "$MNT"
wait_for no_daemon || fail "the daemon stays without mounts"
