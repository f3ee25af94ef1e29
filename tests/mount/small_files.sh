#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Images of small files: the kernel opens files without the daemon and is given what it will read.
. "$(dirname "$0")/../support/mount_lib.sh"

src=$T/src
mkdir "$src"
for i in {1..1500}; do
	dir=$src/$((i % 10))
	[[ -d $dir ]] || mkdir "$dir"
	head -c $((i * 15)) <(seq $((i * 1000)) 100000000) >"$dir/$i.txt"
done
for i in {1..40}; do
	head -c $((i * 8011)) /dev/urandom >"$src/$i.bin"
done
cp "$src/40.bin" "$src/same-as-40.bin"
: >"$src/empty"
head -c 1100000 /dev/urandom >"$src/large"
"$ASSETPACK" build "$src" "$T/layout:v1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"

# image KEY: of the only mount
image() {
	"$FSSTAT" --json | jq -r ".images[0].$1"
}

# read_by_many: 16 processes compare all of $MNT, in orders of their own
read_by_many() {
	local i pids=() bad=0
	for i in {0..15}; do
		case $((i % 3)) in
		0) "$READER" --shuffle --seed "$i" --ways read "$MNT" "$src" >"$T/reader.$i" & ;;
		1) "$READER" --shuffle --seed "$i" --ways shared,random "$MNT" "$src" >"$T/reader.$i" & ;;
		2) "$READER" --shuffle --seed "$i" "$MNT" "$src" >"$T/reader.$i" & ;;
		esac
		pids+=($!)
	done
	for i in {0..15}; do
		wait "${pids[i]}" || bad=1
	done
	((bad == 0)) || fail "wrong bytes or errors"
}

# cached_kib: of the files' pages that the kernel has by way of the mount
cached_kib() {
	find "$MNT" -type f -size +0 -print0 | xargs -0 fincore --bytes --noheadings --output RES |
		awk '{ s += $1 } END { print s / 1024 }'
}

# Requests that the kernel sends by itself come late, as those of an open file's end.
quiet() {
	local before
	before=$(image requests_total)
	sleep 0.2
	[[ $(image requests_total) == "$before" ]]
}

note "16 processes on a cold daemon"
"$ASSETFS" mount "$T/layout:v1" "$MNT"
check_eq "opens seen" "$(image opens_seen)" false
check_eq "opens" "$(image opens_total)" null
read_by_many
check_decompressed "$T/layout:v1"
check_eq "errors" "$(image errors_total)" 0
check_eq "passthrough" "$("$FSSTAT" --json | jq .passthrough)" null
"$FSSTAT" | grep -q 'not seen' || fail "fsstat does not say that opens are not seen"
"$ASSETFS" status | grep -q 'not seen' || fail "status does not say that opens are not seen"

note "warm: nothing is asked of the daemon"
find "$MNT" -ls >"$T/listing"
wait_for quiet || fail "requests do not end"
requests=$(image requests_total)
"$READER" "$MNT" "$src" >"$T/reader.warm" || fail "warm reader"
check_eq "requests of warm opens, reads and mappings" "$(image requests_total)" "$requests"
find "$MNT" -ls >"$T/listing"
# find(1) asks what file system it is on, which the kernel keeps for nobody.
(($(image requests_total) <= requests + 1)) || fail "requests of a warm find: $(($(image requests_total) - requests))"
"$FSSTAT" --json | jq -c '[.region, .cache]'
cached_kib
"$ASSETFS" umount "$MNT"
