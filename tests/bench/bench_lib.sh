# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Sourced first by the measuring scripts. They run as the mount tests do: in their
# own namespaces, with a watchdog. $BUILD is a release build, $ASSETS a directory of
# real game assets. Results: tables on standard output, JSON lines in $RESULTS.

: "${BUILD:?}" "${ASSETS:?}" "${RESULTS:?}" "${SUPPORT:?}"
export ASSETFS=$BUILD/fs/assetfs ASSETPACK=$BUILD/packer/assetpack FSSTAT=$BUILD/fs/fsstat
export READER=$BUILD/tests/reader WARM=$BUILD/tests/bench/warm
export MEASURE=$BUILD/tests/bench/measure MAKE_TREE=$BUILD/tests/bench/make_tree BIG_IMAGE=$BUILD/tests/bench/big_image
: "${LIMIT:=1800}" # a script that takes longer sets it before
# shellcheck source=../support/mount_lib.sh
. "$SUPPORT/mount_lib.sh"

# median NUMBER...
median() {
	printf '%s\n' "$@" | sort -g | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

# ratio A B [DECIMALS]: A / B, with two decimals
ratio() {
	awk -v a="$1" -v b="$2" -v n="${3:-2}" 'BEGIN { printf "%.*f", n, a / b }'
}

# seconds COMMAND...: how long it takes; its output goes to $T/out
seconds() {
	local start end
	start=$(date +%s.%N)
	"$@" >"$T/out" 2>&1 || fail "$*: $(tail -n 3 "$T/out")"
	end=$(date +%s.%N)
	awk -v a="$start" -v b="$end" 'BEGIN { printf "%.3f\n", b - a }'
}

# measured COMMAND...: prints its seconds, those of all processors, and its peak of memory in KiB
measured() {
	"$MEASURE" "$T/measured" "$@" >"$T/out" 2>&1 || fail "$*: $(tail -n 3 "$T/out")"
	cat "$T/measured"
}

# column N LINE...: the word N of each line
column() {
	printf '%s\n' "${@:2}" | awk -v n="$1" '{ print $n }'
}

# column_median N LINE...
column_median() {
	local words
	mapfile -t words < <(column "$@")
	median "${words[@]}"
}

# The trees of files are read once, so that no measurement waits for the disk.
warm_up() {
	find "$@" -type f -exec cat {} + >/dev/null
}

# dir_bytes DIR: of all files in it
dir_bytes() {
	find "$1" -type f -printf '%s\n' | awk '{ s += $1 } END { printf "%.0f\n", s }'
}

# mb BYTES: in megabytes, with one decimal
mb() {
	awk -v n="$1" 'BEGIN { printf "%.1f", n / 1e6 }'
}

# within VALUE GOAL: a word for the table
within() {
	awk -v v="$1" -v g="$2" 'BEGIN { print g == "-" ? "" : v <= g ? "yes" : "NO" }'
}

# image_blobs LAYOUT:TAG: a line for each blob that the image names, directly or not: KIND DIGEST SIZE
image_blobs() {
	local layout=${1%:*} tag=${1##*:} blobs=${1%:*}/blobs/sha256 images manifest
	images=$(jq -er --arg tag "$tag" '.manifests[]
		| select(.annotations["org.opencontainers.image.ref.name"] == $tag) | "\(.digest) \(.size)"' "$layout/index.json")
	echo "images $images"
	images=${images% *}
	jq -r '.manifests[] | "\(.digest) \(.size)"' "$blobs/${images#sha256:}" | sort -u |
		while read -r manifest; do
			echo "manifest $manifest"
			manifest=${manifest% *}
			jq -r '"config \(.config.digest) \(.config.size)",
				(.layers[] | "\(.mediaType | ltrimstr("application/vnd.assetfs.") | sub("\\..*"; "")) \(.digest) \(.size)")' \
				"$blobs/${manifest#sha256:}"
		done | sort -u
}

# image_bytes LAYOUT:TAG: of all blobs but deltas
image_bytes() {
	image_blobs "$1" | awk '$1 != "delta" { s += $3 } END { printf "%.0f\n", s }'
}

# record NAME JQ_ARGUMENT... OBJECT: one JSON line, with the machine
record() {
	local name=$1
	shift
	jq -cn --arg bench "$name" --arg machine "$(machine)" --arg version "$("$ASSETFS" --version | head -n 1)" \
		"${@:1:$#-1}" "{bench: \$bench, machine: \$machine, version: \$version} + ${!#}" >>"$RESULTS"
}

machine() {
	echo "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) processors," \
		"$(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo), Linux $(uname -r)," \
		"files on $(findmnt -n -o FSTYPE --target "$T")"
}
