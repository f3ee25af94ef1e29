#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What fsstat says that sharing saves, against what it does: USERS containers (a mount namespace
# and a memory cgroup each) map and touch all files of a tree. First each has its own copy, on a tmpfs;
# then all use one mount of assetfs. The difference is taken twice, of memory for bytes of files, tmpfs
# included: from what all cgroups are charged for it, and from the whole machine's in /proc/meminfo.
# What processes and the kernel need for themselves is no part of it.
LIMIT=3600
. "$(dirname "$0")/bench_lib.sh"
# shellcheck source=cgroup_lib.sh
. "$(dirname "$0")/cgroup_lib.sh"

: "${USERS:=8}"
HOLD=$BUILD/tests/bench/hold
GOAL=0.02

# Bytes of files in the machine's memory.
machine_bytes() {
	awk '$1 == "Cached:" { printf "%.0f\n", $2 * 1024 }' /proc/meminfo
}

# charged: bytes of files that users' groups and the daemon's are charged for
charged() {
	local group sum=0
	for group in "$GROUP"/*/; do
		group=$(basename "$group")
		sum=$((sum + $(group_memory "$group" | cut -d ' ' -f 2)))
	done
	echo "$sum"
}

begin() {
	sync -f "$T"
	echo 3 >/proc/sys/vm/drop_caches
	"$ASSETFS" serve --help >/dev/null
	"$HOLD" "$T/nothing" >/dev/null </dev/null
	machine_bytes
}

# within_goal A B: whether they differ by at most GOAL
within_goal() {
	awk -v a="$1" -v b="$2" -v g=$GOAL 'BEGIN { d = a / b - 1; print (d <= g && d >= -g ? "yes" : "NO") }'
}

mkdir "$T/nothing" "$T/own"
"$ASSETPACK" build --progress none "$ASSETS" "$T/layout:v1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"

before=$(begin)
# A copy of one's own, read straight into one's own memory.
# shellcheck disable=SC2016 # for the shell of each user
users_start "$USERS" sh -c 'mount -t tmpfs tmpfs "$2" && cp -r "$1/." "$2" && exec "$3" "$2"' sh "$ASSETS" "$T/own" "$HOLD"
echo 1 >/proc/sys/vm/drop_caches
private_machine=$(($(machine_bytes) - before))
private_groups=$(charged)
users_end

before=$(begin)
group_new daemon
(group_run daemon "$ASSETFS" serve --store "$STORE") 2>>"$STORE/assetfs.log" &
daemon=$!
wait_for status_ok || fail "daemon does not answer"
"$ASSETFS" mount "$T/layout:v1" "$MNT"
users_start "$USERS" "$HOLD" "$MNT"
shared_machine=$(($(machine_bytes) - before))
shared_groups=$(charged)
sharing=$("$FSSTAT" --json | jq -c .sharing)
check_eq "users" "$(jq .users <<<"$sharing")" "$USERS"
users_end
"$ASSETFS" umount "$MNT"
stop_daemon
group_remove daemon

said=$(jq .bytes_saved <<<"$sharing")
groups=$((private_groups - shared_groups))
machine=$((private_machine - shared_machine))
echo "Savings of $USERS users, MB; goal: what fsstat says differs by at most $GOAL"
printf '%-26s %12s %12s %12s %8s %5s\n' "" private shared difference ratio met \
	"fsstat" "$(mb "$(jq .bytes_if_private <<<"$sharing")")" "$(mb "$(jq .bytes_shared <<<"$sharing")")" "$(mb "$said")" "" "" \
	"memory cgroups" "$(mb "$private_groups")" "$(mb "$shared_groups")" "$(mb "$groups")" "$(ratio "$said" "$groups" 4)" "$(within_goal "$said" "$groups")" \
	"/proc/meminfo" "$(mb "$private_machine")" "$(mb "$shared_machine")" "$(mb "$machine")" "$(ratio "$said" "$machine" 4)" "$(within_goal "$said" "$machine")"
record savings --argjson n "$USERS" --argjson sharing "$sharing" --argjson pg "$private_groups" --argjson sg "$shared_groups" --argjson pm "$private_machine" --argjson sm "$shared_machine" \
	'{users: $n, fsstat: $sharing, cgroups: {private_bytes: $pg, shared_bytes: $sg, saved_bytes: ($pg - $sg)},
		machine: {private_bytes: $pm, shared_bytes: $sm, saved_bytes: ($pm - $sm)},
		ratios: {cgroups: ($sharing.bytes_saved / ($pg - $sg)), machine: ($sharing.bytes_saved / ($pm - $sm))}}'
