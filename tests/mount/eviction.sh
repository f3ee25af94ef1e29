#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A region of a quarter of what is read: 16 processes open, read and map random files of three
# images, two of them releases of one game, and compare every block. Objects come and go all the
# time, and nobody may see it.
. "$(dirname "$0")/../support/mount_lib.sh"

: "${CHURN:?}" "${DURATION:=4}"
SEED=${SEED:-$(date +%s)}
echo "   SEED=$SEED"

for image in a c; do
	mkdir "$T/$image"
	for i in {1..60}; do
		head -c $((i * 7001)) <(yes "small file $i of $image") >"$T/$image/small-$i"
	done
	for i in {1..6}; do
		noise $((i * 700001)) >"$T/$image/medium-$i"
	done
done
# Larger than what open(2) waits for: it is read in cached mode until it is complete.
noise $((17 << 20)) >"$T/a/large"
cp -r "$T/a" "$T/b"
for i in 1 3 5; do
	noise 50000 | dd of="$T/b/medium-$i" bs=1000 seek=$((i * 300)) conv=notrunc status=none
	echo "release b" >>"$T/b/small-$i"
done
trees=()
for image in a b c; do
	"$ASSETPACK" build "$T/$image" "$T/layout:$image" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
	mkdir "$T/mnt.$image"
	trees+=("$T/$image" "$T/mnt.$image")
done

fds() {
	find "/proc/$daemon/fd" -mindepth 1 -maxdepth 1 | wc -l
}

# a and c have 32 and 15 MB of files, b 7 MB that are not in a; one may be larger than the rest.
start_daemon --region-size 20M
for image in a b c; do
	"$ASSETFS" mount "$T/layout:$image" "$T/mnt.$image"
done
before=$(fds)

note "churn"
"$CHURN" --processes 16 --seconds "$DURATION" --actions 2000 --seed "$SEED" "${trees[@]}" >"$T/churn" 2>&1 ||
	fail "churn: $(tail -n 5 "$T/churn")"
tail -n 1 "$T/churn"
"$FSSTAT" --json | jq -c '.region, .cache'
check_eq "errors" "$("$FSSTAT" --json | jq '[.images[].errors_total] | add')" 0
(($("$FSSTAT" --json | jq .region.used_bytes) <= 20 << 20)) || fail "the region has outgrown its limit"
(($("$FSSTAT" --json | jq '.region.evictions_total // 0') > 0)) || fail "nothing was evicted"
few_fds() {
	(($(fds) <= before + 64))
}
wait_for few_fds || fail "the daemon has $(fds) descriptors, $before before"

note "all of it still reads"
for image in a b c; do
	"$READER" "$T/mnt.$image" "$T/$image" >"$T/reader" || fail "reader of $image: $(tail -n 1 "$T/reader")"
	"$ASSETFS" umount "$T/mnt.$image"
done
