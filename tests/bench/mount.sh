#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# An image whose index names 1,000,000 files and 1 TB: how long it takes to mount, and how much memory
# the daemon takes for it. $FILES makes it smaller for a trial.
#
# First: the index is packed, and unpacked while it is in use. Again: the store has it. Cold: so it has, but nothing of it is in
# memory. Beside each time stands what it took of the processors, which other work on the machine
# moves less.
. "$(dirname "$0")/bench_lib.sh"

: "${FILES:=1000000}" "${ROUNDS:=5}"
OPENS=100000
BYTES=$((FILES * 1000000))
IMAGE=$T/layout:latest

# cpu_ms: of the daemon so far
cpu_ms() {
	awk -v hz="$(getconf CLK_TCK)" '{ printf "%.0f\n", ($14 + $15) * 1000 / hz }' "/proc/$daemon/stat"
}

# kib FIELD: of the daemon
kib() {
	awk -v field="$1:" '$1 == field { print $2 }' "/proc/$daemon/status"
}

# timed_mount: prints seconds, and milliseconds of the daemon's processors
timed_mount() {
	local cpu s
	cpu=$(cpu_ms)
	s=$(seconds "$ASSETFS" mount "$IMAGE" "$MNT")
	echo "$s $(($(cpu_ms) - cpu))"
}

# Until the image is gone: a mount before that would find it there.
unmount() {
	"$ASSETFS" umount "$MNT"
	wait_for no_mounts || fail "the image stays"
}

# index_kept: whether the index has its name, so that the next mount finds it
index_kept() {
	compgen -G "$STORE/indexes/*.sqlite" >/dev/null
}

# memory_line WHAT: prints and records what the daemon has now
memory_line() {
	local anon file peak
	anon=$(kib RssAnon)
	file=$(kib RssFile)
	peak=$(kib VmHWM)
	printf '%-34s %12s %12s %12s %12s %6s\n' "$1" "$anon" "$file" "$(kib VmRSS)" "$peak" \
		"$(within "$(kib VmRSS)" 65536)"
	record mount_memory --arg what "$1" --argjson files "$FILES" --argjson anon "$anon" --argjson file "$file" \
		--argjson rss "$(kib VmRSS)" --argjson peak "$peak" \
		'{what: $what, files: $files, anon_kib: $anon, file_kib: $file, resident_kib: $rss, peak_kib: $peak}'
}

# time_line WHAT GOAL LINE...
time_line() {
	local s cpu
	s=$(column_median 1 "${@:3}")
	cpu=$(column_median 2 "${@:3}")
	printf '%-34s %12s %12s %6s\n' "$1" "$(awk -v s="$s" 'BEGIN { printf "%.0f", s * 1000 }')" "$cpu" \
		"$([[ $2 == - ]] || within "$s" "$2")"
	record mount --arg what "$1" --argjson files "$FILES" --argjson s "$s" --argjson cpu "$cpu" \
		'{what: $what, files: $files, seconds: $s, daemon_cpu_ms: $cpu}'
}

# Small files, one in ten is not (big_image.c).
open_files() {
	local n=0 dir file
	for dir in "$MNT"/*; do
		for file in "$dir"/*[0-8]; do
			: <"$file"
			((++n < OPENS)) || return 0
		done
	done
}

"$BIG_IMAGE" "$T/layout" "$FILES" "$BYTES"
start_daemon --log-level info
for ((i = 0; i < ROUNDS; i++)); do
	rm -f "$STORE"/indexes/*
	first+=("$(timed_mount)")
	wait_for index_kept || fail "no index is kept"
	unmount
	again+=("$(timed_mount)")
	unmount
	sync
	echo 3 >/proc/sys/vm/drop_caches
	cold+=("$(timed_mount)")
	unmount
done
index=$(stat -c %s "$STORE"/indexes/*.sqlite)
packed=$(image_blobs "$IMAGE" | awk '$1 == "index" { print $3 }')

echo "An image of $FILES files and $((BYTES / 1000000000)) GB; index $(mb "$index") MB, packed $(mb "$packed") MB; medians of $ROUNDS"
printf '%-34s %12s %12s %6s\n' "mount" ms "daemon's ms" "0.1 s"
time_line "first: index packed" 0.1 "${first[@]}"
time_line "again" 0.1 "${again[@]}"
time_line "again, caches dropped" 0.1 "${cold[@]}"
echo
printf '%-34s %12s %12s %12s %12s %6s\n' "memory of the daemon, KiB" anonymous "of files" resident peak "64 MiB"
stop_daemon
start_daemon --log-level info
"$ASSETFS" mount "$IMAGE" "$MNT"
memory_line "mounted"
find "$MNT" -ls >/dev/null
memory_line "after find -ls of all"
open_files
memory_line "after opening $OPENS files"
unmount
memory_line "unmounted"
