#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The daemon is killed in each of its windows (docs/design.md, "Death of a daemon"): beside the
# system calls at which something outside of it changes. Readers may not see it, no count may be
# lost or made twice, and each window must have been hit.
. "$(dirname "$0")/../support/mount_lib.sh"

: "${CHURN:?}" "${KILL_AT:?}"
SEED=${SEED:-$(date +%s)}
echo "   SEED=$SEED"
expect_log 'was ended by signal 9'

mkdir "$T/src"
for i in {1..40}; do
	noise $((i * 20011)) >"$T/src/$i"
done
# Larger than what open(2) waits for.
noise $((17 << 20)) >"$T/src/large"
"$ASSETPACK" build "$T/src" "$T/layout:v1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"

hits() {
	[[ -e $T/kills ]] && wc -l <"$T/kills" || echo 0
}

all_hit() {
	(($(hits) == steps)) || ! kill -0 "$churn" 2>/dev/null
}

# kill_in PLAN: as kill_at.c has it, while files are read
kill_in() {
	local plan=$1
	note "$plan"
	steps=$(tr ',' '\n' <<<"$plan" | wc -l)
	rm -f "$T/kills"
	# A sanitizer likes to be first, and works as second.
	LD_PRELOAD=$KILL_AT KILL_PLAN=$plan KILL_LOG=$T/kills ASAN_OPTIONS="${ASAN_OPTIONS:-}:verify_asan_link_order=0" \
		"$ASSETFS" keeper --store "$STORE" --region-size 20M 2>>"$STORE/assetfs.log" &
	keeper=$!
	wait_for status_ok || fail "daemon does not answer"
	# Who is killed while it mounts has mounted nothing.
	wait_for "$ASSETFS" mount "$T/layout:v1" "$MNT" 2>>"$T/mount.log" || fail "mount: $(tail -n 1 "$T/mount.log")"
	"$CHURN" --processes 8 --seconds 1000000 --seed "$SEED" "$T/src" "$MNT" >"$T/churn" 2>&1 &
	churn=$!
	wait_for all_hit
	check_eq "kills in $plan" "$(hits)" "$steps"
	wait_for status_ok || fail "no daemon after $plan"
	sleep 0.2
	kill $churn
	wait $churn || fail "$plan: churn: $(tail -n 5 "$T/churn")"
	wait_for all_closed || fail "$plan: files that nobody has open: $("$ASSETFS" status --json | jq -c '[.mounts[].open_files]')"
	"$READER" "$MNT" "$T/src" >"$T/reader" || fail "$plan: reader: $(tail -n 1 "$T/reader")"
	check_eq "errors after $plan" "$("$FSSTAT" --json | jq '[.images[].errors_total] | add')" 0
	"$ASSETFS" umount "$MNT"
	kill $keeper
	wait $keeper || fail "$plan: the keeper ends with status $?"
	rm -f "$STORE/stats"
}

for window in after-request before-reply after-reply before-backing after-backing before-unback after-unback \
	after-object before-whole after-whole before-evict after-evict; do
	kill_in "$window:40"
done
# Of a start: the region and the control socket; of a mount: its state and its connection.
for n in 1 2 3 4; do
	kill_in "before-keep:$n"
	kill_in "after-keep:$n"
done
# One that has just taken over, and one after that, while it takes over.
kill_in "before-reply:30,after-request:1,after-adopt:1,after-reply:1,before-backing:1"
