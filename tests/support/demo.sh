#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: demo.sh DIR
#
# Pack DIR, mount it, let 4 readers in 4 mount namespaces read and map every file,
# and compare each byte with DIR. Then do the same with 4 private copies, to see
# what sharing saves. Run by ./dev demo, as root; $BUILD is the build directory.
set -euo pipefail

READERS=4
LIMIT=900 # seconds; then everything is taken down
assets=$(readlink -f "$1")
assetpack=$BUILD/packer/assetpack
assetfs=$BUILD/fs/assetfs
fsstat=$BUILD/fs/fsstat
reader=$BUILD/tests/reader

# All mounts of the demo are in a namespace of its own: nobody else sees them, and
# the pid namespace takes every process along when it ends. The files are removed here.
if [[ -z ${DEMO_WORK:-} ]]; then
	work=$(mktemp -d "${TMPDIR:-/var/tmp}/assetfs-demo.XXXXXX")
	export DEMO_WORK=$work
	trap 'rm -rf --one-file-system "$work"' EXIT
	trap : INT TERM
	timeout --foreground --kill-after=10 "$LIMIT" unshare --mount --propagation private \
		--pid --fork --kill-child --mount-proc "$0" "$@"
	exit
fi
work=$DEMO_WORK

export ASSETFS_STORE=$work/store
mnt=$work/game-assets
mkdir "$ASSETFS_STORE" "$mnt" "$work/private"
finished=

bold=
plain=
[[ ! -t 1 || -n ${NO_COLOR:-} ]] || {
	bold=$'\e[1m'
	plain=$'\e[0m'
}

step() {
	echo
	echo "$bold$*$plain"
}

