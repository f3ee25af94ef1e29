#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A region that is too small for what is read: every byte is right all the same, by every way,
# and the region keeps its limit.
. "$(dirname "$0")/../support/mount_lib.sh"

src=$T/src
mkdir "$src"
noise 40000000 >"$src/large"
seq 1 3000000 >"$src/text"
for i in {1..400}; do
	head -c $((i * 501)) <(seq "$i" 1000000) >"$src/small-$i"
done
"$ASSETPACK" build "$src" "$T/layout:v1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
region_options=(--region-size 24M)
if [[ ${1:-} == disk ]]; then
	region_options+=(--region "$T/region")
fi
start_daemon "${region_options[@]}"
"$ASSETFS" mount "$T/layout:v1" "$MNT"

note "a file that stays mapped although it was closed"
mkdir "$T/mapped"
cp "$src/small-400" "$T/mapped/"
holder_of_one() {
	"$READER" --hold --ways shared "$MNT" "$T/mapped"
}
mkfifo "$T/hold"
holder_of_one <"$T/hold" >"$T/holder" &
holder=$!
exec {hold_fd}>"$T/hold"
holder_done() {
	grep -q '^done ' "$T/holder"
}
wait_for holder_done || fail "the holder does not read: $(cat "$T/holder")"

note "8 readers"
pids=()
for i in {1..8}; do
	"$READER" --shuffle --seed "$i" "$MNT" "$src" >"$T/reader.$i" &
	pids+=($!)
done
for i in {1..8}; do
	wait "${pids[i - 1]}" || fail "reader $i: $(cat "$T/reader.$i")"
done
"$FSSTAT"
check_eq "size of the region" "$("$FSSTAT" --json | jq .region.size_bytes)" 25165824
(($("$FSSTAT" --json | jq .region.used_bytes) <= 25165824)) || fail "the region has outgrown its limit"
(($("$FSSTAT" --json | jq '.images[0].resident_bytes') > 0)) || fail "the region is not used"
(($("$FSSTAT" --json | jq '.region.evictions_total') > 400)) || fail "hardly anything has left the region"
exec {hold_fd}>&-
wait "$holder" || fail "the mapped file has changed: $(cat "$T/holder")"
check_eq "errors" "$("$FSSTAT" --json | jq '.images[0].errors_total')" 0
"$ASSETFS" umount "$MNT"
