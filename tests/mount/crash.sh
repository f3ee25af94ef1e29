#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# kill -9 of the daemon while files are open and being read: nobody hangs, the next
# mount works, and in the end nothing is left.
. "$(dirname "$0")/../support/mount_lib.sh"

# Threads that were in the kernel when it happened may say so.
expect_log 'Transport endpoint|Connection aborted'

shmem_mib() {
	awk '/^Shmem:/ { print int($2 / 1024) }' /proc/meminfo
}

src=$T/src
mkdir "$src"
noise 268435456 >"$src/large"
for i in {1..300}; do
	seq "$i" $((i * 50)) >"$src/small-$i"
done
"$ASSETPACK" build "$src" "$T/layout:v1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
shmem=$(shmem_mib)
"$ASSETFS" mount "$T/layout:v1" "$MNT"
connection=$(own_connections)
[[ -e /sys/fs/fuse/connections/$connection ]] || fail "no connection $connection"

note "kill -9 under load"
cat "$MNT/large" >/dev/null
readers=()
for i in {1..4}; do
	(while cat "$MNT/small-$((RANDOM % 300 + 1))" "$MNT/large" >/dev/null 2>&1; do :; done) &
	readers+=($!)
	"$READER" --seed "$i" --shuffle "$MNT" "$src" >/dev/null 2>&1 &
	readers+=($!)
done
exec {held}<"$MNT/small-7"
under_load() {
	(($(counter opens_total) > 100))
}
wait_for under_load || fail "the readers open nothing"
kill -KILL "$(daemon_pid)"
wait_for no_daemon || fail "the daemon survives SIGKILL"
# The readers meet errors and end by themselves.
for pid in "${readers[@]}"; do
	gone() {
		! kill -0 "$pid" 2>/dev/null
	}
	wait_for gone || fail "process $pid hangs: $(cat "/proc/$pid/stat")"
done
no_stuck() {
	[[ -z $(stuck_processes) ]]
}
wait_for no_stuck || fail "in uninterruptible sleep: $(stuck_processes)"
if timeout "$PATIENCE" cat "$MNT/small-1" >/dev/null 2>"$T/stderr"; then
	fail "a file opens without a daemon"
fi
grep -q 'Transport endpoint' "$T/stderr" || fail "$(cat "$T/stderr")"

note "mount again in the same place, while a file of the dead mount is open"
"$ASSETFS" mount "$T/layout:v1" "$MNT"
check_eq "mounts in one place" "$(own_mounts | wc -l)" 1
"$READER" "$MNT" "$src" >"$T/reader" || fail "after the crash: $(cat "$T/reader")"
check_eq "chunks decompressed again" "$(counter chunks_decompressed_again_total)" 0
exec {held}<&-

note "five crashes in a row"
for _ in {1..5}; do
	cat "$MNT/small-5" >/dev/null
	kill -KILL "$(daemon_pid)"
	wait_for no_daemon || fail "the daemon survives SIGKILL"
	"$ASSETFS" mount "$T/layout:v1" "$MNT"
	cmp "$src/small-5" "$MNT/small-5"
done

note "nothing is left"
last=$(own_connections)
"$ASSETFS" umount "$MNT"
check_eq "mounts" "$(own_mounts)" ""
wait_for no_daemon || fail "the daemon stays without mounts"
connections_gone() {
	[[ ! -e /sys/fs/fuse/connections/$connection && ! -e /sys/fs/fuse/connections/$last ]]
}
wait_for connections_gone || fail "connections $connection and $last: $(ls /sys/fs/fuse/connections)"
# The first region held 256 MiB; other programs on the machine may use some memory meanwhile.
memory_back() {
	(($(shmem_mib) < shmem + 192))
}
wait_for memory_back || fail "Shmem was $shmem MiB before and is $(shmem_mib) MiB"
