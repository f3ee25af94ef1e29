# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Sourced after bench_lib.sh: memory cgroups of a measurement, version 1 or 2. A process that is
# born in a group stays there; what it makes the kernel allocate is charged to it.

# Several measurements and tests run at a time, each with process 1 of its own.
GROUP_NAME=assetfs-bench.${T##*.}.$RANDOM

if [[ -d /sys/fs/cgroup/memory ]]; then
	GROUP=/sys/fs/cgroup/memory/$GROUP_NAME
	CGROUP_VERSION=1
elif grep -qw memory /sys/fs/cgroup/cgroup.controllers 2>/dev/null; then
	GROUP=/sys/fs/cgroup/$GROUP_NAME
	CGROUP_VERSION=2
else
	skip "needs the memory controller of cgroups"
fi
mkdir "$GROUP" 2>/dev/null || skip "needs to make memory cgroups"
if [[ $CGROUP_VERSION == 2 ]]; then
	echo +memory >/sys/fs/cgroup/cgroup.subtree_control
	echo +memory >"$GROUP/cgroup.subtree_control"
fi

# group_new NAME...
group_new() {
	local name
	for name in "$@"; do
		mkdir "$GROUP/$name"
	done
}

# group_run NAME COMMAND...: in place of this shell
group_run() {
	echo "$BASHPID" >"$GROUP/$1/cgroup.procs"
	exec "${@:2}"
}

# group_remove NAME...: their processes have ended; what they leave in memory goes to the parent
group_remove() {
	local name
	for name in "$@"; do
		wait_for rmdir "$GROUP/$name" 2>/dev/null || fail "cgroup $name stays"
	done
}

# Bytes that are charged to group $1: all, file pages (tmpfs included), tmpfs pages, anonymous
# memory, memory of the kernel for it
group_memory() {
	if [[ $CGROUP_VERSION == 1 ]]; then
		awk -v usage="$(cat "$GROUP/$1/memory.usage_in_bytes")" -v kernel="$(cat "$GROUP/$1/memory.kmem.usage_in_bytes")" '
			{ v[$1] = $2 }
			END { printf "%.0f %.0f %.0f %.0f %.0f\n", usage, v["total_cache"], v["total_shmem"], v["total_rss"], kernel }' \
			"$GROUP/$1/memory.stat"
	else
		awk -v usage="$(cat "$GROUP/$1/memory.current")" '
			{ v[$1] = $2 }
			END { printf "%.0f %.0f %.0f %.0f %.0f\n", usage, v["file"], v["shmem"], v["anon"], v["kernel"] }' \
			"$GROUP/$1/memory.stat"
	fi
}

# users_start N COMMAND...: N users of a measurement, each in a memory cgroup of its own, user.0 and
# so on, and in a mount namespace of its own. COMMAND prints "done " when it is ready and then stays
# until its input ends. The daemon gives back after some seconds what fills have left: SETTLE.
: "${SETTLE:=12}"
user_pids=() user_fds=()
users_start() {
	local n=$1 i fd
	shift
	for ((i = 0; i < n; i++)); do
		group_new "user.$i"
		mkfifo "$T/in.$i"
		(group_run "user.$i" unshare --mount --propagation private "$@") <"$T/in.$i" >"$T/out.$i" 2>&1 &
		user_pids+=($!)
		exec {fd}>"$T/in.$i"
		user_fds+=("$fd")
	done
	for ((i = 0; i < n; i++)); do
		wait_for grep -q '^done ' "$T/out.$i" || fail "user $i: $(cat "$T/out.$i")"
	done
	sleep "$SETTLE"
}

# All users end, and their groups.
users_end() {
	local i fd
	for fd in "${user_fds[@]}"; do
		exec {fd}>&-
	done
	wait "${user_pids[@]}" || fail "a user failed"
	for i in "${!user_pids[@]}"; do
		group_remove "user.$i"
	done
	user_pids=() user_fds=()
	rm -f "$T"/in.* "$T"/out.*
}

remove_all_groups() {
	local dir pid
	for dir in "$GROUP"/*/; do
		[[ -d $dir ]] || continue
		while read -r pid; do
			kill -KILL "$pid" 2>/dev/null || true
		done <"$dir/cgroup.procs"
	done
	for dir in "$GROUP"/*/ "$GROUP"; do
		[[ ! -d $dir ]] || wait_for rmdir "$dir" 2>/dev/null || true
	done
}

# As mount_lib.sh does, and the groups after it.
finish_with_groups() {
	local status=$?
	trap - EXIT
	# Groups are removed after a failure, too.
	set +e
	(
		(exit "$status")
		finish
	)
	status=$?
	# shellcheck disable=SC2034
	PATIENCE=10 # of wait_for
	remove_all_groups
	exit "$status"
}
trap finish_with_groups EXIT
