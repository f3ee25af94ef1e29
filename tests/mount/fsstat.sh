#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# fsstat counts what happened, exactly.
. "$(dirname "$0")/../support/mount_lib.sh"

src=$T/src
mkdir "$src"
# Larger than any group, so that none shares a chunk with another file.
noise 3000000 >"$src/one"
noise 5000000 >"$src/two"
cp "$src/two" "$src/two-again"
touch "$src/empty"
"$ASSETPACK" build "$src" "$T/layout:v1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
chunks_of() {
	"$SUPPORT/edit_image.sh" "$T/layout:v1" query "SELECT count(*) FROM extent WHERE content =
		(SELECT content FROM node WHERE ino = (SELECT ino FROM entry WHERE name = x'$(printf %s "$1" | od -An -tx1 | tr -d ' \n')'))"
}
one=$(chunks_of one)
two=$(chunks_of two)
"$ASSETFS" mount "$T/layout:v1" "$MNT"

# expect NAME=VALUE...: of the cache object; unnamed counters are not looked at
expect() {
	local pair
	for pair in "$@"; do
		check_eq "${pair%=*}" "$(counter "${pair%=*}")" "${pair#*=}"
	done
}
field() {
	"$FSSTAT" --json | jq -er "$1"
}
expect opens_total=0 open_hits_total=0 chunk_requests_total=0 chunks_decompressed_total=0 bytes_decompressed_total=0
check_eq "region is empty" "$(field .region.used_bytes)" 0
check_eq "files" "$(field '.images[0].files')" 4
check_eq "bytes" "$(field '.images[0].bytes')" 13000000
check_eq "image" "$(field '.images[0].image')" "$T/layout:v1"
check_eq "mount points" "$(field '.images[0].mountpoints | join(" ")')" "$MNT"

note "the first open of a file fills it"
cmp "$src/one" "$MNT/one"
resident() {
	[[ $(field '.images[0].resident_bytes') == "$1" ]]
}
wait_for resident 3000000 || fail "resident: $(field '.images[0].resident_bytes')"
expect opens_total=1 open_hits_total=0 chunk_requests_total="$one" chunk_hits_total=0 \
	chunks_decompressed_total="$one" bytes_decompressed_total=3000000

note "the second finds it filled"
cmp "$src/one" "$MNT/one"
expect opens_total=2 open_hits_total=1 chunk_requests_total="$one" chunks_decompressed_total="$one" open_hit_rate=0.5

note "equal files are one content"
cmp "$src/two" "$MNT/two"
wait_for resident 8000000 || fail "resident: $(field '.images[0].resident_bytes')"
cmp "$src/two" "$MNT/two-again"
expect opens_total=4 open_hits_total=2 chunks_decompressed_total=$((one + two)) bytes_decompressed_total=8000000 \
	chunks_decompressed_again_total=0

note "an empty file needs nothing"
cmp "$src/empty" "$MNT/empty"
expect opens_total=4

note "hot files and cold ones"
check_eq "hot" "$("$FSSTAT" --hot 2 --json | jq -c '[.files[] | [.path, .opens_total, .bytes, .resident_bytes]]')" \
	'[["one",2,3000000,3000000],["two",1,5000000,5000000]]'
check_eq "cold" "$("$FSSTAT" --cold 9 --json | jq -c '[.files[].path]')" '["two","two-again","one"]'
"$FSSTAT" --hot 1 | finds -E "^ +2 .* one \($T/layout:v1\)$" || fail "$("$FSSTAT" --hot 1)"
expect_failure 2 "no number" "$FSSTAT" --hot 0

# valid: standard input is what docs/fsstat.schema.json says
valid() {
	python3 -c 'import json, jsonschema, sys
jsonschema.validate(json.load(sys.stdin), json.load(open(sys.argv[1])))' "$SOURCE_ROOT/docs/fsstat.schema.json"
}

note "three users in namespaces of their own"
# This test's own namespace is the first user: it has opened all three files, two of them equal.
check_eq "users" "$(field .sharing.users)" 1
check_eq "bytes if private" "$(field .sharing.bytes_if_private)" 13000000
start_holder "$src"
start_holder "$src"
start_holder "$src"
wait_for holders_ready || fail "readers do not get ready"
check_eq "users" "$(field .sharing.users)" 4
check_eq "bytes if private" "$(field .sharing.bytes_if_private)" 52000000
check_eq "bytes shared" "$(field .sharing.bytes_shared)" 8000000
check_eq "bytes saved" "$(field .sharing.bytes_saved)" 44000000
"$FSSTAT" --hot 9 --json | valid || fail "--hot is not as the schema says"
"$FSSTAT" --pods --json | valid || fail "--pods is not as the schema says"
# This test's own namespace has more processes; of each holder there is one.
"$FSSTAT" --pods --json | jq -e --argjson holders "$(printf '%s\n' "${holders[@]}" | jq -s .)" '.pods | length == 4
	and all(.bytes_if_private == 13000000) and ([.[].pid] | contains($holders))
	and ([.[].namespace] | unique | length == 4)' >/dev/null || fail "$("$FSSTAT" --pods --json)"
group=$(awk -F : '$2 == "memory" { print $3; found = 1 } $1 == 0 { path = $3 } END { if (!found) print path }' \
	"/proc/${holders[0]}/cgroup")
check_eq "cgroup" "$("$FSSTAT" --pods --json | jq -r ".pods[] | select(.pid == ${holders[0]}).cgroup")" "$group"
"$FSSTAT" --pods | finds -E "^ +12.4 MiB .* ${holders[0]} +reader$" || fail "$("$FSSTAT" --pods)"

