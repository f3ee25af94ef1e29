#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Before: a master loads the objects of a game onto its heap and forks a server for each match. After: it maps them from a mount,
# and counts references apart from them; or there is no master, and each server maps them by itself. CHILDREN servers use
# SHARE percent of the objects of FILES MB, each other ones.
. "$(dirname "$0")/migrate_lib.sh"

: "${CHILDREN:=20}" "${FILES:=$(small 16 150)}" "${SHARE:=60}"
mkdir "$T/src"
for ((i = 1; i <= FILES; i++)); do
	"$MIGRATING/forked" make "$T/src/$i" 1000000 "$i"
done
mapfile -t files < <(find "$T/src" -type f | sort -V)
pack "$T/src" "$T/layout:v1"
bytes=$(dir_bytes "$T/src")

# value NAME: of what a master has said
value() {
	sed -E "s/.*\\b$1=([0-9]+).*/\\1/" <<<"$said"
}

# measure WAY FILE...: sets NAME[WAY] for each number of the table
declare -A private private_max tables all daemons_share sums objects
measure() {
	local way=$1
	shift
	held master '^objects=' "$MIGRATING/forked" "$way" "$CHILDREN" "$SHARE" "$@"
	said=$(cat "$T/out.master")
	private[$way]=$(($(value private_kib) * 1024))
	private_max[$way]=$(($(value private_max_kib) * 1024))
	tables[$way]=$(($(value tables_kib) * 1024))
	sums[$way]=$(value sum)
	objects[$way]=$(value objects)
	all[$way]=$(charged master)
	let_go master
}

measure copy "${files[@]}"
serve_in_group
"$ASSETFS" mount "$T/layout:v1" "$MNT"
for way in map alone; do
	measure "$way" "${files[@]/#$T\/src/$MNT}"
	check_eq "what the servers of '$way' have read" "${sums[$way]}" "${sums[copy]}"
	daemons_share[$way]=$(charged daemon)
	((private_max[$way] < private[copy] / 10)) ||
		fail "'$way': a server's own memory grows by ${private_max[$way]} bytes, before by ${private[copy]}"
done
((private[copy] > bytes / 4)) || fail "before, a server's own memory grows by ${private[copy]} bytes of $bytes only"
"$ASSETFS" umount "$MNT"
stop_served

# line WHAT ARRAY: a line of the table, in MB
line() {
	local -n of=$2
	printf '%-52s %10s %10s %10s\n' "$1" "$(mb "${of[copy]:-0}")" "$(mb "${of[map]}")" "$(mb "${of[alone]}")"
}
echo "$CHILDREN servers, $(mb "$bytes") MB in ${objects[copy]} objects, each uses $SHARE % of them"
printf '%-52s %10s %10s %10s\n' "MB" "copy, fork" "map, fork" "map alone"
line "a server's own memory grows by, median" private
line "  the most" private_max
line "page tables of a server" tables
line "all servers and the master are charged" all
line "the daemon is charged" daemons_share
for way in copy map alone; do
	record migrate_fork --arg way "$way" --argjson n "$CHILDREN" --argjson bytes "$bytes" --argjson objects "${objects[$way]}" --argjson share "$SHARE" \
		--argjson private "${private[$way]}" --argjson max "${private_max[$way]}" --argjson tables "${tables[$way]}" --argjson all "${all[$way]}" \
		--argjson daemon "${daemons_share[$way]:-0}" \
		'{way: $way, servers: $n, set_bytes: $bytes, objects: $objects, share_percent: $share, private_bytes: $private,
			private_max_bytes: $max, table_bytes: $tables, charged_bytes: $all, daemon_bytes: $daemon}'
done
