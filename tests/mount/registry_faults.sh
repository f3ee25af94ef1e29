#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A mounted registry that goes away, stalls, breaks off, refuses and lies: what is there goes on, what is not
# waits, then fails, and comes once the registry is well again. No wrong byte is ever read.
. "$(dirname "$0")/../support/mount_lib.sh"
. "$(dirname "$0")/../support/registry_mount.sh"
expect_log 'a fetch failed|(read|open) .* of 127\.0\.0\.1:|mount of 127\.0\.0\.1:[0-9]*/[a-z]*:v1 .* refused'

mkdir "$T/src"
for i in {1..14}; do
	noise 3000000 >"$T/src/file-$i"
done
"$ASSETPACK" build "$T/src" "$T/layout:v1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
digest=$(jq -r '.manifests[0].digest' "$T/layout/index.json")
start_registry
"$ASSETPACK" push --progress none "$T/layout:v1" "$REAL/game:v1" >"$T/push.log"

stop_daemon() {
	kill -TERM "$daemon"
	wait "$daemon" || fail "the daemon ends with status $?"
}

check() {
	cmp "$MNT/file-$1" "$T/src/file-$1" || fail "file-$1: ${2:-}"
}

fails() {
	! cat "$MNT/file-$1" >/dev/null 2>"$T/stderr" || fail "file-$1 can be read: $2"
	grep -q 'Input/output error' "$T/stderr" || fail "file-$1, $2: $(cat "$T/stderr")"
}

# metric NAME: that it is above zero
metric() {
	(($(counter "$1") > 0)) || fail "$1 is $(counter "$1")"
}

note "down at the mount"
start_daemon --fetch-rate off --fetch-timeout 3
registry_down
expect_failure 1 "$HOST/game': the host cannot be reached" "$ASSETFS" mount "$HOST/game:v1" "$MNT"
registry_up

note "no such tag, no such repository"
expect_failure 5 "no such image" "$ASSETFS" mount "$HOST/game:v7" "$MNT"
expect_failure 5 "no such image" "$ASSETFS" mount "$HOST/nothing:v1" "$MNT"
expect_failure "[12]" "names no image in a registry" "$ASSETFS" mount "game:v1" "$MNT"
"$ASSETFS" mount "$HOST/game:v1" "$MNT"

note "down after the mount"
check 1
registry_down
check 1 "it was there"
fails 2 "the registry is down"
metric fetch_timeouts_total
check 1 "others go on"
registry_up
check 2 "the registry is back"

note "connections that break"
fault "GET blobs/ reset 70000" "GET blobs/ truncate 100000" "GET blobs/ unmeasured 1000"
check 3 "it breaks"

note "a server that says nothing"
fault "GET blobs/ stall 50000"
check 4 "it stalls"

note "a server that is busy"
fault "GET blobs/ status 503" "GET blobs/ status 500" "GET blobs/ status 503" "GET blobs/ status 503" "GET blobs/ status 429"
check 5 "it is busy"
metric fetch_errors_total

note "wrong bytes"
fault "GET blobs/ corrupt" "GET blobs/ corrupt"
check 7 "it lies"
check 8 "it lies"
metric fetch_damaged_total
fault "*GET blobs/ corrupt"
for i in 9 10; do
	cmp "$MNT/file-$i" "$T/src/file-$i" 2>"$T/stderr" || grep -q 'Input/output error' "$T/stderr" ||
		fail "wrong bytes were read: $(cat "$T/stderr")"
done
no_faults
check 9 "it lies no more"
check 10 "it lies no more"

note "redirects to addresses that expire"
fault "GET front.*blobs/ redirect" "GET elsewhere.*blobs/ status 403" "GET front.*blobs/ redirect"
check 11 "it redirects"

note "credentials that are revoked, and renewed"
mkdir "$T/mnt2"
mkdir -p "$T/.docker"
# credentials USER:PASSWORD
credentials() {
	printf '{"auths":{"%s":{"auth":"%s"}}}' "$HOST" "$(printf %s "$1" | base64 -w 0)" >"$T/.docker/config.json"
}
printf 'me:one' >"$STUB/user"
credentials me:one
echo "first 100000" >"$STUB/token"
check 12 "with credentials"
printf 'me:two' >"$STUB/user"
echo "second 100000" >"$STUB/token"
fails 13 "credentials were revoked"
check 1 "what is there needs none"
expect_failure 5 "refused|credentials" "$ASSETFS" mount "$HOST/other:v1" "$T/mnt2"
credentials me:two
check 13 "credentials were renewed"
rm "$STUB/user" "$STUB/token" "$T/.docker/config.json"

note "a tag that moves"
cp -r "$T/src" "$T/next"
echo new >"$T/next/new"
"$ASSETPACK" build "$T/next" "$T/layout:v2" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
"$ASSETPACK" push --progress none "$T/layout:v2" "$REAL/game:v1" >"$T/push.log"

"$ASSETFS" mount "$HOST/game:v1" "$T/mnt2"
[[ ! -e $MNT/new ]] || fail "a mount changes with its tag"
"$READER" "$T/mnt2" "$T/next" >"$T/reader" || fail "the new image: $(tail -n 1 "$T/reader")"
check 3 "the old image"
"$ASSETFS" umount "$T/mnt2"
"$ASSETFS" umount "$MNT"
stop_daemon

note "ranges that are ignored"
rm -r "$STORE/remote" "$STORE"/store.db*
start_daemon --fetch-rate off
"$ASSETFS" mount "$HOST/game@$digest" "$MNT"
fault "*GET blobs/ norange"
forget_sent
for i in {1..14}; do
	check "$i" "the whole comes"
done
(($(sent_bytes) <= 10 * 43000000)) || fail "packs came $(sent_bytes) bytes long"
"$ASSETFS" umount "$MNT"
stop_daemon
