#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# user.assetfs.* on mounts: who has them, what they say, and that nobody copies them.
. "$(dirname "$0")/../support/mount_lib.sh"

src=$T/src
mkdir -p "$src/dir"
noise 3000000 >"$src/file"
ln -s file "$src/link"
touch "$src/empty"
"$ASSETPACK" build "$src" "$T/layout:plain" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
setfattr -n user.own -v mine "$src/file" || skip "no extended attributes on $T"
"$ASSETPACK" build --xattrs "$src" "$T/layout:with" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"

# attr FILE NAME: value of user.assetfs.NAME
attr() {
	getfattr --only-values --absolute-names -n "user.assetfs.$2" "$1"
}
# no_attr ERROR FILE NAME
no_attr() {
	attr "$2" "$3" >"$T/stdout" 2>"$T/stderr" && fail "$2 has $3: $(cat "$T/stdout")"
	grep -q "$1" "$T/stderr" || fail "$3 of $2: $(cat "$T/stderr")"
}
# check_ours IMAGE
check_ours() {
	local digest
	digest=$("$FSSTAT" --json "$MNT" | jq -r '.images[0].digest')
	check_eq "resident before" "$(attr "$MNT/file" resident)" 0
	cmp "$src/file" "$MNT/file"
	check_eq "resident" "$(attr "$MNT/file" resident)" 3000000
	check_eq "digest" "$(attr "$MNT/file" digest)" "sha256:$(sha256sum <"$src/file" | cut -d ' ' -f 1)"
	check_eq "digest of the root" "$(attr "$MNT" digest)" "$digest"
	check_eq "image" "$(attr "$MNT/dir" image)" "$1"
	check_eq "version" "fsstat $(attr "$MNT" version)" "$("$FSSTAT" --version)"
	cmp "$src/file" "$MNT/file"
	check_eq "hit rate" "$(attr "$MNT" hitrate)" 0.5000
	no_attr "No such attribute" "$MNT/file" nonsense
	no_attr "No such attribute" "$MNT/empty" digest
	no_attr "No such attribute" "$MNT/dir" resident
	no_attr "No such attribute" "$MNT/file" hitrate
	# As who has no rights sees it.
	setpriv --reuid=65534 --regid=65534 --clear-groups getfattr --only-values --absolute-names \
		-n user.assetfs.image "$MNT/file" >/dev/null || fail "only root can read them"
	# What lists them copies them; so they are not listed.
	check_eq "listed" "$(getfattr --absolute-names -d -m - "$MNT/file" | grep user.assetfs || true)" ""
	mkdir -p "$T/copy"
	cp -a "$MNT/file" "$T/copy/file"
	check_eq "copied" "$(getfattr --absolute-names -d -m - "$T/copy/file" | grep user.assetfs || true)" ""
}
chmod 755 "$T" "$MNT"

note "not where the image has no attributes: the kernel does not even ask again"
start_daemon
"$ASSETFS" mount "$T/layout:plain" "$MNT"
no_attr "Operation not supported" "$MNT/file" digest
no_attr "Operation not supported" "$MNT" version
"$ASSETFS" umount "$MNT"

note "where the image has some"
rm -f "$STORE/stats"
kill "$daemon"
wait_for no_daemon || fail "the daemon does not end"
rm -f "$STORE/stats"
start_daemon
"$ASSETFS" mount "$T/layout:with" "$MNT"
check_ours "$T/layout:with"
check_eq "the image's own" "$(getfattr --only-values --absolute-names -n user.own "$MNT/file")" mine
check_eq "copied with them" "$(getfattr --only-values --absolute-names -n user.own "$T/copy/file")" mine
kill "$daemon"
wait_for no_daemon || fail "the daemon does not end"

note "everywhere, with serve --xattrs"
rm -f "$STORE/stats"
start_daemon --xattrs
"$ASSETFS" mount "$T/layout:plain" "$MNT"
check_ours "$T/layout:plain"
"$ASSETFS" umount "$MNT"
