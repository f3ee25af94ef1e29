#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Credentials of one mount: they are used for it and for nothing else, told to nobody, kept by the keeper, and renewed by
# mounting again.
. "$(dirname "$0")/../support/mount_lib.sh"
. "$(dirname "$0")/../support/registry_mount.sh"
expect_log 'was ended by signal 9|mounted again over the dead mount|has lost the credentials|keeper has died|a fetch failed|(read|open) .* of 127\.0\.0\.1:|mount of 127\.0\.0\.1:[0-9]*/.* refused'

# auth_file FILE USER:PASSWORD
auth_file() {
	printf '{"auths":{"%s":{"auth":"%s"}}}' "$HOST" "$(printf %s "$2" | base64 -w 0)" >"$T/$1"
}

# is_right N: file N of the image reads as it should, and comes from the registry
is_right() {
	forget_sent
	cmp "$MNT/noise-$1" "$T/tree/noise-$1" && (($(sent_bytes) > 0))
}

# Old tokens are no longer good.
token=0
new_token() {
	echo "token$((++token)) 100000" >"$STUB/token"
}

# The daemon is killed, and another one goes on.
take_over() {
	pid=$(daemon_pid)
	kill -KILL "$pid"
	wait_for next_daemon || fail "no other daemon"
}

start_registry
mkdir "$T/tree" "$T/other" "$T/mnt2"
# Between two that are read is more than what is fetched along with one.
for i in {11..29}; do
	noise 600000 >"$T/tree/noise-$i"
done
echo other >"$T/other/file"
for name in tree other; do
	"$ASSETPACK" build --from none "$T/$name" "$T/layout:$name" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
	"$ASSETPACK" push --progress none "$T/layout:$name" "$REAL/game:$name" >"$T/push.log"
done
digest=$(jq -r '.manifests[] | select(.annotations["org.opencontainers.image.ref.name"] == "tree").digest' "$T/layout/index.json")
printf 'me:first-secret' >"$STUB/user"
new_token
auth_file good me:first-secret
auth_file wrong me:wrong-secret

"$ASSETFS" keeper --store "$STORE" --fetch-rate off --fetch-timeout 600 --tag-interval 1 2>>"$STORE/assetfs.log" &
wait_for status_ok || fail "daemon does not answer"

note "who has none, or wrong ones, is refused"
expect_failure 5 "wants credentials" "$ASSETFS" mount "$HOST/game:tree" "$MNT"
expect_failure 5 "are refused" "$ASSETFS" mount --auth-file "$T/wrong" "$HOST/game:tree" "$MNT"
echo "not json" >"$T/bad"
expect_failure 1 "credentials for a mount are no JSON object" "$ASSETFS" mount --auth-file "$T/bad" "$HOST/game:tree" "$MNT"
expect_failure 1 "'$T/none': No such file" "$ASSETFS" mount --auth-file "$T/none" "$HOST/game:tree" "$MNT"
echo '{"credsStore":"none"}' >"$T/helper"
expect_failure 5 "helper 'none' .* which the daemon does not run" "$ASSETFS" mount --auth-file "$T/helper" "$HOST/game:tree" "$MNT"

note "they are used for the mount that they came with, and for no other"
"$ASSETFS" mount --auth-file "$T/good" "$HOST/game:tree" "$MNT"
is_right 11 || fail "wrong bytes or errors"
expect_failure 5 "wants credentials" "$ASSETFS" mount "$HOST/game:other" "$T/mnt2"
expect_failure 5 "wants credentials" "$ASSETFS" mount "$HOST/game:tree" "$T/mnt2"
# That the store has it is not enough for who shows some.
expect_failure 5 "are refused" "$ASSETFS" mount --auth-file "$T/wrong" "$HOST/game@$digest" "$T/mnt2"
"$ASSETFS" mount --auth-file "$T/good" "$HOST/game@$digest" "$T/mnt2"
"$ASSETFS" umount "$T/mnt2"
# The watch of tags asks with them.
"$ASSETPACK" push --progress none "$T/layout:other" "$REAL/game:tree" >"$T/push.log"
has_newer() {
	[[ $("$ASSETFS" status --json | jq -r '.mounts[0].newer') == sha256:* ]]
}
wait_for has_newer || fail "a tag that has moved is not seen: $("$ASSETFS" status --json)"

note "the next daemon has them"
new_token
take_over
is_right 14 || fail "wrong bytes or errors"

note "so has one whose keeper had died before"
pid=$(daemon_pid)
keeper=$(daemons | grep -vx "$pid")
kill -KILL "$keeper"
another_keeper() {
	local now
	now=$(daemons | grep -vx "$pid") && [[ -n $now && $now != "$keeper" ]] &&
		[[ -n $(find "/proc/$now/fd" -lname '*assetfs-secret*') ]]
}
wait_for another_keeper || fail "no other keeper has the credentials"
new_token
take_over
is_right 17 || fail "wrong bytes or errors"

note "they are renewed by mounting again"
printf 'me:second-secret' >"$STUB/user"
new_token
auth_file good me:second-secret
"$ASSETPACK" push --progress none "$T/layout:tree" "$REAL/game:tree" >"$T/push.log"
"$ASSETFS" mount --auth-file "$T/good" "$HOST/game:tree" "$T/mnt2"
is_right 20 || fail "wrong bytes or errors"
"$ASSETFS" umount "$T/mnt2"
new_token
take_over
is_right 23 || fail "wrong bytes or errors"

note "they end with daemon and keeper, and come with the next mount"
kill_daemons
new_token
"$ASSETFS" keeper --store "$STORE" --fetch-rate off --fetch-timeout 600 2>>"$STORE/assetfs.log" &
healed() {
	status_ok && cmp -s "$MNT/noise-11" "$T/tree/noise-11"
}
wait_for healed || fail "the image is not mounted again"
grep -q "game:tree has lost the credentials" "$STORE/assetfs.log" || fail "nothing tells that credentials are lost"
"$ASSETFS" mount --auth-file "$T/good" "$HOST/game:tree" "$T/mnt2"
is_right 26 || fail "wrong bytes or errors"
"$ASSETFS" umount "$T/mnt2"

note "nobody is told"
{
	"$ASSETFS" status --json
	"$ASSETFS" status
	"$FSSTAT" --json
	cat "$STORE/assetfs.log" "$STORE"/mounts/*
} >"$T/told"
for secret in first-secret second-secret wrong-secret "$(printf me:first-secret | base64)" "$(printf me:second-secret | base64)"; do
	! grep -qF "$secret" "$T/told" || fail "$secret: $(grep -F "$secret" "$T/told")"
	! grep -rqF "$secret" "$STORE" || fail "$secret is in the store"
done
"$ASSETFS" umount "$MNT"
kept() {
	find /proc/[0-9]*/fd -lname '*assetfs-secret*' 2>/dev/null
}
gone() {
	[[ -z $(kept) ]]
}
wait_for gone || fail "somebody keeps credentials of a mount that is gone: $(kept)"
pid=$(daemon_pid)
kill "$(daemons | grep -vx "$pid")"
wait_for no_daemon || fail "keeper and daemon do not end"
