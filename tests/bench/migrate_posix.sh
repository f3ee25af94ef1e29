#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Before: one container writes the assets into POSIX shared memory, that is /dev/shm, for others. After: each maps files of a
# mount; and what one file costs that is larger than what an open fills whole. Containers are mount and IPC namespaces with the 64 MiB of /dev/shm that engines give, and memory cgroups with less
# than the set of FILES MB.
. "$(dirname "$0")/migrate_lib.sh"

: "${FILES:=$(small 80 256)}"
SHM=$((64 << 20))
ONE=$((FILES / 2)) # MB of the one file
LIMIT_BYTES=$((48 << 20))
((FILES * 1000000 > SHM)) || fail "a set of $FILES MB is not larger than /dev/shm"
make_set "$T/src" "$FILES"
mapfile -t files < <(find "$T/src" -type f | sort)
pack "$T/src" "$T/layout:v1"
wanted=$("$MIGRATING/mapped" "${files[@]}" </dev/null)
ulimit -c 0

# A container whose /dev/shm has $1 bytes, or is the directory $1.
# shellcheck disable=SC2016
container=(unshare --mount --ipc --propagation slave sh -c '
	case $1 in
	/*) mount --bind "$1" /dev/shm ;;
	*) mount -t tmpfs -o "size=$1" shm /dev/shm ;;
	esac && shift && exec "$@"' sh)

limit_group() {
	if [[ $CGROUP_VERSION == 1 ]]; then
		echo $LIMIT_BYTES >"$GROUP/$1/memory.limit_in_bytes"
		[[ ! -e $GROUP/$1/memory.memsw.limit_in_bytes ]] || echo $LIMIT_BYTES >"$GROUP/$1/memory.memsw.limit_in_bytes"
	else
		[[ ! -e $GROUP/$1/memory.swap.max ]] || echo 0 >"$GROUP/$1/memory.swap.max"
		echo $LIMIT_BYTES >"$GROUP/$1/memory.max"
	fi
}

# ends_with STATUS GROUP COMMAND...
ends_with() {
	local status=0
	# The shell tells of signals.
	{ (group_run "$2" "${@:3}") </dev/null >"$T/out.$2" 2>&1; } 2>/dev/null || status=$?
	check_eq "$2: $(tail -n 1 "$T/out.$2"): status" "$status" "$1"
}

# ---- before ----
by_bus=$((128 + 7)) by_kill=$((128 + 9))
mkdir "$T/shm"
mount -t tmpfs -o size=$SHM shm "$T/shm"
group_new writer
ends_with $by_bus writer "${container[@]}" "$T/shm" "$MIGRATING/segment" posix-write /assets "${files[@]}"
written=$(($(stat -c %b "$T/shm/assets") * 512))
rm "$T/shm/assets"
group_remove writer
mount -o "remount,size=$((FILES * 2))m" "$T/shm"
group_new limited
limit_group limited
ends_with $by_kill limited "${container[@]}" "$T/shm" "$MIGRATING/segment" posix-write /assets "${files[@]}"
rm "$T/shm/assets"
group_remove limited
held writer '^written ' "${container[@]}" "$T/shm" "$MIGRATING/segment" posix-write /assets "${files[@]}"
held reader '^bytes=' "${container[@]}" "$T/shm" "$MIGRATING/segment" posix-read /assets
check_eq "a reader" "$(cat "$T/out.reader")" "$wanted"
b_writer=$(charged writer)
b_own=$(why_not "${container[@]}" $SHM "$MIGRATING/segment" posix-read /assets)
let_go reader
let_go writer
b_left=$(($(stat -c %b "$T/shm/assets") * 512))
umount "$T/shm"

# ---- after ----
serve_in_group
"$ASSETFS" mount "$T/layout:v1" "$MNT"
for name in one two; do
	group_new "$name"
	limit_group "$name"
	held "$name" '^bytes=' "${container[@]}" $SHM "$MIGRATING/mapped" "${files[@]/#$T\/src/$MNT}"
	check_eq "container $name" "$(cat "$T/out.$name")" "$wanted"
done
a_daemon=$(charged daemon)
a_readers=$(charged one two)
check_eq "/dev/shm of a container" "$(nsenter --mount="/proc/${held_pids[one]}/ns/mnt" stat -f -c '%b %f' /dev/shm)" \
	"$((SHM / 4096)) $((SHM / 4096))"
let_go one two
"$ASSETFS" umount "$MNT"
a_left=$("$FSSTAT" --json | jq .region.used_bytes)
mkdir "$T/one"
"$MAKE_TREE" file "$T/one/file" $((ONE * 1000000))
pack "$T/one" "$T/layout:one"
"$ASSETFS" mount "$T/layout:one" "$MNT"
held one '^bytes=' "$MIGRATING/mapped" "$MNT/file"
cold=$(charged one)
let_go one
"$ASSETFS" prefetch --all --wait "$MNT"
held one '^bytes=' "$MIGRATING/mapped" "$MNT/file"
check_eq "the file" "$(cat "$T/out.one")" "$("$MIGRATING/mapped" "$T/one/file" </dev/null)"
filled=$(charged one)
let_go one
((filled < ONE * 1000000 / 4)) || fail "a server is charged $filled bytes of a file that is filled"
"$ASSETFS" umount "$MNT"
stop_served

echo "POSIX shared memory, then a mount: two containers, $FILES MB of assets"
row "" before after
row "/dev/shm of 64 MiB" "SIGBUS after $(mb "$written") MB" "both read all; it stays empty"
row "memory limit of 48 MiB, enough /dev/shm" "killed, out of memory" "both read all"
row "no limit, enough /dev/shm: MB charged" "$(mb "$b_writer") to the writer" "$(mb "$a_daemon") to the daemon, $(mb "$a_readers") to both"
row "a container with a /dev/shm of its own" "$b_own" "reads"
row "MB left when both have ended" "$(mb "$b_left"), until it is removed" "$(mb "$a_left"), until others want the room"
echo "A server that maps one file of $ONE MB is charged $(mb "$cold") MB before it is filled, $(mb "$filled") MB when it is"
record migrate_posix --argjson files "$FILES" --argjson written "$written" --argjson bw "$b_writer" --argjson ad "$a_daemon" --argjson ar "$a_readers" --argjson cold "$cold" --argjson filled "$filled" \
	'{set_mb: $files, shm_bytes: 67108864, limit_bytes: 50331648, before: {sigbus_after_bytes: $written, writer_bytes: $bw},
		after: {daemon_bytes: $ad, readers_bytes: $ar, one_file_cold_bytes: $cold, one_file_filled_bytes: $filled}}'
