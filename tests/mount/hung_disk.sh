#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The disk with the packs hangs: who wants what lies there gets an error after a while, and can be
# killed; the rest of the mount goes on. When the disk comes back, so does everything.
. "$(dirname "$0")/../support/mount_lib.sh"

: "${FAULT:?}"
READERS=100 # more than the threads of a session
mkdir "$T/src"
for ((i = 0; i < READERS; i++)); do
	noise 300000 >"$T/src/cold-$i"
done
noise 200000 >"$T/src/warm"
"$ASSETPACK" build "$T/src" "$T/layout:v1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
expect_log "has taken|for more than .* s: see whether a disk hangs"

LD_PRELOAD=$FAULT FAULT_CALLS=read FAULT_PATH=$T/layout FAULT_AT=1 FAULT_REPEAT=yes FAULT_DO=hang:$T/hang FAULT_LOG=$T/faults \
	ASAN_OPTIONS="${ASAN_OPTIONS:-}:verify_asan_link_order=0" \
	"$ASSETFS" serve --store "$STORE" --fetch-timeout 1 --request-timeout 5 2>>"$STORE/assetfs.log" &
daemon=$!
wait_for status_ok || fail "daemon does not answer"
"$ASSETFS" mount "$T/layout:v1" "$MNT"
cmp "$T/src/warm" "$MNT/warm"

# read_cold: by a process for each file, and one more for each tenth; pids in $readers
read_cold() {
	readers=()
	for ((i = 0; i < READERS; i++)); do
		cmp "$T/src/cold-$i" "$MNT/cold-$i" 2>"$T/cold-$i.err" &
		readers+=($!)
		if ((i % 10 == 0)); then
			cmp "$T/src/cold-$i" "$MNT/cold-$i" 2>/dev/null &
			readers+=($!)
		fi
	done
}

all_have_failed() {
	local pid
	for pid in "${readers[@]}"; do
		! kill -0 "$pid" 2>/dev/null || return 1
	done
}

note "$READERS files of a disk that hangs, and who waits can be killed"
touch "$T/hang"
before=$(wc -l <"$T/faults")
cmp "$MNT/cold-1" "$T/src/cold-1" 2>/dev/null &
victim=$!
disk_hangs() {
	(($(wc -l <"$T/faults") > before))
}
wait_for disk_hangs || fail "nobody reads from the disk"
kill -KILL $victim
read_cold
wait_for all_have_failed || fail "readers that wait for ever: $("$ASSETFS" status --json | jq -c '.mounts[]')"
for pid in "${readers[@]}"; do
	! wait "$pid" || fail "a file was read from a disk that hangs"
done
grep -q "Input/output error" "$T/cold-0.err" || fail "cold-0: $(cat "$T/cold-0.err")"

status=0
wait $victim || status=$?
check_eq "status of the victim" "$status" 137

note "the rest of the mount goes on"
warm_reads() {
	cmp "$T/src/warm" "$MNT/warm" 2>/dev/null && [[ $(find "$MNT" -type f | wc -l) == $((READERS + 1)) ]]
}
wait_for warm_reads || fail "what is in the region cannot be read"
(($(counter requests_timed_out_total) > 0)) || fail "no alarm"
(($(counter errors_total) >= READERS)) || fail "$(counter errors_total) errors counted"
grep -qE "(open|read) of inode [0-9]+ of .*layout:v1 has taken 5 s and failed: see whether a disk hangs" "$STORE/assetfs.log" ||
	fail "the log does not tell: $(tail -n 3 "$STORE/assetfs.log")"

note "the disk comes back"
rm "$T/hang"
all_reads() {
	"$READER" "$MNT" "$T/src" >"$T/reader" 2>&1
}
wait_for all_reads || fail "reader: $(tail -n 1 "$T/reader")"
wait_for all_closed || fail "files that nobody has open"
"$ASSETFS" umount "$MNT"
stop_daemon
