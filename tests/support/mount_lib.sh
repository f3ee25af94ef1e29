# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Sourced first by every script in tests/mount. The script then runs again, as
# root of its own mount and pid namespace: its mounts are seen by nobody else,
# and whatever it leaves running ends with it. The first run removes the files.
#
# A FUSE file system that hangs takes its callers with it into a sleep that no
# signal ends. So no test mounts without the watchdog: after LIMIT seconds it
# aborts the test's own FUSE connections, which turns a hang into a failure.
#
# Given by the build, all absolute: ASSETFS, ASSETPACK, FSSTAT, READER, SUPPORT.
# Set here: T (the test's directory, on disk), STORE, MNT (an empty directory),
# TMPDIR (T).

# Both are far above what any test takes on a busy machine: they end what hangs,
# they do not judge speed.
: "${LIMIT:=600}"
PATIENCE=120 # seconds; see wait_for
: "${ASSETFS:?}" "${ASSETPACK:?}" "${FSSTAT:?}" "${READER:?}" "${SUPPORT:?}"

skip() {
	echo "skip: $*"
	exit 77
}

if [[ -z ${ASSETFS_TEST_INSIDE:-} ]]; then
	[[ $(id -u) == 0 ]] || skip "needs root"
	[[ -c /dev/fuse ]] || skip "needs /dev/fuse"
	export ASSETFS_TEST_INSIDE=1
	T=$(mktemp -d "${TMPDIR:-/var/tmp}/assetfs-test.XXXXXX") || exit 1
	export T TMPDIR=$T
	# A signal is for the run inside, too, which says what hangs.
	trap : INT TERM
	# The outer limit is for a test whose own shell hangs. All stays in one process group,
	# for meson ends a test by its group.
	timeout --foreground --kill-after=30 $((LIMIT + 30)) unshare --mount --propagation private \
		--pid --fork --kill-child --mount-proc bash "$0" "$@"
	status=$?
	rm -rf --one-file-system "$T"
	exit $status
fi

set -euo pipefail
export LC_ALL=C
# shellcheck source=tests/support/noise.sh
. "$SUPPORT/noise.sh"

STORE=$T/store
MNT=$T/mnt
export ASSETFS_STORE=$STORE
# A daemon that is slow on a busy machine is not stuck.
export FSSTAT_TIMEOUT=$PATIENCE
mkdir "$STORE" "$MNT"
mountpoint -q /sys/fs/fuse/connections || mount -t fusectl fusectl /sys/fs/fuse/connections

# Words that no daemon logs in a test that expects none; see expect_log.
SUSPICIOUS='error|fail|cannot|damage|corrupt|invalid|assert|abort|leak|sanitizer|warn|timed out'
EXPECTED_LOG=

# Log lines that match the extended regular expression $1 are no fault in this test.
expect_log() {
	EXPECTED_LOG=$1
}

fail() {
	echo "FAIL: $*" >&2
	exit 1
}

note() {
	echo "-- $*"
}

# check_eq WHAT GOT WANTED
check_eq() {
	[[ $2 == "$3" ]] || fail "$1: got '$2', expected '$3'"
}

# As grep -q, but reads to the end: what is cut off by a pipe that closes has failed.
finds() {
	grep "$@" >/dev/null
}

# wait_for COMMAND...: until the command succeeds, for at most PATIENCE seconds
wait_for() {
	local end=$((SECONDS + PATIENCE))
	until "$@"; do
		((SECONDS < end)) || return 1
		sleep 0.05
	done
}

# Mount points of assetfs in this namespace.
own_mounts() {
	awk '{ for (i = 7; i <= NF; i++) if ($i == "-") break; if ($(i + 1) == "fuse.assetfs") print $5 }' \
		/proc/self/mountinfo
}

# The FUSE connections behind them: minor numbers of their devices.
own_connections() {
	awk '{ for (i = 7; i <= NF; i++) if ($i == "-") break
		if ($(i + 1) == "fuse.assetfs") { sub(/.*:/, "", $3); print $3 } }' /proc/self/mountinfo | sort -u
}