# name_pod UID NAME NAMESPACE: as who mounts for a pod does; its mount goes at once
name_pod() {
	python3 - "$STORE/control.sock" "$T/layout:v1" "$@" <<'EOF'
import json, socket, sys
path, image, uid, name, namespace = sys.argv[1:]
with socket.socket(socket.AF_UNIX) as s:
    s.connect(path)
    s.sendall(json.dumps({"version": 1, "command": "mount", "image": image, "directory": "/", "pod": {
        "uid": uid, "name": name, "namespace": namespace}}).encode() + b"\n")
    assert json.loads(s.makefile().readline())["ok"]
EOF
}
note "a pod by its cgroup, and by its name once that was told"
uid=8f3c1d2e-0a1b-4c5d-9e8f-$(printf '%012x' "$RANDOM$RANDOM")
pod=/sys/fs/cgroup/$([[ ! -d /sys/fs/cgroup/memory ]] || echo memory/)pod$uid
pod_of_holder() {
	"$FSSTAT" --pods --json | jq -c ".pods[] | select(.pid == ${holders[0]}) | [.pod_uid, .pod_namespace, .pod_name]"
}
if mkdir "$pod" 2>/dev/null && echo "${holders[0]}" >"$pod/cgroup.procs"; then
	check_eq "pod" "$(pod_of_holder)" "[\"$uid\",null,null]"
	name_pod "$uid" server-1 games
	check_eq "pod" "$(pod_of_holder)" "[\"$uid\",\"games\",\"server-1\"]"
	"$FSSTAT" --pods | finds -E "reader of pod games/server-1$" || fail "$("$FSSTAT" --pods)"
	"$FSSTAT" --pods --json | valid || fail "--pods is not as the schema says"
else
	note "  not here: no memory cgroup can be made"
fi
release_holders
[[ ! -d $pod ]] || wait_for rmdir "$pod" || fail "the cgroup stays"
one_user() {
	[[ $(field .sharing.users) == 1 ]]
}
wait_for one_user || fail "users that have ended are still counted"

note "forms"
"$FSSTAT" --json | valid || fail "--json is not as its schema says"
"$FSSTAT" --json | jq 'del(.cache.opens_total)' | valid 2>/dev/null && fail "the schema takes anything"
"$FSSTAT" --json | jq -e '.version == 1 and (.uptime_seconds >= 0) and (.passthrough | type == "boolean")
	and (.region.size_bytes >= .region.used_bytes) and .region.kind == "memory"
	and (.images | length == 1) and .images[0].errors_total == 0' >/dev/null || fail "$("$FSSTAT" --json)"
"$FSSTAT" >"$T/table"
grep -q "$T/layout:v1" "$T/table" || fail "the table does not name the image: $(cat "$T/table")"
"$FSSTAT" "$MNT" >"$T/table"
grep -q "$T/layout:v1" "$T/table" || fail "the table of $MNT does not name the image: $(cat "$T/table")"
check_eq "target by mount point" "$("$FSSTAT" --json "$MNT" | jq '.images | length')" 1
expect_failure 1 "nowhere" "$FSSTAT" "$T/nowhere"

note "conditions"
"$FSSTAT" --check 'open_hit_rate>0.5,errors=0,chunks_decompressed_again=0,open_p99_seconds<60,users>=1' ||
	fail "conditions that hold fail"
expect_failure 1 "^fsstat: open_hit_rate is .*, not > 1; errors is 0, not >= 1$" \
	"$FSSTAT" --check 'open_hit_rate>1,users>=1,errors>=1'
for wrong in '' open_hit_rate 'open_hit_rate>' 'open_hit_rate>x' 'errors=0,,' 'errors=>0' 'nonsense=0' 'cache=0'; do
	expect_failure 2 "condition|no number" "$FSSTAT" --check "$wrong"
done

note "a daemon that is stuck: its page"
totals() {
	"$FSSTAT" --json 2>/dev/null | jq -cS '[.cache, .latency, .counting_since]'
}
before=$(totals)
pid=$(daemon_pid)
kill -STOP "$pid"
export FSSTAT_TIMEOUT=1
check_eq "counters of a daemon that is stuck" "$(totals)" "$before"
"$FSSTAT" --json 2>"$T/stderr" | jq -e --argjson pid "$pid" '.source == "page" and .pid == $pid' >/dev/null ||
	fail "not from the page: $("$FSSTAT" --json)"
grep -q "does not answer" "$T/stderr" || fail "fsstat does not say that the daemon is stuck: $(cat "$T/stderr")"
"$FSSTAT" --json 2>/dev/null | valid || fail "--json from the page is not as its schema says"
"$FSSTAT" 2>/dev/null | finds "^opens " || fail "no table from the page"
"$FSSTAT" --prometheus 2>/dev/null | finds "^assetfs_opens_total " || fail "no metrics from the page"
"$FSSTAT" --check errors=0 2>/dev/null || fail "errors=0 does not hold"
kill -CONT "$pid"
export FSSTAT_TIMEOUT=$PATIENCE
check_eq "source" "$(field .source)" daemon

note "a daemon that is killed, and the next one: counters go on"
expect_log "detached|dead"
kill_daemons
status=0
"$FSSTAT" --json >"$T/stdout" 2>"$T/stderr" || status=$?
check_eq "status without a daemon" "$status" 1
grep -q "no daemon" "$T/stderr" || fail "fsstat does not say that no daemon runs: $(cat "$T/stderr")"
check_eq "counters of a daemon that is dead" "$(totals)" "$before"
umount "$MNT"
"$ASSETFS" mount "$T/layout:v1" "$MNT"
check_eq "counters of the next daemon" "$(totals)" "$before"
opens=$(counter opens_total)
cmp "$src/one" "$MNT/one"
expect opens_total=$((opens + 1))
"$ASSETFS" umount "$MNT"
