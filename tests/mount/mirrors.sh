#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A mounted registry with a mirror that lies: its bytes are never read, others come from the registry, and it is not asked
# for them again. When all lie, reads fail, and come right by themselves.
. "$(dirname "$0")/../support/mount_lib.sh"
. "$(dirname "$0")/../support/registry_mount.sh"
expect_log "mirror '.*': blob [0-9a-f]* comes with other bytes|blob [0-9a-f]*: whoever has it has other bytes|(read|open) .* of 127\.0\.0\.1:"

# new_image TAG: of noise in $T/TAG, in the registry
new_image() {
	mkdir "$T/$1"
	for i in 1 2 3; do
		noise 2000000 >"$T/$1/noise-$i"
	done
	"$ASSETPACK" build --from none "$T/$1" "$T/layout:$1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
	"$ASSETPACK" push --progress none "$T/layout:$1" "$REAL/game:$1" >"$T/push.log"
}

is_right() {
	"$READER" --ways read "$MNT" "$T/$1" >"$T/reader" 2>&1
}

# asked_twice STUB: whether a byte of a blob was asked for twice; ranges as registry_stub.py logs them
asked_twice() {
	sed -n 's|^front GET \([^ ]*/blobs/[^ ]*\) .* bytes=\([0-9]*\)-\([0-9]*\)$|\1 \2 \3|p' "$1/log" | sort -k 1,1 -k 2,2n |
		awk '$1 == path && $2 <= end { print; twice = 1 } { if ($1 != path || $3 > end) end = $3; path = $1 } END { exit !twice }'
}

start_registry
registry_dir=$STUB registry_host=$HOST registry_stub=$stub
STUB=$T/mirror
mkdir "$STUB"
: >"$STUB/faults"
: >"$STUB/log"
start_stub
mirror=127.0.0.1:$(<"$STUB/port")
mirror_dir=$STUB HOST=$registry_host stub=$registry_stub
export ASSETFS_MIRRORS="$HOST=http://$mirror"

note "a mirror that lies"
new_image lies
start_daemon --fetch-rate off
"$ASSETFS" mount "$HOST/game:lies" "$MNT"
echo "*GET blobs/ corrupt" >"$mirror_dir/faults"
is_right lies || fail "wrong bytes or errors: $(tail -n 1 "$T/reader")"
(($(counter fetch_damaged_total) > 0)) || fail "nothing was wrong"
grep -q "mirror '$mirror/game': blob [0-9a-f]* comes with other bytes; it is passed over" "$STORE/assetfs.log" ||
	fail "nothing tells of the mirror"
grep -q '^front GET .*/blobs/.*bytes=' "$mirror_dir/log" || fail "the mirror was not asked"
! asked_twice "$mirror_dir" || fail "the mirror was asked twice for the same"
"$ASSETFS" umount "$MNT"

note "a mirror that lies about the index"
new_image index
"$ASSETFS" mount "$HOST/game:index" "$MNT"
is_right index || fail "wrong bytes or errors: $(tail -n 1 "$T/reader")"
"$ASSETFS" umount "$MNT"

note "all lie"
new_image all
"$ASSETFS" mount "$HOST/game:all" "$MNT"
echo "*GET blobs/ corrupt" >"$registry_dir/faults"
is_right all && fail "nothing was wrong"
grep -q 'Input/output error' "$T/reader" || fail "wrong bytes were read: $(tail -n 1 "$T/reader")"
: >"$registry_dir/faults"
wait_for is_right all || fail "it does not come right: $(tail -n 1 "$T/reader")"
"$ASSETFS" umount "$MNT"
