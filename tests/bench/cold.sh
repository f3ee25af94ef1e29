#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Reading the whole tree, every file from front to back. First by 1 and by 4 processes, each
# everything, cold (page cache dropped, daemon just started) and warm, on the mount and on the local
# file system. Then cold, by 2 that share the files, beside the kernel's compressed file systems
# and beside what neither the disk nor zstd can do faster.
. "$(dirname "$0")/bench_lib.sh"

: "${ROUNDS:=3}"
cp -r "$ASSETS" "$T/src"
"$ASSETPACK" build "$T/src" "$T/layout:v1" >"$T/build.log" 2>&1
sync -f "$T"

drop_caches() {
	sync -f "$T"
	echo 3 >/proc/sys/vm/drop_caches
}

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
		drop_caches
		cold_mount+=("$(seconds read_all "$MNT" "$n")")
		warm_mount+=("$(seconds read_all "$MNT" "$n")")
		check_decompressed "$T/layout:v1"
		"$ASSETFS" umount "$MNT"
		end_of_daemon
		drop_caches
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

READERS=2

# share_files DIR: READERS processes read it together, each file once
share_files() {
	(cd "$1" && find . -type f -print0 | sort -z | xargs -0 -P "$READERS" -n 128 cat >/dev/null)
}

# erofs_compressor: the best that this mkfs.erofs has
erofs_compressor() {
	local known
	known=$(mkfs.erofs --help 2>&1 | sed -n 's/^Available compressors are: //p')
	# Later versions list them one a line.
	known+=" $(mkfs.erofs --help 2>&1 | sed -n 's/^ *\(zstd\|lz4hc\).*/\1/p')"
	case $known in
	*zstd*) echo zstd ;;
	*lz4hc*) echo lz4hc ;;
	*) echo lz4 ;;
	esac
}

# mount_loop FILE DIR: read-only; a reason to leave it out when the kernel does not know it
mount_loop() {
	mkdir "$2"
	mount -o loop,ro "$1" "$2" 2>"$T/mount.err" || {
		echo "skip: $(tail -n 1 "$T/mount.err")"
		return 1
	}
}

# cold NAME DIR: one sample to $T/cold.NAME
cold() {
	drop_caches
	seconds share_files "$2" >>"$T/cold.$1"
}

# cold_assetfs NAME OPTION...: one sample, of a daemon with these options
cold_assetfs() {
	start_daemon "${@:2}"
	"$ASSETFS" mount "$T/layout:v1" "$MNT"
	cold "$1" "$MNT"
	check_decompressed "$T/layout:v1"
	"$ASSETFS" umount "$MNT"
	stop_daemon
	end_of_daemon
}

# floors: a sample of what the disk needs for the packs, and zstd on all cores
floors() {
	drop_caches
	seconds cat "${packs[@]}" >>"$T/cold.disk"
	cat "${packs[@]}" >/dev/null
	seconds xargs -P "$(nproc)" -n 1 zstd -tq < <(printf '%s\n' "${packs[@]}") >>"$T/cold.zstd"
}

# median_of NAME
median_of() {
	local samples
	mapfile -t samples <"$T/cold.$1"
	median "${samples[@]}"
}

# report NAME TEXT BYTES OURS: its median, beside our seconds
report() {
	local s
	[[ -s $T/cold.$1 ]] || return 0
	s=$(median_of "$1")
	printf '%-34s %12s %12s %8s\n' "$2" "$(mb "$3")" "$s" "$(ratio "$s" "$4")"
	record cold --arg of "$1" --arg text "$2" --argjson readers "$READERS" --argjson bytes "$3" --argjson s "$s" \
		'{of: $of, text: $text, readers: $readers, stored_bytes: $bytes, seconds: $s}'
}

compressor=$(erofs_compressor)
mksquashfs "$T/src" "$T/squashfs.img" -comp zstd -no-progress -quiet >"$T/out" 2>&1 || fail "mksquashfs: $(<"$T/out")"
mkfs.erofs -z"$compressor" -C65536 "$T/erofs.img" "$T/src" >"$T/out" 2>&1 || fail "mkfs.erofs: $(<"$T/out")"
mapfile -t packs < <(image_blobs "$T/layout:v1" | awk '$1 == "pack" { sub("sha256:", "", $2); print $2 }' | sort -u)
packs=("${packs[@]/#/$T/layout/blobs/sha256/}")
peers=()
! mount_loop "$T/squashfs.img" "$T/squashfs" || peers+=(squashfs)
! mount_loop "$T/erofs.img" "$T/erofs" || peers+=(erofs)

for ((i = 0; i < ROUNDS; i++)); do
	cold_assetfs assetfs
	cold_assetfs checksum --local-check checksum
	cold_assetfs alone --fill-ahead 0
	for peer in "${peers[@]}"; do
		cold "$peer" "$T/$peer"
	done
	cold local "$T/src"
	floors
done
for peer in "${peers[@]}"; do
	umount "$T/$peer"
done

stored=$(image_bytes "$T/layout:v1")
ours=$(median_of assetfs)
echo
echo "Cold, $READERS processes share the files, medians of $ROUNDS in turns"
printf '%-34s %12s %12s %8s\n' "" "stored MB" "seconds" "ratio"
report assetfs assetfs "$stored" "$ours"
report checksum "assetfs, --local-check checksum" "$stored" "$ours"
report alone "assetfs, --fill-ahead 0" "$stored" "$ours"
report squashfs "squashfs, zstd" "$(stat -c %s "$T/squashfs.img")" "$ours"
report erofs "erofs, $compressor" "$(stat -c %s "$T/erofs.img")" "$ours"
report local "local ($(findmnt -n -o FSTYPE --target "$T"))" "$(dir_bytes "$T/src")" "$ours"
report disk "the disk: packs once" "$stored" "$ours"
report zstd "zstd -t, all processors" "$stored" "$ours"
echo "(ratio above 1: assetfs is faster; at least 0.8 of the slower of the last two is the goal)"
