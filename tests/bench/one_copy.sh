#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# One copy on a node: 1 to 64 readers, each in a mount namespace and a memory cgroup of its own,
# map the mounted tree, touch every page and keep the maps; the daemon has a cgroup, too. Then the
# same with two releases that differ in some files, side by side.
#
# What is counted, SETTLE seconds after the last reader is ready:
#   total    what the daemon's cgroup is charged for: region, its own memory, page cache of indexes,
#            packs and FUSE inodes; and file pages charged to readers' cgroups
#   unique   bytes of the files of different contents
#   +kernel  ratio of total with the kernel's memory for it: inodes, names, open files
# Programs and libraries are in memory before, on nobody's account. Readers' own memory, anonymous
# and page tables, is listed apart: any file system costs that.
LIMIT=3600
. "$(dirname "$0")/bench_lib.sh"
# shellcheck source=cgroup_lib.sh
. "$(dirname "$0")/cgroup_lib.sh"

: "${READERS:=1 4 16 64}"
HOLD=$BUILD/tests/bench/hold
GOAL=1.03
READERS_GOAL=0.01

# unique DIR...: bytes of all files of different contents, by their digests; and in whole pages, of
# which any page cache is made
unique() {
	find "$@" -type f -size +0 -exec sha256sum {} + | awk '{ print $1, substr($0, 67) }' | sort -u -k 1,1 |
		cut -d ' ' -f 2- | tr '\n' '\0' | xargs -0 stat -L -c %s |
		awk '{ s += $1; p += int(($1 + 4095) / 4096) * 4096 } END { printf "%.0f %.0f\n", s, p }'
}

# change FILE: its middle byte
change() {
	local at=$(($(stat -c %s "$1") / 2)) byte
	byte=$(od -An -tu1 -j "$at" -N 1 "$1")
	# shellcheck disable=SC2059
	printf "\\x$(printf %02x $((byte ^ 1)))" | dd of="$1" bs=1 seek="$at" conv=notrunc status=none
}

cached_kib() {
	fincore -b -n -r -o RES "$@" 2>/dev/null | awk '{ s += $1 } END { printf "%.0f\n", s / 1024 }'
}

# What the daemon has read from disks.
daemon_read_bytes() {
	awk '/^read_bytes/ { print $2 }' "/proc/$daemon/io"
}

daemon_rss_kib() {
	awk '/^RssAnon/ { print $2 }' "/proc/$daemon/status"
}

serve_in_group() {
	(group_run daemon "$ASSETFS" serve --store "$STORE") 2>>"$STORE/assetfs.log" &
	daemon=$!
	wait_for status_ok || fail "daemon does not answer"
}

