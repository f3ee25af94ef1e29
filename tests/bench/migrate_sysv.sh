#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Before: a DaemonSet with hostIPC writes the assets into a segment of System V shared memory, and servers attach identifier 0.
# After: servers map files of a mount. SERVERS servers, each in a memory cgroup of its own, use all
# of a set of FILES MB; then what can go wrong is done.
. "$(dirname "$0")/migrate_lib.sh"

: "${SERVERS:=8}" "${FILES:=$(small 20 150)}"
mounts=$T/mounts
mkdir "$mounts"
mount --bind "$mounts" "$mounts"
mount --make-shared "$mounts"
make_set "$T/v1" "$FILES"
cp -r "$T/v1" "$T/v2"
mkdir "$T/v2/more" "$T/other"
noise 5000000 >"$T/v2/more/file"
noise 1000000 >"$T/other/file"
mapfile -t v1 < <(find "$T/v1" -type f | sort)
mapfile -t v2 < <(find "$T/v2" -type f | sort)
pack "$T/v1" "$T/layout:v1"
pack "$T/v2" "$T/layout:v2"
pack "$T/other" "$T/layout:other"
wanted=$("$MIGRATING/mapped" "${v1[@]}" </dev/null)
wanted_v2=$("$MIGRATING/mapped" "${v2[@]}" </dev/null)
servers=()
for ((i = 0; i < SERVERS; i++)); do
	servers+=("server.$i")
done

# An IPC namespace for the node: this machine's own may have segments.
mkfifo "$T/node.in"
: >"$T/node"
unshare --ipc sh -c 'echo up && exec cat' <>"$T/node.in" >"$T/node" &
node=$!
wait_for grep -q up "$T/node" || fail "no namespace"
on_node() {
	nsenter --ipc="/proc/$node/ns/ipc" "$@"
}
segment() {
	on_node "$MIGRATING/segment" "$@"
}
segment_bytes() {
	on_node awk 'NR > 1 { s += $4 } END { print s + 0 }' /proc/sysvipc/shm
}
# For held(), which runs programs.
node_segment=(nsenter --ipc="/proc/$node/ns/ipc" "$MIGRATING/segment")

# ---- before ----
touch "$T/key"
b_early=$(why_not segment sysv-read 0)
held writer '^written 0 ' "${node_segment[@]}" sysv-write "$T/key" "${v1[@]}"
for server in "${servers[@]}"; do
	held "$server" '^bytes=' "${node_segment[@]}" sysv-read 0
	check_eq "$server" "$(cat "$T/out.$server")" "$wanted"
done
b_writer=$(charged writer)
b_servers=$(charged "${servers[@]}")
b_private=$(why_not unshare --ipc "$MIGRATING/segment" sysv-read 0)
b_release=$(why_not segment sysv-write "$T/key" "${v2[@]}")
segment sysv-scribble 0
[[ $(segment sysv-read 0 </dev/null) != "$wanted" ]] || fail "nothing was written"
let_go "${servers[@]}" writer
b_left=$(segment_bytes)
((b_left >= FILES * 1000000)) || fail "the segment has $b_left bytes"
on_node ipcrm --all=shm
check_eq "segments" "$(segment_bytes)" 0
on_node ipcmk --shmem 1000000 >"$T/ipcmk"
first=$(sed 's/.*: //' "$T/ipcmk")
held writer '^written ' "${node_segment[@]}" sysv-write "$T/key" "${v1[@]}"
(($(awk '{ print $2 }' "$T/out.writer") != first)) || fail "two segments have identifier $first"
# The identifier that a server was built with now means another program's segment.
check_eq "what the identifier means" "$(segment sysv-read "$first" </dev/null)" "bytes=1000000 sum=0"
let_go writer
on_node ipcrm --all=shm

