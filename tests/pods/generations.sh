#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A volume that follows a tag: pods keep the image that they were started with, new ones get the new one, what is equal is
# shared, and an image goes with its last user.
. "$(dirname "$0")/../support/mount_lib.sh"
. "$(dirname "$0")/../support/registry_mount.sh"
. "$(dirname "$0")/driver_lib.sh"

expect_log 'refused: .* the host cannot be reached'
mkdir "$T/src"
start_registry

# release TEXT: an image whose file "version" has it, at the tag "stable"
release() {
	echo "$1" >"$T/src/version"
	"$ASSETPACK" build "$T/src" "$T/layout:$1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
	"$ASSETPACK" push --progress none "$T/layout:$1" "$REAL/game:stable" >"$T/push.log" || fail "push: $(cat "$T/push.log")"
}
version_of() {
	cat "$kubelet/pods/$1/mount/version"
}
# use POD: by a process in a mount namespace of its own, until the end of the test
use() {
	unshare --mount --propagation private sh -c 'exec 3<"$1" && echo >"$2" && exec sleep 1000' sh \
		"$kubelet/pods/$1/mount/version" "$T/used.$1" &
	users+=($!)
	is_used() {
		[[ -s $T/used.$1 ]]
	}
	wait_for is_used "$1" || fail "the file is not opened"
}
users=()
# generations FILTER: what jq makes of the list
generations() {
	"$ASSETFS" generations --json "$HOST/game:stable" | jq -c ".generations | $1"
}
channel=$(jq -nc --arg name "$HOST/game:stable" '{channel: $name}')

noise 3000000 >"$T/src/same"
release one
start_node --fetch-rate off

note "what a channel is not"
publish a "{\"channel\": \"$HOST/game@sha256:$(printf '0%.0s' {1..64})\"}" && fail "a digest is a channel"
grep -q "^INVALID_ARGUMENT: volume attribute 'channel' is" "$T/answer" || fail "$(cat "$T/answer")"
publish a "{\"channel\": \"$HOST/game:stable\", \"image\": \"$HOST/game:stable\"}" && fail "both"
grep -q "^INVALID_ARGUMENT: the volume must have one of" "$T/answer" || fail "$(cat "$T/answer")"
expect_failure 1 "no image is mounted by the name" "$ASSETFS" generations "$HOST/game:stable"

note "old pods keep their image, new ones get the new one"
publish a "$channel" || fail "$(cat "$T/answer")"
check_eq "version of a" "$(version_of a)" one
release two
publish b "$channel" || fail "$(cat "$T/answer")"
check_eq "version of a" "$(version_of a)" one
check_eq "version of b" "$(version_of b)" two
use a
use b
# This script, too, has opened both.
check_eq "generations" "$(generations 'map([.current, [.users[] | select(.command == "sleep") | .pid]])')" \
	"[[false,[${users[0]}]],[true,[${users[1]}]]]"
check_eq "digests" "$(generations 'map(.digest) | unique | length')" 2
"$ASSETFS" generations >"$T/text"
grep -qE "^  sha256:[0-9a-f]{64}  old, users: 2, mounts: 2$" "$T/text" || fail "$(cat "$T/text")"
grep -qE "^    sleep ${users[0]}$" "$T/text" || fail "$(cat "$T/text")"

note "what is equal is there once"
cmp "$T/src/same" "$kubelet/pods/a/mount/same"
before=$(counter chunks_decompressed_total)
cmp "$T/src/same" "$kubelet/pods/b/mount/same"
check_eq "chunks decompressed for the second one" "$(($(counter chunks_decompressed_total) - before))" 0

note "the registry is away: a new pod gets the last image of the node"
registry_down
publish c "{\"image\": \"$HOST/game:stable\"}" && fail "an image is had from a registry that is away"
grep -q "^UNAVAILABLE" "$T/answer" || fail "$(cat "$T/answer")"
publish c "$channel" || fail "$(cat "$T/answer")"
check_eq "version of c" "$(version_of c)" two
grep -q "its last image on this node is taken" "$T/driver.log" || fail "the driver does not tell: $(cat "$T/driver.log")"

note "an image goes with its last volume"
kill "${users[@]}"
wait "${users[@]}" || true
unpublish a
one_is_left() {
	[[ $(generations 'map(.current)') == '[true]' ]]
}
wait_for one_is_left || fail "$("$ASSETFS" generations)"
unpublish b
unpublish c
check_eq "mounts" "$(own_mounts)" ""
end_node
