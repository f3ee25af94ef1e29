#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# assetfs doctor, on the machine that runs the test.
. "$(dirname "$0")/../support/mount_lib.sh"

# What this machine lacks is no failure of the test: only what the test brings about is judged.
doctor() {
	local status=0
	"$ASSETFS" doctor --json "$@" >"$T/report" || status=$?
	((status <= 1)) || fail "doctor $*: status $status"
	jq -e 'length > 10 and all(.[]; (.check | length > 0) and (.found | length > 0)
		and (.status == "ok") == (.advice == null))' "$T/report" >/dev/null || fail "$(cat "$T/report")"
	check_eq "status and findings" "$status" "$(jq 'if any(.[]; .status == "fail") then 1 else 0 end' "$T/report")"
}

# level CHECK: of the last report
level() {
	jq -er --arg check "$1" '.[] | select(.check == $check) | .status' "$T/report"
}

advice() {
	jq -er --arg check "$1" '.[] | select(.check == $check) | .advice' "$T/report"
}

note "lines for people"
"$ASSETFS" doctor >"$T/lines" || true
grep -vE '^(ok  |warn|fail)  [a-z ]+: .' "$T/lines" && fail "lines of another form"
check_eq "warnings without advice" "$(grep -E '^(warn|fail)' "$T/lines" | grep -cv '; ' || true)" 0
"$ASSETFS" doctor --help | finds Usage || fail "no help"
status=0
"$ASSETFS" doctor --nonsense 2>/dev/null || status=$?
check_eq "status" "$status" 2
expect_failure 2 "unexpected" "$ASSETFS" doctor a b

note "without a daemon"
doctor --store "$STORE"
check_eq "fuse" "$(level fuse)" ok
[[ $(level privilege) != fail ]] || fail "$(cat "$T/report")"
check_eq "daemon" "$(level daemon)" ok
check_eq "mounts" "$(level mounts)" ok
check_eq "mounts left by the trial" "$(own_mounts)" ""
[[ ! -e $STORE/indexes ]] || fail "the doctor made a store"

note "propagation of the directory that is named"
mkdir "$T/shared" "$T/private"
for dir in shared private; do
	mount --bind "$T/$dir" "$T/$dir"
	mount "--make-$dir" "$T/$dir"
	doctor "$T/$dir/somewhere"
	check_eq "propagation" "$(level propagation)" "$([[ $dir == shared ]] && echo ok || echo warn)"
done

note "a store in memory"
mount -t tmpfs tmpfs "$T/private"
doctor --store "$T/private/store"
check_eq "store" "$(level store)" warn

note "a mount, and what the trial found is what the daemon has"
mkdir "$T/src"
echo one >"$T/src/file"
"$ASSETPACK" build "$T/src" "$T/layout:v1" >/dev/null 2>&1
"$ASSETFS" mount "$T/layout:v1" "$MNT"
doctor
check_eq "daemon" "$(level daemon)" ok
check_eq "mounts" "$(level mounts)" ok
# In some containers /sys is read-only, to the daemon as well.
read_ahead=/sys/class/bdi/0:$(own_connections)/read_ahead_kb
check_eq "requests" "$(level requests)" "$([[ -w $read_ahead ]] && echo ok || echo warn)"
cat "$MNT/file" >/dev/null
passthrough=$("$ASSETFS" status --json | jq .passthrough)
check_eq "passthrough" "$(level passthrough)" "$([[ $passthrough == true ]] && echo ok || echo warn)"

note "a daemon of another store"
mkdir "$T/other"
doctor --store "$T/other"
check_eq "mounts" "$(level mounts)" warn

note "a region on overlayfs, where the kernel refuses passthrough"
mkdir "$T/lower" "$T/upper" "$T/work" "$T/merged"
if [[ $passthrough == true ]] &&
	mount -t overlay overlay -o "lowerdir=$T/lower,upperdir=$T/upper,workdir=$T/work" "$T/merged" 2>/dev/null; then
	doctor --region "$T/merged"
	check_eq "region" "$(level region)" warn
	check_eq "passthrough" "$(level passthrough)" warn
	[[ $(advice passthrough) == *overlayfs* ]] || fail "advice: $(advice passthrough)"
	doctor --region "$T/upper"
	check_eq "passthrough" "$(level passthrough)" ok
	umount "$T/merged"
fi

note "without privileges: told, not tried"
setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin --ambient-caps=-all --reuid=0 \
	"$ASSETFS" doctor --json >"$T/report" || true
check_eq "privilege" "$(level privilege)" fail
check_eq "passthrough" "$(level passthrough)" warn
check_eq "huge pages" "$(level "huge pages")" warn

note "a mount whose daemon was killed"
kill_daemons
doctor
check_eq "daemon" "$(level daemon)" ok
check_eq "mounts" "$(level mounts)" fail
[[ $(advice mounts) == *"umount -l '$MNT'"* ]] || fail "advice: $(advice mounts)"
eval "$(advice mounts | grep -o "umount -l '[^']*'")"
doctor
check_eq "mounts" "$(level mounts)" ok
