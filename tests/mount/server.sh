#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A real game server, Debian's supertuxkart, twice at once, headless, with its data on one
# mount: both come to listen, and what they share is unpacked once.
if [[ -z ${ASSETFS_TEST_INSIDE:-} ]]; then
	# Outside of the namespaces: the cache directory is locked while it is filled.
	GAME=$("${SUPPORT:?}/fetch_package.sh" supertuxkart) || exit 1
	GAME_DATA=$("$SUPPORT/fetch_package.sh" supertuxkart-data) || exit 1
	export GAME GAME_DATA
fi
. "$(dirname "$0")/../support/mount_lib.sh"

data=$GAME_DATA/usr/share/games/supertuxkart
[[ -d $data/data ]] || fail "no game data in $data"
"$ASSETPACK" build "$data" "$T/layout:v1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
"$ASSETFS" mount "$T/layout:v1" "$MNT"
# The package's data directory need not exist on this machine: an overlay gives it a place.
mkdir "$T/overlay"
mount -t tmpfs tmpfs "$T/overlay"
mkdir "$T/overlay/upper" "$T/overlay/work"
mount -t overlay -o "lowerdir=/usr/share,upperdir=$T/overlay/upper,workdir=$T/overlay/work" overlay /usr/share
mkdir -p /usr/share/games/supertuxkart

# server N: in a mount and a network namespace of its own, as in a container
server() {
	local home=$T/server.$1
	mkdir "$home"
	HOME=$home XDG_CONFIG_HOME=$home/config XDG_DATA_HOME=$home/data XDG_CACHE_HOME=$home/cache \
		unshare --mount --propagation private --net sh -c '
			ip link set lo up &&
			mount --bind "$1" /usr/share/games/supertuxkart && cd "$HOME" &&
			exec stdbuf -oL -eL "$2/usr/games/supertuxkart" --lan-server="$3" --no-graphics --no-sound --log=nocolor
		' sh "$MNT" "$GAME" "server-$1" </dev/null >"$home/log" 2>&1 &
}

listening() {
	grep -q 'Listening has been started' "$T/server.1/log" && grep -q 'Listening has been started' "$T/server.2/log"
}

note "two servers on a cold daemon"
start=$(date +%s%N)
server 1
first=$!
server 2
second=$!
wait_for listening || {
	tail -n 20 "$T"/server.?/log >&2
	fail "the servers do not come to listen"
}
note "both listen after $((($(date +%s%N) - start) / 1000000)) ms"
kill -0 "$first" || fail "the first server has ended"
kill -0 "$second" || fail "the second server has ended"
if grep -iE '^.{0,30}\[(error|fatal)' "$T"/server.?/log; then
	fail "a server reports errors"
fi
check_eq "users" "$("$FSSTAT" --json | jq .sharing.users)" 2
check_eq "errors" "$("$FSSTAT" --json | jq '[.images[].errors_total] | add')" 0
(($(counter opens_total) > 0)) || fail "the servers have opened nothing on the mount"
check_decompressed "$T/layout:v1"
"$FSSTAT"

kill -TERM "$first" "$second"
wait "$first" || true
wait "$second" || true
umount /usr/share
umount "$T/overlay"
"$ASSETFS" umount "$MNT"
