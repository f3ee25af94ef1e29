#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Credentials of a volume, as kubelet gives them to the driver: they open an image of a registry for that volume, for no
# other one, and nobody is told.
. "$(dirname "$0")/../support/mount_lib.sh"
. "$(dirname "$0")/../support/registry_mount.sh"
. "$(dirname "$0")/driver_lib.sh"

expect_log 'mount of 127\.0\.0\.1:[0-9]*/.* refused|was ended by signal 9'
mkdir "$T/src"
start_registry
noise 3000000 >"$T/src/file"
"$ASSETPACK" build "$T/src" "$T/layout:v1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
"$ASSETPACK" push --progress none "$T/layout:v1" "$REAL/game:v1" >"$T/push.log"
password=hush-hush-hush
printf 'me:%s' "$password" >"$STUB/user"
echo "token1 100000" >"$STUB/token"

# config USER:PASSWORD: what a secret has
config() {
	jq -nc --arg host "$HOST" --arg auth "$(printf %s "$1" | base64 -w 0)" '{auths: {($host): {auth: $auth}}}'
}
# publish_game POD SECRETS [ATTRIBUTES]: SECRETS and ATTRIBUTES are JSON
publish_game() {
	publish "$1" "$(jq -nc --arg image "$HOST/game:v1" --argjson more "${3:-{\}}" '{image: $image} + $more')" "$2"
}
# refused POD SECRETS PATTERN
refused() {
	publish_game "$1" "$2" && fail "$1: published"
	grep -q "$3" "$T/answer" || fail "$1: $(cat "$T/answer")"
	[[ ! -e $kubelet/pods/$1/mount ]] || fail "$1: a target is left"
}
right=$(config "me:$password" | jq -Rc '{".dockerconfigjson": .}')
wrong=$(config me:guessed | jq -Rc '{".dockerconfigjson": .}')

start_node --log-level debug --fetch-rate off

note "who has none, or wrong ones"
refused none '{}' '^UNAUTHENTICATED: .*wants credentials'
refused wrong "$wrong" '^UNAUTHENTICATED: .*are refused'
refused other "{\"password\": \"$password\"}" "^INVALID_ARGUMENT: the secret has a key 'password'"
note "who has the right ones"
publish_game right "$right" '{"pin": "true", "prefetch": "true"}' || fail "$(cat "$T/answer")"
publish_game verified "$right" '{"verify": "true"}' || fail "$(cat "$T/answer")"
cmp "$T/src/file" "$kubelet/pods/right/mount/file"
cmp "$T/src/file" "$kubelet/pods/verified/mount/file"
note "the node has the image now, which opens it to nobody else"
refused none '{}' '^UNAUTHENTICATED'
refused wrong "$wrong" '^UNAUTHENTICATED'
check_eq "sessions" "$("$ASSETFS" status --json | jq '.mounts | length')" 1

note "nobody was told"
pid=$(daemon_pid)
kill -KILL "$pid"
wait_for next_daemon || fail "no other daemon"
cmp "$T/src/file" "$kubelet/pods/right/mount/file"
"$ASSETFS" status --json >"$T/status"
"$FSSTAT" --json >>"$T/status"
for secret in "$password" "$(printf 'me:%s' "$password" | base64 -w 0)"; do
	! grep -F "$secret" "$T/driver.log" "$STORE/assetfs.log" "$T/answer" "$T/status" || fail "a secret was told"
	for pid in $driver $(daemons); do
		! tr '\0' '\n' <"/proc/$pid/cmdline" | finds -F "$secret" || fail "a secret is in a command line"
	done
	! grep -rqF "$secret" "$STORE" "$plugin" --exclude=file || fail "a secret is on the disk"
done
for name in right verified; do
	unpublish "$name"
done
check_eq "mounts" "$(own_mounts)" ""
end_node
