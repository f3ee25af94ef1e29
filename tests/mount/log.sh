#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Formats of the daemon's log, and priorities in the journal.
. "$(dirname "$0")/../support/mount_lib.sh"

mkdir "$T/src"
echo content >"$T/src/file"
layout=$T/$'two\nlines "quoted"'
"$ASSETPACK" build "$T/src" "$layout:v1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"

# log_of OPTION...: mount, unmount, end; what was logged is in $T/log
log_of() {
	: >"$STORE/assetfs.log"
	start_daemon "$@"
	"$ASSETFS" mount "$layout:v1" "$MNT"
	"$ASSETFS" umount "$MNT"
	ended() {
		grep -q "has ended" "$STORE/assetfs.log"
	}
	wait_for ended || fail "the end of the session is not logged: $(cat "$STORE/assetfs.log")"
	stop_daemon
	mv "$STORE/assetfs.log" "$T/log"
}
time_of='[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{3}Z'

note "text: an event is a line, whatever a name has in it"
log_of
check_eq "lines" "$(grep -cE "^$time_of assetfs: " "$T/log")" "$(wc -l <"$T/log")"
grep -qF 'two?lines "quoted":v1 for' "$T/log" || fail "$(cat "$T/log")"

note "logfmt"
log_of --log-format logfmt
check_eq "lines" "$(grep -cE "^time=$time_of level=info program=assetfs msg=\".*\"$" "$T/log")" "$(wc -l <"$T/log")"

note "JSON"
log_of --log-format json --log-level debug
jq -es --arg image "$layout:v1" 'length >= 3 and all(.time and .level and .program == "assetfs")
	and any(.msg | startswith("mount of \($image) for"))' "$T/log" >/dev/null || fail "$(cat "$T/log")"

note "the journal: priorities for its stream, and for no other"
touch "$STORE/assetfs.log"
JOURNAL_STREAM=1:1 log_of
! grep -q '^<' "$T/log" || fail "priorities in a file: $(cat "$T/log")"
: >"$STORE/assetfs.log"
JOURNAL_STREAM=$(stat -c %d:%i "$STORE/assetfs.log") log_of
check_eq "lines" "$(grep -cE '^<6>assetfs: ' "$T/log")" "$(wc -l <"$T/log")"

expect_failure 2 "not valid" "$ASSETFS" serve --log-format xml

note "a keeper logs as its daemons do"
expect_log "was ended by signal 9"
"$ASSETFS" keeper --store "$STORE" --log-format=json 2>"$STORE/assetfs.log" &
keeper=$!
wait_for status_ok || fail "daemon does not answer"
pid=$(daemon_pid)
kill -KILL "$pid"
wait_for next_daemon || fail "no other daemon"
kill $keeper
wait $keeper || fail "status of the keeper: $?"
jq -es 'any(.msg | contains("ended by signal 9")) and all(.time and .level)' "$STORE/assetfs.log" >/dev/null ||
	fail "$(cat "$STORE/assetfs.log")"
