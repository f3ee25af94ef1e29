#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Reading the whole tree, every file from front to back, by 1 and by 4 processes at once: cold
# (page cache dropped, daemon just started) and warm, on the mount and on the local file system.
. "$(dirname "$0")/bench_lib.sh"

ROUNDS=3
cp -r "$ASSETS" "$T/src"
"$ASSETPACK" build "$T/src" "$T/layout:v1" >"$T/build.log" 2>&1
sync -f "$T"

# read_all DIR N: by N processes, each everything
read_all() {
	local i pids=()
	for ((i = 0; i < $2; i++)); do
		(cd "$1" && find . -type f -exec cat {} + >/dev/null) &
		pids+=($!)
	done
	for i in "${pids[@]}"; do
		wait "$i"
	done
}

measure() {
	local n=$1 i cold_mount=() cold_local=() warm_mount=() warm_local=() cm cl wm wl
	for ((i = 0; i < ROUNDS; i++)); do
		"$ASSETFS" mount "$T/layout:v1" "$MNT"
		echo 3 >/proc/sys/vm/drop_caches
		cold_mount+=("$(seconds read_all "$MNT" "$n")")
		warm_mount+=("$(seconds read_all "$MNT" "$n")")
		check_decompressed "$T/layout:v1"
		"$ASSETFS" umount "$MNT"
		wait_for no_daemon || fail "the daemon stays"
		rm "$STORE/stats" # the next daemon would go on from it
		echo 3 >/proc/sys/vm/drop_caches
		cold_local+=("$(seconds read_all "$T/src" "$n")")
		warm_local+=("$(seconds read_all "$T/src" "$n")")
	done
	cm=$(median "${cold_mount[@]}")
	cl=$(median "${cold_local[@]}")
	wm=$(median "${warm_mount[@]}")
	wl=$(median "${warm_local[@]}")
	printf '%-34s %12s %12s %8s\n' \
		"$n processes, cold, seconds" "$cm" "$cl" "$(ratio "$cl" "$cm")" \
		"$n processes, warm, seconds" "$wm" "$wl" "$(ratio "$wl" "$wm")"
	record tree --argjson n "$n" --argjson cm "$cm" --argjson cl "$cl" --argjson wm "$wm" --argjson wl "$wl" \
		'{processes: $n, cold_seconds: $cm, local_cold_seconds: $cl, warm_seconds: $wm, local_warm_seconds: $wl}'
}

echo "Reading all $(find "$T/src" -type f | wc -l) files, medians of $ROUNDS in turns"
printf '%-34s %12s %12s %8s\n' "" "assetfs" "local" "ratio"
measure 1
measure 4
echo "(ratio above 1: assetfs is faster)"