# measure WHAT UNIQUE UNIQUE_IN_PAGES READERS DIR...
measure() {
	local what=$1 unique=$2 paged=$3 n=$4 i usage cache shmem anon kernel sum=(0 0 0 0 0)
	local total own region share packs indexes disk
	shift 4
	users_start "$n" "$HOLD" "$@"
	for ((i = 0; i < n; i++)); do
		read -r -a group <<<"$(group_memory "user.$i")"
		for k in 0 1 2 3 4; do
			sum[k]=$((sum[k] + group[k]))
		done
	done
	read -r usage cache shmem anon kernel <<<"$(group_memory daemon)"
	total=$((usage - kernel + sum[1]))
	share=$(ratio "${sum[1]}" "$total" 4)
	own=$(daemon_rss_kib)
	region=$("$FSSTAT" --json | jq .region.used_bytes)
	packs=$(cached_kib "$T"/layout/blobs/sha256/*)
	indexes=$(cached_kib "$STORE"/indexes/*)
	disk=$(daemon_read_bytes)
	check_eq "chunks decompressed again" "$(counter chunks_decompressed_again_total)" 0
	printf '%-14s %7d %10s %10s %8s %8s %5s %9s %5s %8s %8s %8s %8s %9s\n' "$what" "$n" "$(mb "$unique")" "$(mb "$total")" \
		"$(ratio "$total" "$unique" 4)" "$(ratio $((total + kernel)) "$unique" 4)" "$(within "$(ratio "$total" "$unique" 4)" $GOAL)" \
		"$share" "$(within "$share" $READERS_GOAL)" "$(mb "$region")" "$(mb $((cache - shmem)))" "$(mb "$anon")" "$(mb "$kernel")" \
		"$(mb $((sum[3] + sum[4])))"
	record one_copy --arg what "$what" --argjson n "$n" --argjson unique "$unique" --argjson paged "$paged" --argjson total "$total" --argjson usage "$usage" \
		--argjson region "$region" --argjson cache "$cache" --argjson shmem "$shmem" --argjson anon "$anon" --argjson kernel "$kernel" \
		--argjson rcache "${sum[1]}" --argjson ranon "${sum[3]}" --argjson rkernel "${sum[4]}" --argjson rss "$own" \
		--argjson packs "$packs" --argjson indexes "$indexes" --argjson cgroup "$CGROUP_VERSION" --argjson disk "$disk" \
		'{what: $what, readers: $n, unique_bytes: $unique, total_bytes: $total, ratio: ($total / $unique),
			unique_bytes_in_pages: $paged, ratio_to_pages: ($total / $paged),
			total_is: "charge of the cgroup of the daemon without kernel memory + file pages charged to the cgroups of readers",
			daemon: {charged_bytes: $usage, region_bytes: $region, file_bytes: $cache, shmem_bytes: $shmem, other_page_cache_bytes: ($cache - $shmem),
				anon_bytes: $anon, kernel_bytes: $kernel, rss_anon_kib: $rss},
			readers_charged: {file_bytes: $rcache, anon_bytes: $ranon, kernel_bytes: $rkernel, file_share: ($rcache / $total)},
			page_cache_kib: {layout: $packs, indexes: $indexes}, daemon_read_bytes: $disk, cgroup_version: $cgroup}'
	users_end
}

# run WHAT UNIQUE UNIQUE_IN_PAGES TAG...: a fresh daemon for each number of readers
run() {
	local what=$1 unique=$2 paged=$3 n tag dirs
	shift 3
	for n in $READERS; do
		group_new daemon
		rm -rf "$STORE"
		mkdir "$STORE"
		sync -f "$T"
		echo 3 >/proc/sys/vm/drop_caches
		mkdir -p "$T/nothing"
		"$ASSETFS" serve --help >/dev/null
		"$FSSTAT" --version >/dev/null
		unshare --mount "$HOLD" "$T/nothing" </dev/null >/dev/null
		serve_in_group
		dirs=()
		for tag in "$@"; do
			mkdir -p "$T/mnt.$tag"
			"$ASSETFS" mount "$T/layout:$tag" "$T/mnt.$tag"
			dirs+=("$T/mnt.$tag")
		done
		measure "$what" "$unique" "$paged" "$n" "${dirs[@]}"
		for tag in "$@"; do
			"$ASSETFS" umount "$T/mnt.$tag"
		done
		stop_daemon
		group_remove daemon
	done
}

cp -r "$ASSETS" "$T/a"
"$ASSETPACK" build "$T/a" "$T/layout:a" >"$T/build.log" 2>&1
cp -r "$T/a" "$T/b"
find "$T/b" -type f -size +0 | LC_ALL=C sort | awk 'NR % 20 == 0' >"$T/changed"
while IFS= read -r file; do
	change "$file"
done <"$T/changed"
"$ASSETPACK" build "$T/b" "$T/layout:b" >"$T/build.log" 2>&1
one=$(unique "$T/a")
both=$(unique "$T/a" "$T/b")

echo "One copy: $(find "$T/a" -type f | wc -l) files; release b differs in $(wc -l <"$T/changed"); MB of memory; goals: total $GOAL, readers' share $READERS_GOAL"
printf '%-14s %7s %10s %10s %8s %8s %5s %9s %5s %8s %8s %8s %8s %9s\n' releases readers unique total ratio +kernel met "readers'" met \
	region cache anon kernel "their own"
# shellcheck disable=SC2086 # two numbers
run "a" $one a
# shellcheck disable=SC2086
run "a and b" $both a b
