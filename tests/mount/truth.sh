#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Counters against ground truth: random opens of two releases that share much, every counter worked
# out from the indexes by a model (truth.py) that shares no code with the daemon.
# SEED=N repeats a run.
. "$(dirname "$0")/../support/mount_lib.sh"

seed=${SEED:-$RANDOM}
echo "SEED=$seed"
RANDOM=$seed
src=$T/src
mkdir -p "$src/dir"
for i in {1..40}; do
	noise $((RANDOM * 3)) >"$src/small.$i"
done
for i in {1..4}; do
	noise $((RANDOM * 90 + 1)) >"$src/dir/large.$i"
done
# Of several chunks, so that the next release shares some of them.
noise 4000000 >"$src/dir/large.2"
cp "$src/small.7" "$src/dir/again"
cp "$src/dir/large.1" "$src/large.again"
touch "$src/empty"
"$ASSETPACK" build "$src" "$T/layout:1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
# The next release: some files edited, one longer, one new, one of another name.
for i in {1..9}; do
	printf edited | dd of="$src/small.$i" bs=1 seek=$((RANDOM % 1000)) conv=notrunc status=none
done
cat "$src/small.12" >>"$src/dir/large.2"
noise 50000 >"$src/new"
mv "$src/dir/large.3" "$src/moved"
"$ASSETPACK" build "$src" "$T/layout:2" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"

# The index that was not there before; it has its name once it is durable.
new_index() {
	find "$STORE/indexes" -name '*.sqlite' -printf '%f\n' | grep -vxFf "$T/before" >"$T/index"
}

# What is filled ahead depends on who is faster.
start_daemon --fill-ahead 0
mounts=()
for tag in 1 2; do
	mkdir "$T/$tag"
	ls "$STORE/indexes" >"$T/before" 2>/dev/null || true
	"$ASSETFS" mount "$T/layout:$tag" "$T/$tag"
	wait_for new_index || fail "no index in the store"
	mounts+=("$T/$tag=$STORE/indexes/$(cat "$T/index")")
done
python3 "$SUPPORT/truth.py" "$seed" 200 "${mounts[@]}" || fail "SEED=$seed"
for tag in 1 2; do
	"$ASSETFS" umount "$T/$tag"
done
stop_daemon
