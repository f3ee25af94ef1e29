# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Sourced first by migrate_*.sh: recipes that servers share assets by, against assetfs. The programs are those of
# container/examples/migrating/. Each script prints a table for docs/migrating.md, and fails when
# what the page says does not hold, so that it is a test as well: with SMALL set it takes some seconds.

. "$(dirname "${BASH_SOURCE[0]}")/bench_lib.sh"
# shellcheck source=cgroup_lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/cgroup_lib.sh"

export MIGRATING=$BUILD/container/examples/migrating
SMALL=${SMALL:-}

# small A B: A in a test, else B
small() {
	if [[ -n $SMALL ]]; then
		echo "$1"
	else
		echo "$2"
	fi
}

# held NAME PATTERN COMMAND...: COMMAND in a memory cgroup NAME, its input never ends; returns when a
# line of its output has PATTERN. The output is $T/out.NAME.
declare -A held_pids=()
held() {
	local name=$1 pattern=$2
	shift 2
	[[ -p $T/never ]] || mkfifo "$T/never"
	[[ -d $GROUP/$name ]] || group_new "$name"
	: >"$T/out.$name"
	(group_run "$name" "$@") <>"$T/never" >"$T/out.$name" 2>&1 &
	held_pids[$name]=$!
	has_said() {
		grep -q "$pattern" "$T/out.$name" || ! kill -0 "${held_pids[$name]}" 2>/dev/null
	}
	wait_for has_said || fail "$name says nothing"
	grep -q "$pattern" "$T/out.$name" || fail "$name: $(cat "$T/out.$name")"
}

# let_go NAME...
let_go() {
	local name
	for name in "$@"; do
		kill -TERM "${held_pids[$name]}"
		wait "${held_pids[$name]}" || true
		unset "held_pids[$name]"
		group_remove "$name"
	done
}

# charged NAME...: bytes that the groups are charged, without memory of the kernel's own
charged() {
	local name usage kernel sum=0
	for name in "$@"; do
		read -r usage _ _ _ kernel <<<"$(group_memory "$name")"
		sum=$((sum + usage - kernel))
	done
	echo "$sum"
}

# serve_in_group: the daemon in the group "daemon"; pid in $daemon
serve_in_group() {
	group_new daemon
	(group_run daemon "$ASSETFS" serve --store "$STORE") 2>>"$STORE/assetfs.log" &
	daemon=$!
	wait_for status_ok || fail "daemon does not answer"
}

stop_served() {
	stop_daemon
	group_remove daemon
}

# make_set DIR FILES: of 1 MB each, of which half compresses
make_set() {
	mkdir -p "$1"
	"$MAKE_TREE" tree "$1" "$2" 1000000 1000000
}

# pack DIR IMAGE OPTION...
pack() {
	"$ASSETPACK" build --progress none "${@:3}" "$1" "$2" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
}

# row WHAT BEFORE AFTER
row() {
	printf '%-44s %-26s %s\n' "$@"
}

# why_not COMMAND...: what is wrong, in the words of the system
why_not() {
	"$@" >"$T/why" 2>&1 </dev/null && fail "$*: does not fail: $(cat "$T/why")"
	sed 's/.*: //' "$T/why" | tail -n 1
}
