#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A mounted registry that goes away, stalls, breaks off, refuses and lies: what is there goes on, what is not
# waits, then fails, and comes once the registry is well again. No wrong byte is ever read.
. "$(dirname "$0")/../support/mount_lib.sh"
. "$(dirname "$0")/../support/registry_mount.sh"
expect_log 'a fetch failed|(read|open) .* of 127\.0\.0\.1:|mount of 127\.0\.0\.1:[0-9]*/[a-z]*:v[0-9] .* refused|blob [0-9a-f]*: whoever has it'

# new_image TAG: of a file of noise in $T/TAG, pushed past the stub.
new_image() {
	mkdir "$T/$1"
	noise 3000000 >"$T/$1/noise"
	"$ASSETPACK" build --from none "$T/$1" "$T/layout:$1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
	"$ASSETPACK" push --progress none "$T/layout:$1" "$REAL/game:$1" >"$T/push.log"
}

# begin NAME: a case with an image that nobody has read yet, at $MNT
n=0
begin() {
	note "$1"
	tag=v$((++n))
	new_image "$tag"
	"$ASSETFS" mount "$HOST/game:$tag" "$MNT"
}

# The image reads as it should; the case ends.
works() {
	cmp "$MNT/noise" "$T/$tag/noise" || fail "wrong bytes or errors"
	! grep -q '^[^*]' "$STUB/faults" || fail "not every fault happened: $(cat "$STUB/faults")"
	no_faults
	"$ASSETFS" umount "$MNT"
}

fails() {
	! cat "$MNT/noise" >/dev/null 2>"$T/stderr" || fail "it can be read"
	grep -q 'Input/output error' "$T/stderr" || fail "$(cat "$T/stderr")"
}

# metric NAME: that it is above zero
metric() {
	(($(counter "$1") > 0)) || fail "$1 is $(counter "$1")"
}

start_registry
mkdir "$T/mnt2"
new_image there

note "down at the mount"
start_daemon --fetch-rate off --fetch-timeout 10 --tag-interval 1
registry_down
expect_failure 1 "$HOST/game': the host cannot be reached" "$ASSETFS" mount "$HOST/game:v1" "$MNT"
registry_up

note "no such tag, no such repository, no such name"
expect_failure 5 "no such image" "$ASSETFS" mount "$HOST/game:v7" "$MNT"
expect_failure 5 "no such image" "$ASSETFS" mount "$HOST/nothing:v1" "$MNT"
expect_failure "[12]" "names no image in a registry" "$ASSETFS" mount "game:v1" "$MNT"

begin "down after the mount"
"$ASSETFS" mount "$HOST/game:there" "$T/mnt2"
cmp "$T/mnt2/noise" "$T/there/noise"
registry_down
cmp "$T/mnt2/noise" "$T/there/noise" || fail "what is there cannot be read"
fails &
failing=$!
oldest() {
	"$ASSETFS" status --json | jq '[.mounts[].oldest_request_seconds] | max'
}
waits() {
	[[ $(jq -n "$(oldest) >= 2") == true ]]
}
wait_for waits || fail "status does not say that a request waits"
"$ASSETFS" status | finds '  waiting     [0-9.]* s: the oldest request' || fail "$("$ASSETFS" status)"
wait $failing || fail "a read of what cannot be had"
answered() {
	[[ $(jq -n "$(oldest) < 0.5") == true ]]
}
wait_for answered || fail "a request waits $(oldest) s"
metric fetch_timeouts_total
metric fetch_errors_total
cmp "$T/mnt2/noise" "$T/there/noise" || fail "what is there cannot be read"
registry_up
works
"$ASSETFS" umount "$T/mnt2"

begin "connections that break"
fault "GET blobs/ reset 70000" "GET blobs/ truncate 100000" "GET blobs/ unmeasured 1000"
works

begin "a server that says nothing"
fault "GET blobs/ stall 50000"
works

begin "a server that is busy"
fault "GET blobs/ status 503" "GET blobs/ status 500" "GET blobs/ status 503" "GET blobs/ status 503" "GET blobs/ status 429"
works

begin "wrong bytes"
fault "GET blobs/ corrupt" "GET blobs/ corrupt"
works
metric fetch_damaged_total

begin "wrong bytes, again and again"
fault "*GET blobs/ corrupt"
cmp "$MNT/noise" "$T/$tag/noise" 2>"$T/stderr" && fail "nothing was wrong"
grep -q 'Input/output error' "$T/stderr" || fail "wrong bytes were read: $(cat "$T/stderr")"
no_faults
is_well() {
	cmp "$MNT/noise" "$T/$tag/noise" 2>/dev/null
}
wait_for is_well || fail "it stays damaged"
works

note "a wrong config, a wrong index"
tag=v$((++n))
new_image "$tag"
index=$("$ASSETPACK" inspect --json "$T/layout:$tag" |
	jq -r '.images[0].layers[] | select(.mediaType | contains(".index.")).digest')
fault "GET blobs/ corrupt" "GET blobs/$index corrupt"
"$ASSETFS" mount "$HOST/game:$tag" "$MNT"
works

begin "redirects to addresses that expire"
fault "GET front.*blobs/ redirect" "GET elsewhere.*blobs/ status 403" "GET front.*blobs/ redirect"
works

note "credentials that are revoked, and renewed"
mkdir "$T/.docker"
# credentials USER:PASSWORD: those that the daemon finds
credentials() {
	printf '{"auths":{"%s":{"auth":"%s"}}}' "$HOST" "$(printf %s "$1" | base64 -w 0)" >"$T/.docker/config.json"
}
printf 'me:one' >"$STUB/user"
credentials me:one
echo "first 100000" >"$STUB/token"
begin "credentials: mounted"
printf 'me:two' >"$STUB/user"
echo "second 100000" >"$STUB/token"
fails
expect_failure 5 "refused|credentials" "$ASSETFS" mount "$HOST/other:v1" "$T/mnt2"
credentials me:two
works
rm "$STUB/user" "$STUB/token" "$T/.docker/config.json"

begin "a tag that moves"
cp -r "$T/$tag" "$T/next"
echo new >"$T/next/new"
"$ASSETPACK" build "$T/next" "$T/layout:next" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
check_eq "newer, before" "$("$ASSETFS" status --json | jq -c '[.mounts[].newer]')" "[null]"
"$ASSETPACK" push --progress none "$T/layout:next" "$REAL/game:$tag" >"$T/push.log"
newest=$("$ASSETPACK" inspect --json "$T/layout:next" | jq -r '.images[0].digest')
has_newer() {
	[[ $("$ASSETFS" status --json | jq -r '.mounts[0].newer') == "$newest" ]]
}
wait_for has_newer || fail "status: $("$ASSETFS" status --json)"
"$ASSETFS" status | finds "newer .*$newest" || fail "$("$ASSETFS" status)"
"$ASSETFS" mount "$HOST/game:$tag" "$T/mnt2"
[[ ! -e $MNT/new ]] || fail "a mount changes with its tag"
"$READER" "$T/mnt2" "$T/next" >"$T/reader" || fail "the new image: $(tail -n 1 "$T/reader")"
"$ASSETFS" umount "$T/mnt2"
works

begin "ranges that are ignored"
size=$(du -sb "$T/$tag" | cut -f 1)
fault "*GET blobs/ norange"
forget_sent
works
(($(sent_bytes) <= 10 * size)) || fail "$(sent_bytes) bytes came of $size"
stop_daemon
