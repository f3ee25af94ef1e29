#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The memory limit of the daemon's cgroup is lowered until the kernel kills it: the keeper starts
# another one, which makes its region fit, and readers see no error.
. "$(dirname "$0")/../support/mount_lib.sh"
. "$SUPPORT/../bench/cgroup_lib.sh"

: "${CHURN:?}"
SEED=${SEED:-$(date +%s)}
echo "   SEED=$SEED"
expect_log 'was ended by signal 9|does not fit into the memory limit'

clean_up() {
	rmdir "$GROUP/daemon" "$GROUP"
}

mkdir "$T/src"
for i in {1..100}; do
	noise 4000000 >"$T/src/$i"
done
"$ASSETPACK" build "$T/src" "$T/layout:v1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"

group_new daemon
(group_run daemon "$ASSETFS" keeper --store "$STORE" --region-size 1G 2>>"$STORE/assetfs.log") &
keeper=$!
wait_for status_ok || fail "daemon does not answer"
"$ASSETFS" mount "$T/layout:v1" "$MNT"
cat "$MNT"/{1..20} | cmp - <(cat "$T/src"/{1..20}) || fail "wrong bytes"
# 80 MB are in the region, 320 to come, and not half of those may.
limit=$(($(group_memory daemon | cut -d ' ' -f 1) + (130 << 20)))
[[ $CGROUP_VERSION == 1 ]] && file=memory.limit_in_bytes || file=memory.max
echo $limit >"$GROUP/daemon/$file"

# Few files are in use at a time: those cannot leave the region.
"$CHURN" --processes 4 --held 1 --seconds 1000000 --seed "$SEED" "$T/src" "$MNT" >"$T/churn" 2>&1 &
churn=$!
killed() {
	(($(counter takeovers_total 2>/dev/null || echo 0) > 0)) || ! kill -0 $churn 2>/dev/null
}
wait_for killed || fail "the kernel kills nobody"
sleep 3
kill $churn
wait $churn || fail "churn: $(tail -n 5 "$T/churn")"
tail -n 1 "$T/churn"
# The daemon that makes its region fit lives.
takeovers=$(counter takeovers_total)
note "$takeovers takeovers"
((takeovers <= 5)) || fail "the kernel kills the daemon again and again"
grep -q 'was ended by signal 9' "$STORE/assetfs.log" || fail "the keeper does not say why"
grep -q 'does not fit into the memory limit' "$STORE/assetfs.log" || fail "the daemon does not say that its region is too large"
"$READER" "$MNT" "$T/src" >"$T/reader" || fail "reader: $(tail -n 1 "$T/reader")"
check_eq "takeovers" "$(counter takeovers_total)" "$takeovers"
check_eq "errors" "$("$FSSTAT" --json | jq '[.images[].errors_total] | add')" 0
(($("$FSSTAT" --json | jq .region.size_bytes) < limit)) || fail "the region is larger than the limit"
"$ASSETFS" umount "$MNT"
kill $keeper
wait $keeper || fail "the keeper ends with status $?"
