#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Commands of assetfs, and their mistakes.
. "$(dirname "$0")/../support/mount_lib.sh"

mkdir -p "$T/src" "$T/src2" "$T/other" "$T/busy"
echo one >"$T/src/file"
echo two >"$T/src2/file"
"$ASSETPACK" build "$T/src" "$T/layout:v1" >/dev/null 2>&1
"$ASSETPACK" build "$T/src2" "$T/layout:v2" >/dev/null 2>&1
"$ASSETPACK" build -p linux/amd64="$T/src2" -p linux/arm64="$T/src" "$T/src" "$T/layout:both" >/dev/null 2>&1

note "usage"
for args in "" "nonsense" "mount --nonsense a b" "mount" "mount a" "mount a b c" "umount" "serve extra" "status extra" \
	"mount --platform"; do
	status=0
	# shellcheck disable=SC2086
	"$ASSETFS" $args >"$T/stdout" 2>"$T/stderr" || status=$?
	check_eq "'assetfs $args'" "$status" 2
	[[ -s $T/stderr ]] || fail "'assetfs $args' says nothing"
done
status=0
"$FSSTAT" --nonsense 2>/dev/null || status=$?
check_eq "fsstat --nonsense" "$status" 2
for command in "$ASSETFS" "$FSSTAT"; do
	"$command" --help >"$T/stdout"
	grep -qi usage "$T/stdout" || fail "$command --help"
	"$command" --version | finds -E '[0-9]+\.[0-9]+' || fail "$command --version"
done

note "programs"
mkdir "$T/alone"
cp "$ASSETFS" "$T/alone"
expect_failure 1 "^assetfs serve: '$T/alone/assetfsd', which has this command, cannot be run: No such file" "$T/alone/assetfs" serve --store "$T/store2"
for command in "$ASSETFS" "$FSSTAT"; do
	ldd "$command" >"$T/libraries"
	! grep -E 'curl|fuse|sqlite|microhttpd' "$T/libraries" || fail "$command loads what it does not need"
done

note "without a daemon"
expect_failure 1 "no daemon|not running" "$ASSETFS" status
expect_failure 1 "no daemon|not running" "$ASSETFS" status --json
expect_failure 1 "no daemon|not running" "$FSSTAT"
expect_failure 1 "." "$ASSETFS" umount "$MNT"

note "what cannot be mounted"
expect_failure 1 "$T/none" "$ASSETFS" mount "$T/none:v1" "$MNT"
expect_failure "[13]" "$T/src" "$ASSETFS" mount "$T/src:v1" "$MNT"
expect_failure 1 "v9" "$ASSETFS" mount "$T/layout:v9" "$MNT"
expect_failure 1 "$T/nowhere" "$ASSETFS" mount "$T/layout:v1" "$T/nowhere"
expect_failure 1 "$T/src/file" "$ASSETFS" mount "$T/layout:v1" "$T/src/file"
expect_failure 1 "sparc" "$ASSETFS" mount --platform linux/sparc "$T/layout:both" "$MNT"
check_eq "mounts" "$(own_mounts)" ""
wait_for no_daemon || fail "a daemon that mounted nothing stays"

note "one daemon for all mounts of a store"
"$ASSETFS" mount "$T/layout:v1" "$MNT"
first=$(daemon_pid)
"$ASSETFS" mount "$T/layout:v1" "$T/other"
"$ASSETFS" mount "$T/layout:v2" "$T/busy"
check_eq "daemon" "$(daemon_pid)" "$first"
check_eq "contents" "$(cat "$MNT/file" "$T/other/file" "$T/busy/file" | tr '\n' ' ')" "one one two "
findmnt_line=$(awk -v dir="$MNT" '$5 == dir { print $6, $(NF - 2), $(NF - 1) }' /proc/self/mountinfo)
[[ $findmnt_line == *ro* && $findmnt_line == *"fuse.assetfs $T/layout:v1"* ]] || fail "mountinfo: $findmnt_line"
"$ASSETFS" status --json | jq -e --arg mnt "$MNT" --arg image "$T/layout:v1" '
	.version == 1 and .store != null and ([.mounts[].mountpoints[]] | length == 3)
	and any(.mounts[]; .image == $image and any(.mountpoints[]; . == $mnt))
	and all(.mounts[]; .digest | startswith("sha256:"))' >/dev/null || fail "$("$ASSETFS" status --json)"
"$ASSETFS" status | finds "$MNT" || fail "status does not name $MNT"

note "platforms"
mkdir "$T/amd64" "$T/arm64"
"$ASSETFS" mount --platform linux/amd64 "$T/layout:both" "$T/amd64"
"$ASSETFS" mount --platform linux/arm64 "$T/layout:both" "$T/arm64"
check_eq "contents" "$(cat "$T/amd64/file" "$T/arm64/file" | tr '\n' ' ')" "two one "
"$ASSETFS" umount "$T/amd64"
"$ASSETFS" umount "$T/arm64"

note "twice in one place"
expect_failure 1 "$MNT" "$ASSETFS" mount "$T/layout:v2" "$MNT"
check_eq "still there" "$(cat "$MNT/file")" one

note "one daemon for a store"
expect_failure 1 "$STORE" "$ASSETFS" serve --store "$STORE"

note "unmount while in use"
exec {busy}<"$T/busy/file"
expect_failure 1 "busy" "$ASSETFS" umount "$T/busy"
check_eq "still there" "$(cat "$T/busy/file")" two
exec {busy}<&-
"$ASSETFS" umount "$T/busy"
expect_failure 1 "$T/busy" "$ASSETFS" umount "$T/busy"
[[ ! -e $T/busy/file ]] || fail "still mounted"

note "a bind mount keeps its file system"
mkdir "$T/bound"
mount --bind "$T/other" "$T/bound"
"$ASSETFS" umount "$T/other"
check_eq "bound" "$(cat "$T/bound/file")" one
umount "$T/bound"

note "umount(8) is as good, and the daemon goes with the last mount"
umount "$MNT"
wait_for no_daemon || fail "the daemon stays without mounts"
[[ -s $STORE/assetfs.log ]] || fail "no log in $STORE/assetfs.log"

note "serve stays, says when it is ready, and ends on SIGTERM"
cat >"$T/notify.py" <<'EOF'
import os, socket, subprocess, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
s.settimeout(120)
env = dict(os.environ, NOTIFY_SOCKET=sys.argv[1])
with open(sys.argv[2], "ab") as log:
    daemon = subprocess.Popen(sys.argv[3:], env=env, stderr=log)
while "READY=1" not in s.recv(4096).decode().split("\n"):
    pass
print(daemon.pid, flush=True)
sys.exit(daemon.wait())
EOF
python3 "$T/notify.py" "$T/notify" "$STORE/assetfs.log" "$ASSETFS" serve --store "$STORE" >"$T/serve.pid" &
serving=$!
wait_for test -s "$T/serve.pid" || fail "no READY=1"
check_eq "daemon" "$(daemon_pid)" "$(cat "$T/serve.pid")"
"$ASSETFS" mount "$T/layout:v1" "$MNT"
"$ASSETFS" umount "$MNT"
wait_for no_mounts || fail "the last mount stays: $("$ASSETFS" status --json)"
check_eq "daemon after its last mount" "$(daemon_pid)" "$(cat "$T/serve.pid")"
"$ASSETFS" mount "$T/layout:v2" "$MNT"
kill -TERM "$(cat "$T/serve.pid")"
wait "$serving" || fail "serve ends with $? on SIGTERM"
check_eq "mounts" "$(own_mounts)" ""
