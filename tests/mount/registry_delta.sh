#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A release whose base was mounted on the node before: its deltas are fetched in the place of its packs, where that is less, and
# what is wrong or gone of them or of the base is made up for by the packs.
. "$(dirname "$0")/../support/mount_lib.sh"
. "$(dirname "$0")/../support/registry_mount.sh"
: "${ADD_DELTA:?}"

mkdir "$T/a"
noise 3000000 >"$T/a/big"
seq 1 300000 >"$T/a/text"
for i in {1..100}; do
	head -c $((i * 97)) <(seq "$i" 100000) >"$T/a/small-$i.txt"
done
cp -r "$T/a" "$T/b"
for at in 100000 1500000 2999000; do
	printf 'changed bytes' | dd of="$T/b/big" bs=1 seek="$at" conv=notrunc status=none
done
sed -i '150000s/.*/another line/' "$T/b/text"
echo new >"$T/b/new"
for tag in a b; do
	"$ASSETPACK" build --from none "$T/$tag" "$T/layout:$tag" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
done
"$ADD_DELTA" "$T/layout" a b
start_registry
for tag in a b; do
	"$ASSETPACK" push --progress none "$T/layout:$tag" "$REAL/game:$tag" >"$T/push.log"
done

# layers TAG KIND: digests
layers() {
	"$ASSETPACK" inspect --json "$T/layout:$1" |
		jq -r --arg kind "$2" '[.images[].layers[] | select(.mediaType | contains("." + $kind + ".")).digest] | unique | .[]'
}

# sent_of DIGEST...: bytes of these blobs that were sent
sent_of() {
	local digest sum=0
	for digest; do
		sum=$((sum + $(awk -v d="$digest" 'index($2, d) { n += $1 } END { print n + 0 }' "$STUB/sent")))
	done
	echo "$sum"
}

# read_all TAG
read_all() {
	"$ASSETFS" mount "$HOST/game:$1" "$MNT"
	"$READER" "$MNT" "$T/$1" >"$T/reader" || fail "$1: $(tail -n 1 "$T/reader")"
	"$ASSETFS" umount "$MNT"
}

# begin_with TAG...: a store where these were read, and no more
begin_with() {
	local tag
	rm -rf "$STORE/remote" "$STORE/indexes" "$STORE"/store.db*
	start_daemon --fetch-rate off "${options[@]}"
	for tag; do
		read_all "$tag"
	done
	forget_sent
}

mapfile -t packs < <(layers b pack)
mapfile -t deltas < <(layers b delta)
# A region without room: nothing is there but what was fetched.
options=(--region-size 4K)

note "without the base, packs"
begin_with
read_all b
full=$(sent_of "${packs[@]}")
((full > 3000000)) || fail "$full bytes of packs"
check_eq "bytes of deltas" "$(sent_of "${deltas[@]}")" 0
stop_daemon

note "with it, deltas"
begin_with a
read_all b
sent=$(sent_of "${packs[@]}")
delta=$(sent_of "${deltas[@]}")
((delta > 0)) || fail "no delta was fetched"
(((sent + delta) * 5 < full)) || fail "$sent bytes of packs and $delta of deltas, not much less than $full"
# And so it stays, with a daemon that has not seen it.
stop_daemon
start_daemon --fetch-rate off "${options[@]}"
forget_sent
read_all b
sent=$(sent_of "${packs[@]}" "${deltas[@]}")
((sent * 10 < full)) || fail "$sent bytes came again"
stop_daemon

note "a delta that is wrong is no harm"
begin_with a
fault "*GET blobs/${deltas[0]} corrupt"
read_all b
(($(counter fetch_damaged_total) > 0)) || fail "nothing was wrong"
no_faults
stop_daemon

note "a delta that is missing, neither"
begin_with a
fault "*GET blobs/${deltas[0]} status 404"
expect_log 'a fetch failed'
read_all b
sent=$(sent_of "${packs[@]}")
((sent * 10 > full * 9)) || fail "$sent bytes of packs"
no_faults
stop_daemon

note "nor a base that is damaged"
begin_with a
stop_daemon
for pack in $(layers a pack); do
	file=$STORE/remote/blobs/sha256/${pack#sha256:}
	size=$(stat -c %s "$file")
	for ((at = 5000; at < size; at += 100000)); do
		printf 'wrong bytes' | dd of="$file" bs=1 seek="$at" conv=notrunc status=none
	done
done
start_daemon --fetch-rate off "${options[@]}"
read_all b
stop_daemon

note "nor one that leaves meanwhile"
options+=(--store-size 4M)
begin_with a
read_all b
read_all a
stop_daemon
