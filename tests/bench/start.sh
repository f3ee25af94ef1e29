#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Start of a real game server, Debian's supertuxkart, headless, until it listens; in turns, each with
# the page cache dropped:
#   local    its data on the local file system
#   mount    "assetfs mount" of an image that was packed without a trace, and the start
#   traced   "assetfs mount --prefetch" of an image with the trace of an earlier start, and the start
# The time of mounting counts, and is said. The daemon runs, as on a node, but knows no image and has filled
# nothing. Needs what ./dev deps installs.
LIMIT=3600
if [[ -z ${ASSETFS_TEST_INSIDE:-} ]]; then
	# Outside of the namespaces: the cache directory is locked while it is filled.
	GAME=$(XDG_CACHE_HOME=${CACHE%/*} "${SUPPORT:?}/fetch_package.sh" supertuxkart) || exit 1
	export GAME
fi
. "$(dirname "$0")/bench_lib.sh"
# shellcheck source=game_lib.sh
. "$(dirname "$0")/game_lib.sh"

: "${ROUNDS:=5}"
GOAL=1.1

# What is measured, of each kind.
start_local() {
	serve_game "$T/local"
}

# mount_image ARGUMENT...: its milliseconds in $mounting, without a program that would be loaded for that
mount_image() {
	local begin=${EPOCHREALTIME/./}
	"$ASSETFS" mount "$@" "$MNT"
	mounting=$(((${EPOCHREALTIME/./} - begin) / 1000))
}

start_mount() {
	mount_image "$T/layout:plain"
	serve_game "$MNT"
}

start_traced() {
	mount_image --prefetch "$T/layout:traced"
	serve_game "$MNT"
}

# cold KIND: milliseconds, in $ms, and those of mounting
cold() {
	local begin
	mounting=0
	rm -rf "$STORE"
	mkdir "$STORE"
	# shellcheck disable=SC2119 # without options
	[[ $1 == local ]] || start_daemon
	sync -f "$T"
	echo 3 >/proc/sys/vm/drop_caches
	begin=$(date +%s%N)
	"start_$1"
	ms=$((($(date +%s%N) - begin) / 1000000))
	end_game
	if [[ $1 != local ]]; then
		check_eq "chunks decompressed again" "$(counter chunks_decompressed_again_total)" 0
		decompressed=$(counter bytes_decompressed_total)
		"$ASSETFS" umount "$MNT"
		stop_daemon
	fi
}

# Record a start, and pack with it. Fails when this assetfs has no traces.
record_trace() {
	"$ASSETFS" trace --help >/dev/null 2>&1 || return 1
	"$ASSETFS" mount "$T/layout:plain" "$MNT"
	"$ASSETFS" trace record -o "$T/trace" "$MNT"
	serve_game "$MNT"
	"$ASSETFS" trace stop -o "$T/trace" "$MNT"
	end_game
	"$ASSETFS" umount "$MNT"
	wait_for no_daemon || fail "the daemon stays"
	"$ASSETPACK" build --progress none --from none --trace "$T/trace" "$T/local" "$T/layout:traced" >"$T/build.log" 2>&1 ||
		fail "build: $(cat "$T/build.log")"
}

cp -r "$data" "$T/local"
"$ASSETPACK" build --progress none "$T/local" "$T/layout:plain" >"$T/build.log" 2>&1
kinds="local mount"
if record_trace; then
	kinds+=" traced"
else
	echo "(this assetfs records no traces)"
fi

declare -A times mounts median_of bytes
for ((i = 0; i < ROUNDS; i++)); do
	for kind in $kinds; do
		decompressed=0
		cold "$kind"
		times[$kind]+="$ms "
		mounts[$kind]+="$mounting "
		bytes[$kind]=$decompressed
	done
done
echo "Start of the supertuxkart server, cold, milliseconds, medians of $ROUNDS in turns"
printf '%-10s %10s %8s %5s %10s %16s\n' "data on" ms ratio met mounting "MB decompressed"
for kind in $kinds; do
	read -r -a words <<<"${times[$kind]}"
	median_of[$kind]=$(median "${words[@]}")
	r=$(ratio "${median_of[$kind]}" "${median_of[local]}")
	read -r -a words <<<"${mounts[$kind]}"
	printf '%-10s %10s %8s %5s %10s %16s\n' "$kind" "${median_of[$kind]}" "$r" \
		"$([[ $kind != traced ]] || within "$r" $GOAL)" "$(median "${words[@]}")" "$(mb "${bytes[$kind]}")"
done
record start --argjson l "${median_of[local]}" --argjson m "${median_of[mount]}" --argjson t "${median_of[traced]:-null}" \
	--arg ls "${times[local]}" --arg ms "${times[mount]}" --arg ts "${times[traced]:-}" --arg mt "${mounts[traced]:-}" --argjson uses "$([[ -e $T/trace ]] && wc -l <"$T/trace" || echo null)" \
	'{local_ms: $l, mount_ms: $m, traced_ms: $t, mount_ratio: ($m / $l), traced_ratio: (if $t then $t / $l else null end),
		trace_lines: $uses, samples_ms: ({local: $ls, mount: $ms, traced: $ts, mounting: $mt} | map_values(split(" ") | map(select(. != "") | tonumber)))}'
leave_game