finish() {
	local status=$?
	trap - EXIT
	set +e
	release
	abort_if_stuck &
	[[ ${#pids[@]} == 0 ]] || wait "${pids[@]}"
	mountpoint -q "$mnt" && "$assetfs" umount "$mnt"
	mountpoint -q "$work/private" && umount "$work/private"
	[[ -n $finished ]] || {
		status=$((status == 0 ? 1 : status))
		echo "demo: failed; the daemon's log:" >&2
		tail -n 30 "$ASSETFS_STORE/assetfs.log" >&2
	}
	exit "$status"
}

# A file system that does not answer must not keep the demo from ending.
abort_if_stuck() {
	local connection
	trap - EXIT
	sleep 60
	connection=$(awk -v dir="$mnt" '$5 == dir { sub(/.*:/, "", $3); print $3 }' /proc/self/mountinfo)
	mount -t fusectl fusectl /sys/fs/fuse/connections
	[[ -z $connection ]] || echo 1 >"/sys/fs/fuse/connections/$connection/abort"
}
trap finish EXIT
trap 'exit 130' INT TERM

mib() {
	echo $((($1 + 524288) / 1048576))
}

# Sum over the readers of a field of smaps_rollup, in bytes.
readers_memory() {
	local pid sum=0 kb
	for pid in "${pids[@]}"; do
		kb=$(awk -v field="$1:" '$1 == field { print $2 }' "/proc/$pid/smaps_rollup")
		sum=$((sum + kb * 1024))
	done
	echo $sum
}

pids=()
fds=()

# start_reader DIR: a container's view: its own mount namespace, DIR bound to $mnt
start_reader() {
	local n=${#pids[@]} fd
	rm -f "$work/hold.$n"
	mkfifo "$work/hold.$n"
	unshare --mount --propagation private sh -c 'mount --bind "$1" "$2" && exec "$3" --shuffle --seed "$4" \
		--ways read,shared --hold "$2" "$5"' sh \
		"$1" "$mnt" "$reader" $((n + 1)) "$assets" <"$work/hold.$n" >"$work/reader.$n" &
	pids+=($!)
	exec {fd}>"$work/hold.$n"
	fds+=("$fd")
}

# Wait until every reader has compared everything and holds its mappings.
wait_readers() {
	local n
	for n in "${!pids[@]}"; do
		until grep -q '^done ' "$work/reader.$n"; do
			kill -0 "${pids[n]}" 2>/dev/null || return 1
			sleep 0.2
		done
		sed "s/^done files=\([0-9]*\) bytes=\([0-9]*\) wrong=\([0-9]*\).*/   reader $((n + 1)): \1 files, \2 bytes, \3 files differ/" \
			"$work/reader.$n"
	done
}

# Let the readers go.
release() {
	local fd
	for fd in "${fds[@]}"; do
		exec {fd}>&-
	done
	fds=()
}

# End the readers; fails when one of them saw a wrong byte.
end_readers() {
	local pid r=0
	release
	for pid in "${pids[@]}"; do
		wait "$pid" || r=1
	done
	pids=()
	return $r
}

files=$(find "$assets" -type f | wc -l)
bytes=$(find "$assets" -type f -printf '%s\n' | awk '{ s += $1 } END { printf "%.0f\n", s }')
echo "assets: $files files, $(mib "$bytes") MiB in $assets"

step "1. Pack them into an image"
start=$(date +%s.%N)
"$assetpack" build "$assets" "$work/layout:demo" >/dev/null
end=$(date +%s.%N)
echo "   $(mib "$(du -s --block-size=1 "$work/layout" | cut -f 1)") MiB in $(awk "BEGIN { printf \"%.1f\", $end - $start }") s"

step "2. Mount the image"
"$assetfs" mount "$work/layout:demo" "$mnt"
grep -E " $mnt " /proc/self/mountinfo | sed 's/.* - \([^ ]*\) \([^ ]*\) .*/   \1: \2/'
echo "   on $mnt"

step "3. Start $READERS readers, each in its own mount namespace; read and map every file, compare every byte"
start=$(date +%s.%N)
for ((i = 0; i < READERS; i++)); do
	start_reader "$mnt"
done
wait_readers
end=$(date +%s.%N)
ram_shared=$("$fsstat" --json | jq .region.used_bytes)
pss_shared=$(readers_memory Pss)
rss_shared=$(readers_memory Rss)
echo "   all equal, in $(awk "BEGIN { printf \"%.1f\", $end - $start }") s from a cold start"

step "4. fsstat, while the readers hold all files mapped"
"$fsstat" | sed 's/^/   /'
packs_cached=$(find "$work/layout/blobs" -type f -exec fincore -b -n -o RES {} + | awk '{ s += $1 } END { printf "%.0f\n", s }')
inode_cache=$("$fsstat" --json | jq -r 'if .passthrough then "" else "without FUSE passthrough, the kernel keeps another copy in its page cache" end')
end_readers
"$assetfs" umount "$mnt"

step "5. The same with private copies"
copies=$READERS
available=$(awk '$1 == "MemAvailable:" { print $2 }' /proc/meminfo) # KiB
((available > ((READERS + 1) * bytes >> 10) + (1 << 20))) || copies=1
mount -t tmpfs -o "size=$((copies * (bytes + files * 8192 + (64 << 20))))" tmpfs "$work/private"
for ((i = 0; i < copies; i++)); do
	cp -r "$assets" "$work/private/$i"
	start_reader "$work/private/$i"
done
wait_readers
ram_private=$(df --block-size=1 --output=used "$work/private" | tail -n 1)
ram_private=$((ram_private * READERS / copies))
pss_private=$(($(readers_memory Pss) * READERS / copies))
rss_private=$(($(readers_memory Rss) * READERS / copies))
end_readers

step "Memory of $READERS readers"
printf '   %-50s %10s %10s\n' "" "assetfs" "private"
printf '   %-50s %6d MiB %6d MiB\n' \
	"bytes in RAM (blocks in use)" "$(mib "$ram_shared")" "$(mib "$ram_private")" \
	"what the readers map (sum of Rss)" "$(mib "$rss_shared")" "$(mib "$rss_private")" \
	"their share of it (sum of Pss)" "$(mib "$pss_shared")" "$(mib "$pss_private")"
printf '   %-50s %6d MiB\n' "compressed packs in the page cache, may be dropped" "$(mib "$packs_cached")"
echo
echo "   Measured: assetfs holds its one copy on a tmpfs of its own, and so does each reader of the private"
echo "   copies: blocks in use are what the kernel accounts to these. Rss and Pss are from"
echo "   /proc/PID/smaps_rollup, all readers holding; the page cache of the packs is from fincore(1)."
((copies == READERS)) || echo "   Memory is short here: one private copy was measured and taken $READERS times."
[[ -z $inode_cache ]] || echo "   Note: $inode_cache."

step "Every file was equal for every reader. Everything is unmounted and removed again."
finished=1
