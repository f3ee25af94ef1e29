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
	noise $((i * 8011)) >"$src/$i.bin"
done
cp "$src/40.bin" "$src/same-as-40.bin"
: >"$src/empty"
noise 1100000 >"$src/large"
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

# A kernel short of memory, or one told to reclaim what lies idle, drops pages whenever it likes; what
# they held is then asked for again. What is said here of requests has to hold in one of five tries.
# undisturbed STEPS...: each a function that begins with a mount
undisturbed() {
	local try status
	for try in {1..5}; do
		note "$*: try $try"
		(for step in "$@"; do "$step"; done) &
		status=0
		wait $! || status=$?
		((status == 75)) || break
		"$ASSETFS" umount "$MNT"
		end_of_daemon
	done
	((status == 0)) || fail "$*: status $status in try $try"
	"$ASSETFS" umount "$MNT"
	end_of_daemon
}

# disturbed WHAT: ends a try
disturbed() {
	note "pages may have been dropped: $*"
	exit 75
}

# 16 processes on a cold daemon
cold() {
	"$ASSETFS" mount "$T/layout:v1" "$MNT"
	check_eq "opens seen" "$(image opens_seen)" false
	check_eq "opens" "$(image opens_total)" null
	read_by_many
	check_eq "errors" "$(image errors_total)" 0
	check_eq "passthrough" "$("$FSSTAT" --json | jq .passthrough)" null
	"$FSSTAT" | finds 'not seen' || fail "fsstat does not say that opens are not seen"
	"$ASSETFS" status | finds 'not seen' || fail "status does not say that opens are not seen"
	(check_decompressed "$T/layout:v1") || disturbed "chunks were decompressed twice"
}

# Nothing is asked of the daemon.
warm() {
	local requests asked
	find "$MNT" -ls >"$T/listing"
	wait_for quiet || fail "requests do not end"
	requests=$(image requests_total)
	"$READER" "$MNT" "$src" >"$T/reader.warm" || fail "warm reader"
	asked=$(($(image requests_total) - requests))
	((asked == 0)) || disturbed "$asked requests of warm opens, reads and mappings"
	find "$MNT" -ls >"$T/listing"
	asked=$(($(image requests_total) - requests))
	# find(1) asks what file system it is on, which the kernel keeps for nobody.
	((asked <= 1)) || disturbed "$asked requests of a warm find"
	[[ $(cached_kib) == $(find "$src" -type f -printf '%s\n' | awk '{ s += int(($1 + 4095) / 4096) * 4 } END { print s }') ]] ||
		disturbed "the kernel has $(cached_kib) KiB"
	wait_for region_is_small || fail "the region keeps $("$FSSTAT" --json | jq .region.used_bytes) bytes that the kernel has"
}

# What the kernel has is no longer in the region.
region_is_small() {
	"$FSSTAT" --json | jq -e '.region.used_bytes * 10 < .images[0].bytes' >/dev/null
}

