#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# kill -9 of a daemon without a keeper while files are open and being read: nobody hangs, the next
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
start_daemon --region-size 1G
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
kill_daemons
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

note "the next daemon mounts again over the dead mount, also in a container that has it by propagation"
expect_log 'mounted again over the dead mount'
"$ASSETFS" umount --lazy "$MNT"
mount --bind "$T" "$T"
mount --make-shared "$T"
start_daemon --region-size 1G
mkdir "$T/part"
"$ASSETFS" mount "$T/layout:v1" "$MNT"
mount --bind "$MNT" "$T/part"
mkfifo "$T/ask"
# A container, as mountPropagation: HostToContainer has it.
unshare --mount --propagation slave bash -c 'while read -r line <"$1/ask"; do
	cat "$1/mnt/small-$line" >"$1/answer.new" 2>&1; mv "$1/answer.new" "$1/answer"; done' - "$T" &
container=$!
# asked N: whether the container reads the file
asked() {
	rm -f "$T/answer"
	echo "$1" >"$T/ask"
	wait_for test -e "$T/answer" || fail "the container does not answer"
	cmp -s "$T/answer" "$src/small-$1"
}
asked 8 || fail "the container cannot read before the crash"
kill_daemons
! asked 9 || fail "the container reads without a daemon"
# Another release has the name by now; what was mounted is what is mounted again.
mv "$src/small-7" "$T/moved"
"$ASSETPACK" build "$src" "$T/layout:v1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
mv "$T/moved" "$src/small-7"
start_daemon --region-size 1G
asked 10 || fail "the container reads $(<"$T/answer")"
cmp "$src/small-11" "$T/part/small-11"
"$READER" "$MNT" "$src" >"$T/reader" || fail "after the crash: $(cat "$T/reader")"
check_eq "chunks decompressed again" "$(counter chunks_decompressed_again_total)" 0
exec {held}<&-

note "five crashes in a row"
for _ in {1..5}; do
	kill_daemons
	start_daemon --region-size 1G
	cmp "$src/small-5" "$MNT/small-5"
done
kill $container
"$ASSETFS" umount "$T/part"
wait_for test ! -e "$T/part/small-1" || fail "a dead mount was below"

note "nothing is left"
last=$(own_connections)
"$ASSETFS" umount "$MNT"
check_eq "mounts" "$(own_mounts)" ""
stop_daemon
connections_gone() {
	[[ ! -e /sys/fs/fuse/connections/$connection && ! -e /sys/fs/fuse/connections/$last ]]
}
wait_for connections_gone || fail "connections $connection and $last: $(ls /sys/fs/fuse/connections)"
# The first region held 256 MiB; other programs on the machine may use some memory meanwhile.
memory_back() {
	(($(shmem_mib) < shmem + 192))
}
wait_for memory_back || fail "Shmem was $shmem MiB before and is $(shmem_mib) MiB"