# ---- after ----
# A container that was there before: it sees what is mounted later, as HostToContainer has it.
mkfifo "$T/early.in"
: >"$T/early"
# shellcheck disable=SC2016
unshare --mount --propagation slave sh -c 'echo up && read -r line && exec "$@" </dev/null' sh \
	"$MIGRATING/mapped" "${v1[@]/#$T\/v1/$mounts/v1}" <>"$T/early.in" >"$T/early" 2>&1 &
early=$!
wait_for grep -q up "$T/early" || fail "no container"
serve_in_group
mkdir "$mounts/other" "$mounts/v1" "$mounts/v2"
"$ASSETFS" mount "$T/layout:other" "$mounts/other"
"$ASSETFS" mount "$T/layout:v1" "$mounts/v1"
echo >"$T/early.in"
wait "$early" || fail "$(cat "$T/early")"
check_eq "a container that was there before" "$(tail -n 1 "$T/early")" "$wanted"
for server in "${servers[@]}"; do
	held "$server" '^bytes=' unshare --ipc --mount --propagation slave "$MIGRATING/mapped" "${v1[@]/#$T\/v1/$mounts/v1}"
	check_eq "$server" "$(cat "$T/out.$server")" "$wanted"
done
a_daemon=$(charged daemon)
a_servers=$(charged "${servers[@]}")
# Programs and libraries may be among it.
a_files=$(for server in "${servers[@]}"; do group_memory "$server"; done | awk '{ s += $2 } END { printf "%.0f\n", s }')
((a_files < FILES * 1000000 / 4)) || fail "servers are charged $a_files bytes of files"
a_scribble=$(why_not "$MIGRATING/mapped" --scribble "$mounts/v1/${v1[0]#"$T/v1/"}")
region=$("$FSSTAT" --json | jq .region.used_bytes)
"$ASSETFS" mount "$T/layout:v2" "$mounts/v2"
check_eq "the next release" "$("$MIGRATING/mapped" "${v2[@]/#$T\/v2/$mounts/v2}" </dev/null)" "$wanted_v2"
a_release=$(($("$FSSTAT" --json | jq .region.used_bytes) - region))
((a_release < FILES * 1000000 / 2)) || fail "the next release takes $a_release bytes more"
check_eq "this release" "$("$MIGRATING/mapped" "${v1[@]/#$T\/v1/$mounts/v1}" </dev/null)" "$wanted"
let_go "${servers[@]}"
for name in v1 v2 other; do
	"$ASSETFS" umount "$mounts/$name"
done
a_left=$("$FSSTAT" --json | jq .region.used_bytes)
stop_served
kill "$node"
wait "$node" || true

echo "A segment of System V shared memory (hostIPC, identifier 0), then a mount: $SERVERS servers, $FILES MB of assets"
row "" before after
row "MB charged to the writer, to the daemon" "$(mb "$b_writer")" "$(mb "$a_daemon")"
row "MB charged to all servers" "$(mb "$b_servers")" "$(mb "$a_servers")"
row "a server starts first" "$b_early" "sees the mount when it comes"
row "another segment, image was there first" "reads that one's bytes" "reads its own"
row "a pod with an IPC namespace of its own" "$b_private" "reads"
row "a server writes into the assets" "all others read it" "$a_scribble"
row "the next release is larger by 5 MB" "$b_release" "is beside it, in $(mb "$a_release") MB more"
row "MB left when all servers have ended" "$(mb "$b_left"), until ipcrm" "$(mb "$a_left"), until others want the room"
record migrate_sysv --argjson n "$SERVERS" --argjson files "$FILES" --argjson bw "$b_writer" --argjson bs "$b_servers" --argjson left "$b_left" \
	--argjson ad "$a_daemon" --argjson sv "$a_servers" --argjson next "$a_release" \
	'{servers: $n, set_mb: $files, before: {writer_bytes: $bw, servers_bytes: $bs, left_bytes: $left},
		after: {daemon_bytes: $ad, servers_bytes: $sv, next_release_bytes: $next}}'
