#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Everything in memory: reads, page faults, opens and listings on a mount, on the local file
# system and on what else serves packed trees, in turns.
#
# A tree with one large file, the game's assets, 10,000 files of 4 to 16 KiB and 100,000 of 100 to
# 4,000 bytes is served by each; the last two also as an image of small files. "ext4" is the local file
# system at its best: the large file is written in pieces of 2 MiB, so that its page cache is in
# folios as large as can be. "ext4-16k" is the same file written as package managers do.
#
# SIZE: of the large file (1G); ROUNDS (7); FILES: the number of entries to list (100000)
LIMIT=7200
. "$(dirname "$0")/bench_lib.sh"

SLOW=20 # seconds
: "${ROUNDS:=7}" "${SIZE:=1G}" "${FILES:=100000}"
bytes=$(numfmt --from=iec "$SIZE")
mkdir -p "$T/src/large" "$T/src/many" "$T/src/list" "$T/16k/large"
# The table calls the local file system ext4, whatever it is; the JSON lines have its name.
"$MAKE_TREE" file "$T/plain" "$bytes"
dd if="$T/plain" of="$T/src/large/file" bs=2M status=none
dd if="$T/plain" of="$T/16k/large/file" bs=16k status=none
rm "$T/plain"
cp -r "$ASSETS" "$T/src/tree"
"$MAKE_TREE" tree "$T/src/many" 10000 4096 16384
"$MAKE_TREE" tree "$T/src/list" "$FILES"
sync --file-system "$T"

declare -A DIRS=([ext4]=$T/src [ext4-16k]=$T/16k)
systems=(assetfs ext4 ext4-16k)

# serve NAME COMMAND...: the command mounts the tree at $T/mnt.NAME; else NAME is left out
serve() {
	local name=$1
	shift
	mkdir -p "$T/mnt.$name"
	# Some say that they have succeeded before they serve.
	if "$@" "$T/mnt.$name" >"$T/serve.log" 2>&1 && wait_for mountpoint -q "$T/mnt.$name"; then
		DIRS[$name]=$T/mnt.$name
		systems+=("$name")
	else
		echo "skip: $name: $({ grep -iE 'invalid|unknown|unsupported|cannot|fail|error|not ' || echo 'it does not mount'; } \
			<"$T/serve.log" | head -n 1)"
	fi
}

serve_squashfs() {
	[[ -e $T/squashfs ]] ||
		mksquashfs "$T/src" "$T/squashfs" -comp zstd -Xcompression-level 3 -no-progress -quiet || return 1
	"$@"
}

# serve_erofs COMPRESSION DIR
serve_erofs() {
	mkfs.erofs -z"$1" "$T/erofs.$1" "$T/src" && mount -t erofs -o loop,ro "$T/erofs.$1" "$2"
}

serve_casync() {
	casync make --store="$T/store.castr" "$T/tree.caidx" "$T/src" || return 1
	casync mount --store="$T/store.castr" "$T/tree.caidx" "$1" &
	casync=$!
	PATIENCE=20 wait_for mountpoint -q "$1"
}

"$ASSETPACK" build "$T/src" "$T/layout:v1" >"$T/build.log" 2>&1
"$ASSETFS" mount --small-files=off "$T/layout:v1" "$MNT"
DIRS[assetfs]=$MNT
mkdir "$T/small.src" "$T/mnt.small"
cp -r "$T/src/many" "$T/src/list" "$T/small.src"
"$ASSETPACK" build "$T/small.src" "$T/layout:small" >"$T/build.log" 2>&1
rm -r "$T/small.src"
"$ASSETFS" mount "$T/layout:small" "$T/mnt.small"
[[ $("$FSSTAT" --json "$T/mnt.small" | jq '.images[0].opens_seen') == false ]] || fail "not an image of small files"
DIRS[small]=$T/mnt.small
serve squashfs serve_squashfs mount -t squashfs -o loop,ro "$T/squashfs"
serve squashfuse serve_squashfs squashfuse "$T/squashfs"
serve erofs-lz4hc serve_erofs lz4hc
serve erofs-zstd serve_erofs zstd
serve casync serve_casync

# What is measured: mode of the program, place in the tree, unit, whether more is better, goals
# against ext4 as ratios in which more is better: of assetfs, and of an image of small files.
TESTS="
read  large/file MB/s    1 0.95 -
pread large/file ns      0 1.00 -
touch large/file ns/page 0 0.95 -
tree  tree       MB/s    1 0.95 -
open  many       ns/file 0 0.35 0.85
list  list       ns      0 1.00 1.00
"

