#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Images mounted straight from a registry: only what is touched comes, each byte once, whoever wants it; what has come
# is there after a restart, and without the registry.
. "$(dirname "$0")/../support/mount_lib.sh"
. "$(dirname "$0")/../support/registry_mount.sh"
expect_log "refused: '127.0.0.1:[0-9]*/game': the host cannot be reached"

mkdir "$T/src"
noise 12000000 >"$T/src/noise"
noise 20000000 >"$T/src/large"
seq 1 1000000 >"$T/src/text"
for i in {1..300}; do
	head -c $((i * 97)) <(seq "$i" 100000) >"$T/src/small-$i.txt"
done
"$ASSETPACK" build "$T/src" "$T/layout:v1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
start_registry
"$ASSETPACK" push --progress none "$T/layout:v1" "$REAL/game:v1" >"$T/push.log"
image=$(du -sb "$T/layout/blobs" | cut -f 1)

# Everything reads as it should.
read_all() {
	"$READER" --ways shared "$MNT" "$T/src" >"$T/reader" || fail "mounted: $(tail -n 1 "$T/reader")"
}

note "options"
for option in --store-size=0 --store-size=x --fetch-rate=0 --fetch-rate=fast --fetch-timeout=0 --tag-interval=x --busy-poll=x --busy-poll=10001; do
	expect_failure 2 "is not valid" "$ASSETFS" serve "$option"
done

note "what is not touched does not come"
start_daemon --fetch-rate off
"$ASSETFS" mount "$HOST/game:v1" "$MNT"
forget_sent
cmp "$MNT/small-7.txt" "$T/src/small-7.txt"
(($(sent_bytes) < image / 20)) || fail "a small file costs $(sent_bytes) bytes of $image"
cmp -n 100000 "$MNT/large" "$T/src/large"
(($(sent_bytes) < image / 4)) || fail "the beginning of a file costs $(sent_bytes) bytes of $image"
check_eq "bytes fetched" "$(($(counter bytes_fetched_total) > 0))" 1

note "sixteen readers at once"
for i in {1..16}; do
	"$READER" --ways read "$MNT" "$T/src" >"$T/reader.$i" &
	readers[i]=$!
done
for pid in "${readers[@]}"; do
	wait "$pid" || fail "a reader found wrong bytes"
done
read_all
(($(sent_bytes) <= image * 101 / 100)) || fail "$(sent_bytes) bytes came of an image of $image"
check_eq "fetch errors" "$(counter fetch_errors_total)" 0
"$FSSTAT" | finds '^fetched  [0-9.]* MiB by [0-9]* transfers, of which 0 failed; 0 times' || fail "$("$FSSTAT")"
check_decompressed "$T/layout:v1"

note "a restart fetches nothing again"
stop_daemon
forget_sent
start_daemon --fetch-rate off
"$ASSETFS" mount "$HOST/game:v1" "$MNT"
read_all
check_eq "bytes sent after a restart" "$(sent_bytes)" 0

note "sixteen mounts at once, on a node that has nothing"
"$ASSETFS" umount "$MNT"
stop_daemon
rm -r "$STORE"
mkdir "$STORE"
forget_sent
start_daemon --fetch-rate 1G
for i in {1..16}; do
	mkdir "$T/mnt.$i"
	("$ASSETFS" mount "$HOST/game:v1" "$T/mnt.$i" && "$READER" --ways read "$T/mnt.$i" "$T/src" >"$T/reader.$i") &
	readers[i]=$!
done
for pid in "${readers[@]}"; do
	wait "$pid" || fail "a mount failed, or a reader found wrong bytes"
done
(($(sent_bytes) <= image * 101 / 100)) || fail "$(sent_bytes) bytes came of an image of $image"
for i in {2..16}; do
	"$ASSETFS" umount "$T/mnt.$i"
done
"$ASSETFS" umount "$T/mnt.1"
"$ASSETFS" mount "$HOST/game:v1" "$MNT"

note "nor is the registry needed for what has a digest"
"$ASSETFS" umount "$MNT"
digest=$(jq -r '.manifests[0].digest' "$T/layout/index.json")
registry_down
"$ASSETFS" mount "$HOST/game@$digest" "$MNT"
read_all
"$ASSETFS" umount "$MNT"
expect_failure 1 "$HOST/game" "$ASSETFS" mount "$HOST/game:v1" "$MNT"
echo "   $(cat "$T/stderr")"
stop_daemon

note "a daemon that is killed while it fetches, and one that takes over while the registry is away"
expect_log 'was ended by signal 9|cannot be reached|not fetched'
rm -r "$STORE"
mkdir "$STORE"
registry_up
"$ASSETFS" keeper --store "$STORE" --fetch-rate off --fetch-timeout 600 2>>"$STORE/assetfs.log" &
keeper=$!
wait_for status_ok || fail "daemon does not answer"
"$ASSETFS" mount "$HOST/game:v1" "$MNT"
"$READER" --ways read "$MNT" "$T/src" >"$T/reader" &
reader=$!
some_fetched() {
	(($(counter bytes_fetched_total) > image / 10)) || ! kill -0 $reader 2>/dev/null
}
wait_for some_fetched
pid=$(daemon_pid)
kill -KILL "$pid"
wait_for next_daemon || fail "no other daemon"
wait $reader || fail "the reader sees that the daemon was killed: $(tail -n 1 "$T/reader")"
registry_down
pid=$(daemon_pid)
kill -KILL "$pid"
wait_for next_daemon || fail "no other daemon without the registry"
read_all
"$ASSETFS" umount "$MNT"
kill $keeper
wait $keeper || fail "the keeper ends with status $?"
