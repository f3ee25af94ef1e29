#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What the store has of registries: the rest that comes in the background, a limit of size, daemons that are killed,
# files that are damaged or lost, waits that nobody is interested in any more.
. "$(dirname "$0")/../support/mount_lib.sh"
. "$(dirname "$0")/../support/registry_mount.sh"

# build TAG BYTES: an image of noise and some text, in the registry; its source is $T/TAG
build() {
	mkdir "$T/$1"
	for i in {1..5}; do
		noise $(($2 / 5)) >"$T/$1/noise-$i"
	done
	seq "$(wc -c <"$T/$1/noise-1")" 300000 >"$T/$1/text"
	"$ASSETPACK" build --from none "$T/$1" "$T/layout:$1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
	"$ASSETPACK" push --progress none "$T/layout:$1" "$REAL/game:$1" >"$T/push.log"
}

# packs TAG: their bytes
packs() {
	"$ASSETPACK" inspect --json "$T/layout:$1" |
		jq '[.images[].layers[] | select(.mediaType | contains(".pack."))] | unique | map(.size) | add'
}

read_all() {
	"$READER" --ways read "$MNT" "$T/$1" >"$T/reader" || fail "$1: $(tail -n 1 "$T/reader")"
}

mount_tag() {
	"$ASSETFS" mount "$HOST/game:$1" "$MNT"
}

used() {
	"$FSSTAT" --json | jq -er .store.used_bytes
}

start_registry
build a 10000000
build b 9000000

note "the rest comes in the background"
start_daemon --fetch-rate 1G
mount_tag a
came() {
	(($(used) >= $(packs a)))
}
wait_for came || fail "only $(used) bytes of $(packs a) have come"
registry_down
read_all a
"$ASSETFS" umount "$MNT"
stop_daemon
registry_up

note "what is not used leaves"
# Of both images there is room for one. Plain bytes do not stay either.
start_daemon --fetch-rate 1G --store-size 15M --region-size 4M
fits() {
	(($(used) <= 15 << 20))
}
for tag in b a b; do
	mount_tag "$tag"
	read_all "$tag"
	"$ASSETFS" umount "$MNT"
	wait_for fits || fail "$(used) bytes are in the store"
done
"$FSSTAT" --check 'store_evictions>=2'
(($(du -sB1 "$STORE/remote" | cut -f 1) < 20 << 20)) || fail "$(du -sh "$STORE/remote") on disk"
stop_daemon

note "a store that is smaller than an image"
start_daemon --fetch-rate 1G --store-size 4M
mount_tag a
read_all a
"$ASSETFS" umount "$MNT"
stop_daemon

note "a daemon that is killed"
rm -r "$STORE/remote" "$STORE"/store.db*
start_daemon --fetch-rate off
mount_tag a
forget_sent
cmp "$MNT/noise-1" "$T/a/noise-1"
cmp "$MNT/noise-3" "$T/a/noise-3"
# What is under way when it is killed comes again.
landed() {
	python3 -c 'import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
sys.exit(db.execute("SELECT sum(stop - start) FROM fetched").fetchone()[0] != int(sys.argv[2]))' "$STORE/store.db" "$(used)"
}
wait_for landed || fail "what came is not remembered"
kill -KILL "$daemon"
wait "$daemon" || true
umount -l "$MNT"
start_daemon --fetch-rate off
mount_tag a
read_all a
(($(sent_bytes) <= $(packs a) * 101 / 100 + 100000)) || fail "$(sent_bytes) bytes were sent of $(packs a)"
check_eq "damage after a kill" "$(counter fetch_damaged_total)" 0
"$ASSETFS" umount "$MNT"
stop_daemon

note "files that are damaged"
for file in "$STORE"/remote/blobs/sha256/*; do
	size=$(stat -c %s "$file")
	for ((at = 5000; at < size; at += 1000000)); do
		printf 'wrong bytes' | dd of="$file" bs=1 seek="$at" conv=notrunc status=none
	done
done
rm "$STORE"/indexes/*
start_daemon --fetch-rate off
mount_tag a
read_all a
(($(counter fetch_damaged_total) > 0)) || fail "the damage was not seen"
"$ASSETFS" umount "$MNT"
stop_daemon

note "files that are lost"
rm "$STORE"/remote/blobs/sha256/*
start_daemon --fetch-rate off
mount_tag a
read_all a
"$ASSETFS" umount "$MNT"
stop_daemon
echo "this is no database" >"$STORE/store.db"
expect_log 'a fetch failed|the store forgets|(open|read) .* of 127\.0\.0\.1:'
start_daemon --fetch-rate off
mount_tag a
read_all a

note "a prefetch of an image that is not mounted"
"$ASSETFS" prefetch --all --wait "$HOST/game:b"
"$ASSETFS" umount "$MNT"
digest=$(jq -r '.manifests[] | select(.annotations["org.opencontainers.image.ref.name"] == "b").digest' "$T/layout/index.json")
registry_down
"$ASSETFS" mount "$HOST/game@$digest" "$MNT"
read_all b
"$ASSETFS" umount "$MNT"
registry_up

note "forty who wait, and one who need not"
stop_daemon
rm -r "$STORE/remote" "$STORE"/store.db*
start_daemon --fetch-rate off --fetch-timeout 6000
mount_tag a
cmp "$MNT/noise-1" "$T/a/noise-1"
registry_down
: >"$STORE/assetfs.log"
waiting=()
for i in {1..40}; do
	cmp "$MNT/noise-$((i % 3 + 3))" "$T/a/noise-$((i % 3 + 3))" &
	waiting+=($!)
done
wait_for grep -q 'a fetch failed' "$STORE/assetfs.log" || fail "nobody waits"
cmp "$MNT/noise-1" "$T/a/noise-1"
kill -0 "${waiting[0]}" || fail "who should wait does not"
registry_up
for pid in "${waiting[@]}"; do
	wait "$pid" || fail "who has waited does not get the right bytes"
done
"$ASSETFS" umount "$MNT"
stop_daemon

note "waits, and what goes on meanwhile"
: >"$STORE/assetfs.log"
rm -r "$STORE/remote" "$STORE"/store.db*
start_daemon --fetch-rate off --fetch-timeout 5
mount_tag a
registry_down
cat "$MNT/noise-2" >/dev/null 2>&1 &
reader=$!
wait_for grep -q 'a fetch failed' "$STORE/assetfs.log" || fail "nobody waits"
timeout "$PATIENCE" "$ASSETFS" status >/dev/null || fail "the daemon does not answer while somebody waits"
umount -l "$MNT"
kill -KILL "$reader"
wait "$reader" || true
wait_for no_mounts || fail "the session does not end"
stop_daemon

note "a daemon that ends while somebody waits"
registry_up
start_daemon --fetch-rate off --fetch-timeout 6000
mount_tag a
registry_down
: >"$STORE/assetfs.log"
cat "$MNT/noise-2" >/dev/null 2>&1 &
reader=$!
wait_for grep -q 'a fetch failed' "$STORE/assetfs.log" || fail "nobody waits"
stop_daemon
wait "$reader" || true