# ratio_of FASTER_IS_MORE A B: of A to B; above 1 means that A is faster
ratio_of() {
	if (($1)); then
		ratio "$2" "$3"
	else
		ratio "$3" "$2"
	fi
}

# report TEST SYSTEM UNIT MORE GOAL: a line and a JSON line; GOAL is of SYSTEM against ext4
report() {
	local value=${medians[$2]} to_ext4 of_assetfs
	to_ext4=$(ratio_of "$4" "$value" "${medians[ext4]}")
	of_assetfs=$(ratio_of "$4" "${medians[assetfs]}" "$value")
	printf '%-6s %-12s %12s %-8s %8s %6s %8s\n' "$1" "$2" "$value" "$3" "$to_ext4" "$5" "$of_assetfs"
	record warm --arg test "$1" --arg system "$2" --arg unit "$3" --argjson value "$value" \
		--argjson to_ext4 "$to_ext4" --argjson of_assetfs "$of_assetfs" --argjson rounds "$ROUNDS" --argjson size "$bytes" \
		'{test: $test, system: $system, unit: $unit, value: $value, ratio_to_ext4: $to_ext4,
			ratio_of_assetfs: $of_assetfs, rounds: $rounds, large_bytes: $size}'
}

# measure_test TEST PLACE UNIT MORE GOAL SMALL_GOAL
measure_test() {
	local test=$1 place=$2 unit=$3 more=$4 goal=$5 small=$6 i name values took
	local -A samples=() medians=() slow=()
	local names=()
	for name in "${systems[@]}" small; do
		[[ -e ${DIRS[$name]}/$place ]] || continue
		names+=("$name")
		# Into memory; large files that the daemon serves are complete after it.
		case $test in
		list) "$WARM" list "${DIRS[$name]}/$place" ;;
		*) warm_up "${DIRS[$name]}/$place" ;;
		esac >/dev/null
	done
	[[ $place != large/file ]] || wait_for large_resident || fail "the large file does not become resident"
	for ((i = 0; i < ROUNDS; i++)); do
		for name in "${names[@]}"; do
			# Some take minutes: what they do once is enough.
			[[ -z ${slow[$name]:-} ]] || continue
			took=$(SECONDS=0 && "$WARM" "$test" "${DIRS[$name]}/$place" >"$T/warm.out" && echo "$SECONDS")
			samples[$name]+=" $(cut -d ' ' -f 1 "$T/warm.out")"
			((took < SLOW)) || slow[$name]=1
		done
	done
	for name in "${names[@]}"; do
		read -ra values <<<"${samples[$name]}"
		medians[$name]=$(median "${values[@]}")
	done
	for name in "${names[@]}"; do
		case $name in
		assetfs) report "$test" "$name" "$unit" "$more" "$goal" ;;
		small) report "$test" "$name" "$unit" "$more" "$small" ;;
		*) report "$test" "$name" "$unit" "$more" "" ;;
		esac
	done
	if [[ $test == touch ]]; then
		"$WARM" touch "$MNT/$place" | sed 's/^[^ ]* /of the mapping on huge pages, assetfs: /; s/ sum.*//'
		"$WARM" touch "${DIRS[ext4]}/$place" | sed 's/^[^ ]* /of the mapping on huge pages, ext4: /; s/ sum.*//'
	fi
}

large_resident() {
	(($("$FSSTAT" --json "$MNT" | jq '.images[0].resident_bytes') >= bytes))
}

echo "Warm: a file of $SIZE, a game's assets, 10,000 files to open, $FILES to list; medians of $ROUNDS in turns"
printf '%-6s %-12s %12s %-8s %8s %6s %8s\n' "" "" "" "" "to ext4" "goal" "assetfs is"
while read -r line; do
	# shellcheck disable=SC2086
	[[ -z $line ]] || measure_test $line
done <<<"$TESTS"
echo "(small: an image of small files; \"to ext4\" above 1: faster than ext4; \"assetfs is\": so many times as fast as this;"
echo "touch is to be 3 times as fast as ext4-16k)"

for name in "${systems[@]}"; do
	case $name in
	assetfs | ext4*) ;;
	*) umount "${DIRS[$name]}" || umount -l "${DIRS[$name]}" ;;
	esac
done
[[ -z ${casync:-} ]] || wait "$casync" || true
"$ASSETFS" umount "$T/mnt.small"
"$ASSETFS" umount "$MNT"