# connections_of PID: how many descriptors of /dev/fuse, which has no name where it comes from another container
connections_of() {
	stat -L -c '%t:%T' "/proc/$1/fd/"* 2>/dev/null | grep -cx a:e5 || true
}

abort_own_connections() {
	local c
	for c in $(own_connections); do
		echo 1 >"/sys/fs/fuse/connections/$c/abort" || true
	done
}

# Processes of this test in uninterruptible sleep: pid and command.
stuck_processes() {
	local stat line
	for stat in /proc/[0-9]*/stat; do
		read -r line <"$stat" 2>/dev/null || continue
		line="${line%% *} ${line##*) }"
		[[ ${line#* } == D* ]] && echo "${line%% *} $(cat "${stat%stat}comm" 2>/dev/null)"
	done
	return 0
}

# Pids of assetfs daemons of this test, and of what is about to become one.
daemons() {
	local exe pid program
	program=$(readlink -f "$ASSETFS")
	for exe in /proc/[0-9]*/exe; do
		[[ $(readlink "$exe" 2>/dev/null) == "$program"?(d) ]] || continue
		pid=${exe#/proc/}
		echo "${pid%/exe}"
	done
}

daemon_pid() {
	"$ASSETFS" status --json | jq -er .pid
}

# Whether another daemon than $pid answers.
next_daemon() {
	local now
	now=$(daemon_pid 2>/dev/null) && [[ $now != "$pid" ]]
}

# Whether the daemon knows of no file that is open.
all_closed() {
	[[ $("$ASSETFS" status --json 2>/dev/null | jq '[.mounts[].open_files] | add') == 0 ]]
}

no_daemon() {
	[[ -z $(daemons) ]]
}

# in_state STATES PID...: whether all threads of the processes are in one of the states of proc(5), or gone.
# A process whose first thread has ended may have others that still hold its files.
in_state() {
	local states=$1 pid found
	shift
	for pid; do
		found=$(cat "/proc/$pid/task/"*/status 2>/dev/null | awk '/^State:/ { printf "%s", $2 }') || true
		[[ -z ${found//[$states]/} ]] || return 1
	done
}

# kill_daemons: SIGKILL to daemons and keepers, until their files are closed. All are stopped before the first one is
# killed: each of them starts the other one again.
kill_daemons() {
	local pids
	all_stopped() {
		pids=$(daemons)
		# shellcheck disable=SC2086
		[[ -z $pids ]] || kill -STOP $pids 2>/dev/null
		# shellcheck disable=SC2086
		in_state TZX $pids && [[ $(daemons) == "$pids" ]]
	}
	all_dead() {
		# shellcheck disable=SC2086
		in_state ZX $pids
	}
	wait_for all_stopped || fail "the daemon cannot be stopped"
	# shellcheck disable=SC2086
	[[ -z $pids ]] || kill -KILL $pids 2>/dev/null
	wait_for all_dead || fail "the daemon survives SIGKILL"
	no_daemon || fail "a daemon was started again"
}

# Wait for the end of a daemon whose last mount is gone. The next one counts from zero.
end_of_daemon() {
	wait_for no_daemon || fail "the daemon does not end"
	rm -f "$STORE/stats"
}

# start_daemon OPTION...: in the foreground of a job of this shell; pid in $daemon
start_daemon() {
	"$ASSETFS" serve --store "$STORE" "$@" 2>>"$STORE/assetfs.log" &
	export daemon=$!
	wait_for status_ok || fail "daemon does not answer"
}

status_ok() {
	"$ASSETFS" status >/dev/null 2>&1
}

# End the daemon of start_daemon, and wait for that.
stop_daemon() {
	kill -TERM "$daemon"
	wait "$daemon" || fail "the daemon ends with status $?"
}

# Whether the daemon serves no image: it lets go of one some time after its last mount.
no_mounts() {
	[[ $("$ASSETFS" status --json | jq '.mounts | length') == 0 ]]
}

# counter NAME: of fsstat's cache object
counter() {
	"$FSSTAT" --json | jq -er ".cache.$1"
}

# No chunk may have been decompressed twice, nor more of them than there are.
# check_decompressed IMAGE...
check_decompressed() {
	local image chunks=0
	for image in "$@"; do
		chunks=$((chunks + $("$ASSETPACK" inspect --json "$image" | jq -er "$CHUNKS_OF_IMAGE")))
	done
	check_eq "chunks decompressed again" "$(counter chunks_decompressed_again_total)" 0
	(($(counter chunks_decompressed_total) <= chunks)) ||
		fail "$(counter chunks_decompressed_total) chunks decompressed, the images have $chunks"
}
CHUNKS_OF_IMAGE='[.images[].config.chunks] | add'

# expect_failure STATUS PATTERN COMMAND...: ends with a status like the glob STATUS and one line
# on stderr that matches PATTERN
expect_failure() {
	local want=$1 pattern=$2 status=0
	shift 2
	"$@" >"$T/stdout" 2>"$T/stderr" || status=$?
	# shellcheck disable=SC2053
	[[ $status == $want ]] || fail "$*: status $status, expected $want: $(cat "$T/stderr")"
	check_eq "$*: lines on stderr" "$(wc -l <"$T/stderr")" 1
	grep -qE "$pattern" "$T/stderr" || fail "$*: message is '$(cat "$T/stderr")', expected '$pattern'"
}

# A process in its own mount namespace that reads all of $MNT and compares it
# with $1, then holds its mappings. Its output is in $T/holder.N. release_holders ends all.
holders=()
start_holder() {
	local n=${#holders[@]}
	mkfifo "$T/holder.$n.in"
	unshare --mount --propagation private "$READER" --hold --ways shared "$MNT" "$1" \
		<"$T/holder.$n.in" >"$T/holder.$n" &
	holders+=($!)
	exec {holder_fd}>"$T/holder.$n.in"
	holder_fds+=("$holder_fd")
}
holder_fds=()

holders_ready() {
	local i
	for i in "${!holders[@]}"; do
		grep -q '^done ' "$T/holder.$i" 2>/dev/null || return 1
	done
}

release_holders() {
	local fd pid
	for fd in "${holder_fds[@]}"; do
		exec {fd}>&-
	done
	for pid in "${holders[@]}"; do
		wait "$pid" || fail "a reader found wrong bytes or errors"
	done
	holders=()
	holder_fds=()
}

show_log() {
	[[ -s $STORE/assetfs.log ]] || return 0
	echo "---- daemon's log" >&2
	tail -n 100 "$STORE/assetfs.log" >&2
}

check_log() {
	local lines
	[[ -s $STORE/assetfs.log ]] || return 0
	# The name of the directory is random, and may hold any word.
	lines=$(sed "s|$T||g" "$STORE/assetfs.log" | grep -iE "$SUSPICIOUS" | grep -vE "${EXPECTED_LOG:-^$}" || true)
	[[ -z $lines ]] || {
		echo "FAIL: unexpected lines in the daemon's log:" >&2
		head -n 20 <<<"$lines" >&2
		return 1
	}
}

finish() {
	local status=$? dir pid
	trap - EXIT
	set +e
	((status == 0 || status == 77)) || {
		stuck_processes | sed 's/^/stuck: /' >&2
		show_log
	}
	own_mounts | tac | while read -r dir; do
		timeout 10 umount -l "$(printf '%b' "$dir")"
	done
	for pid in $(daemons); do
		kill -TERM "$pid" 2>/dev/null
	done
	PATIENCE=20
	wait_for no_daemon || {
		((status)) || status=1
		echo "FAIL: the daemon does not end on SIGTERM" >&2
		abort_own_connections
		for pid in $(daemons); do
			kill -KILL "$pid" 2>/dev/null
		done
	}
	((status)) || check_log || status=1
	# What the test made outside of its namespaces.
	! declare -F clean_up >/dev/null || clean_up
	exit "$status"
}
trap finish EXIT
trap 'exit 124' TERM

(
	trap - EXIT TERM
	sleep "$LIMIT"
	echo "FAIL: no end after $LIMIT s; aborting the mounts" >&2
	stuck_processes | sed 's/^/stuck: /' >&2
	kill -TERM 1
	abort_own_connections
) &
