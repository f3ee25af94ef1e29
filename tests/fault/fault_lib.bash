# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Loaded by every test here, on top of what the command line tests have. Given by the
# build besides: FAULT, the library of preload.c.

load ../cli/lib
: "${FAULT:?}"

# Sweeps go through every call; under sanitizers, where all takes ten times as long, through some.
# shellcheck disable=SC2034 # used by those that load this
STEP=$([[ -z ${ASAN_OPTIONS:-} ]] && echo 1 || echo 7)

# with_fault CALLS PATH AT DO COMMAND...: run it with a fault as preload.c has it; leaves
# the faults that there were in ./faults, and fails as the command does. SIGKILL gives 137.
with_fault() {
	local calls=$1 path=$2 at=$3 what=$4
	shift 4
	rm -f faults
	# What hangs is a failure, too. AddressSanitizer likes to be first, and works as second.
	timeout 120 env FAULT_CALLS="$calls" FAULT_PATH="$PWD/$path" FAULT_AT="$at" FAULT_DO="$what" \
		FAULT_REPEAT="${REPEAT:-}" FAULT_LOG="$PWD/faults" LD_PRELOAD="$FAULT" \
		ASAN_OPTIONS="${ASAN_OPTIONS:-}:verify_asan_link_order=0" "$@"
}

# says_why STATUS PATTERN: what ended with STATUS wrote nothing to ./out and one line that matches to ./err
says_why() {
	cat err
	[[ $1 == 1 && ! -s out ]]
	[[ $(wc -l <err) == 1 && $(<err) =~ ^"assetpack: ".*$2 ]]
}

# digest_of LAYOUT TAG: as index.json has it. Thousands of these: no program is called.
digest_of() {
	local json
	json=$(<"$1/index.json")
	json=${json%%"\"$2\""*}
	json=${json##*'"digest":"'}
	echo "${json%%'"'*}"
}

no_leftovers() {
	[[ -z $(compgen -G "$1/.tmp-*") && -z $(compgen -G "$1/blobs/sha256/.tmp-*") ]]
}

# right_order: in ./faults, a log of everything, no file gets its name before its bytes are on the
# disk, nor is a tag switched before the names of all blobs are. Sets renamed and switches, the
# numbers of both.
right_order() {
	awk '$1 ~ /write/ { dirty[$2] = 1; written[$2] = 1 }
		$1 == "fsync" { dirty[$2] = 0; names[$2] = 0 }
		$1 == "rename-from" && (dirty[$2] || !written[$2]) { print "not synced:", NR, $0; bad = 1 }
		$1 == "rename" { dir = $2; sub("/[^/]*$", "", dir); names[dir] = 1; renamed++ }
		$1 == "rename" && /index.json$/ { switched++
			for (dir in names) if (names[dir] && dir ~ /blobs/) { print "not synced:", dir; bad = 1 } }
		END { for (dir in names) if (names[dir]) { print "not synced in the end:", dir; bad = 1 }
			print renamed + 0, switched + 0; exit bad }' faults >order || {
		cat order
		return 1
	}
	# shellcheck disable=SC2034 # used by those that load this
	read -r renamed switches <order
}