# Files that lie in the chunk of 3/3.txt, wholly, and under no other name.
find_siblings() {
	sqlite3 "$(echo "$STORE"/indexes/*.sqlite)" "SELECT n.ino FROM extent e JOIN content c USING (content)
		JOIN node n USING (content) WHERE e.length = c.size AND e.chunk =
		(SELECT chunk FROM extent JOIN node USING (content) WHERE ino = $(stat -c %i "$MNT/3/3.txt"))
		GROUP BY content HAVING count(*) = 1" >"$T/inodes"
	mapfile -t siblings < <(awk -v mnt="$MNT/" 'NR == FNR { want[$1]; next } $1 in want { print substr($NF, length(mnt) + 1) }' \
		"$T/inodes" "$T/listing" | grep -v '^3/3.txt$')
	note "${#siblings[@]} siblings"
	((${#siblings[@]} > 3)) || fail "the chunk has too few files"
}

siblings_cached() {
	(cd "$MNT" && fincore --noheadings --output PAGES "${siblings[@]}") | awk '$1 == 0 { exit 1 }'
}

# What a read brought along is given to the kernel, for files that it knows.
listed() {
	local requests decompressed file asked
	"$ASSETFS" mount "$T/layout:v1" "$MNT"
	find "$MNT" -ls >"$T/listing"
	(($(image requests_total) <= 100)) || fail "a listing of $(wc -l <"$T/listing") names cost $(image requests_total) requests"
	check_eq "chunks decompressed for a listing" "$(counter chunks_decompressed_total)" 0
	cmp "$MNT/3/3.txt" "$src/3/3.txt"
	find_siblings
	wait_for siblings_cached || disturbed "siblings are not in the kernel's page cache"
	wait_for quiet || fail "requests do not end"
	requests=$(image requests_total)
	for file in "${siblings[@]}"; do
		cmp "$MNT/$file" "$src/$file"
	done
	asked=$(($(image requests_total) - requests))
	((asked == 0)) || disturbed "$asked requests for siblings"

	# Pages that the kernel has dropped come back, not each at the price of a chunk.
	decompressed=$(counter chunks_decompressed_total)
	for file in 3/3.txt "${siblings[@]}"; do
		dd if="$MNT/$file" iflag=nocache count=0 status=none
	done
	! siblings_cached || fail "pages are not dropped"
	for file in 3/3.txt "${siblings[@]}"; do
		cmp "$MNT/$file" "$src/$file"
	done
	decompressed=$(($(counter chunks_decompressed_total) - decompressed))
	((decompressed <= 5)) || disturbed "$decompressed chunks decompressed"
}

# Siblings that are looked up later are not asked for either.
looked_up_later() {
	"$ASSETFS" mount "$T/layout:v1" "$MNT"
	cmp "$MNT/3/3.txt" "$src/3/3.txt"
	find_siblings
	(cd "$MNT" && stat "${siblings[@]}") >"$T/stat"
	wait_for siblings_cached || disturbed "siblings are not given to the kernel when they are looked up"
}

undisturbed cold warm
PATIENCE=20 undisturbed listed
PATIENCE=20 undisturbed looked_up_later

note "unmounted while it is read, and readers killed"
"$ASSETFS" mount "$T/layout:v1" "$MNT"
pids=()
for i in {1..4}; do
	(cd "$MNT" && exec find . -type f -exec cmp -- {} "$src/{}" \;) >"$T/detached.$i" 2>&1 &
	pids+=($!)
done
"$READER" "$MNT" "$src" >"$T/killed" 2>&1 &
wait_for grep -q . "$T/listing"
"$ASSETFS" umount --lazy "$MNT"
kill -KILL $! || true
wait $! 2>/dev/null || true
for i in {1..4}; do
	wait "${pids[i - 1]}" || fail "reader of a detached mount"
	[[ ! -s $T/detached.$i ]] || fail "reader of a detached mount: $(head -n 3 "$T/detached.$i")"
done
end_of_daemon

note "the choice"
start_daemon --region-size 64M
mkdir "$T/other"
"$ASSETFS" mount --small-files=off "$T/layout:v1" "$MNT"
check_eq "opens seen" "$(image opens_seen)" true
cmp "$MNT/1/1.txt" "$src/1/1.txt"
check_eq "opens" "$(image opens_total)" 1
"$ASSETFS" mount --small-files=on "$T/layout:v1" "$T/other"
cmp "$T/other/1/1.txt" "$src/1/1.txt"
check_eq "sessions" "$("$FSSTAT" --json | jq -c '[.images[].opens_seen] | sort')" '[false,true]'
check_eq "chunks decompressed again" "$(counter chunks_decompressed_again_total)" 0
"$ASSETFS" umount "$T/other"
"$ASSETFS" umount "$MNT"
noise 5000000 >"$src/larger"
"$ASSETPACK" build "$src" "$T/layout:mixed" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
"$ASSETFS" mount "$T/layout:mixed" "$MNT"
check_eq "opens seen with large files" "$(image opens_seen)" true
"$ASSETFS" umount "$MNT"
rm "$src/larger"
expect_failure 1 "auto, on or off, not 'perhaps'" "$ASSETFS" mount --small-files=perhaps "$T/layout:v1" "$MNT"

note "a region that is too small"
stop_daemon
start_daemon --region-size 2M
"$ASSETFS" mount "$T/layout:v1" "$MNT"
read_by_many
check_eq "errors" "$(image errors_total)" 0
"$ASSETFS" umount "$MNT"
