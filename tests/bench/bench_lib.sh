# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Sourced first by the measuring scripts. They run as the mount tests do: in their
# own namespaces, with a watchdog. $BUILD is a release build, $ASSETS a directory of
# real game assets. Results: tables on standard output, JSON lines in $RESULTS.

: "${BUILD:?}" "${ASSETS:?}" "${RESULTS:?}" "${SUPPORT:?}"
export ASSETFS=$BUILD/fs/assetfs ASSETPACK=$BUILD/packer/assetpack FSSTAT=$BUILD/fs/fsstat
export READER=$BUILD/tests/reader WARM=$BUILD/tests/bench/warm
LIMIT=1800
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
	awk -v a="$start" -v b="$end" 'BEGIN { printf "%.2f\n", b - a }'
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
