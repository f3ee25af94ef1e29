#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Real containers, by podman and crun: several with less memory than the assets have, that read all of them. They
# are charged next to nothing, and notice nothing while the daemon is killed again and again. The pod is the one of the
# examples.
. "$(dirname "$0")/../support/mount_lib.sh"
# shellcheck source=tests/pods/podman_lib.sh
. "$(dirname "$0")/podman_lib.sh"

PODS=8
KILLS=6
MIB=192 # of assets; a container has a quarter of it
mounts=$T/mounts
mkdir "$mounts" "$mounts/game" "$T/src"
for i in {1..6}; do
	noise $((MIB * 1048576 / 6)) >"$T/src/$i"
done
"$ASSETPACK" build "$T/src" "$T/layout:v1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
mount --bind "$mounts" "$mounts"
mount --make-shared "$mounts"

pull_image

# The example, PODS times, with what this machine has.
/usr/bin/python3 - "$SOURCE_ROOT/container/deploy/examples/hostpath-pod.yaml" "$PODS" "$mounts" "$image" "$((MIB / 4))Mi" \
	>"$T/pods.yaml" <<'END'
import sys, yaml
path, n, mounts, image, memory = sys.argv[1:]
with open(path, encoding="utf-8") as file:
    pod = yaml.safe_load(file)
(container,) = pod["spec"]["containers"]
container["image"] = image
container["command"] = ["/bin/sh", "-c"]
container["args"] = ["trap 'exit 0' TERM; while :; do sleep 1; done"]
container["resources"] = {"limits": {"memory": memory}}
container["imagePullPolicy"] = "Never"
pod["spec"]["volumes"][0]["hostPath"]["path"] = mounts
pods = []
for i in range(int(n)):
    pod["metadata"] = {"name": f"game{i}", "labels": {"app": "game"}}
    pods.append(yaml.safe_dump(pod))
print("---\n".join(pods))
END

expect_log 'was ended by signal 9'
"$ASSETFS" keeper --store "$STORE" 2>>"$STORE/assetfs.log" &
keeper=$!
wait_for status_ok || fail "no daemon answers"
"$ASSETFS" mount "$T/layout:v1" "$mounts/game"
note "$PODS containers start"
pod kube play --network none "$T/pods.yaml" >"$T/play.log" 2>&1 || fail "$(cat "$T/play.log")"
mapfile -t containers < <(pod ps --filter label=app=game --format '{{.Names}}' | sort)
[[ ${#containers[@]} == "$PODS" ]] || mapfile -t containers < <(pod ps --format '{{.Names}}' | grep -- '-server$' | sort)
check_eq "containers" "${#containers[@]}" "$PODS"

cat "$T"/src/* >"$T/all"

# reads CONTAINER: it reads all of the assets, again and again until there is $T/enough
reads() {
	local n=0
	while [[ ! -e $T/enough ]]; do
		pod exec "$1" /bin/sh -c 'cat /assets/game/*' 2>>"$T/read.$1" | cmp - "$T/all" >>"$T/read.$1" 2>&1 || return 1
		echo $((n += 1)) >"$T/new.$1" && mv "$T/new.$1" "$T/times.$1"
	done
}
# all_read N: each container has done so N times
all_read() {
	local name
	for name in "${containers[@]}"; do
		[[ $(cat "$T/times.$name") -ge $1 ]] || return 1
	done
}
# little_charged: a shell, its stacks and tables of pages, and not the assets. What is charged goes to $T/charged
little_charged() {
	local name bytes status=0
	for name in "${containers[@]}"; do
		bytes=$(charged "$name")
		echo "   $name: $bytes bytes"
		((bytes < MIB * 1048576 / 100)) || status=1
	done >"$T/charged"
	return "$status"
}
note "all read $MIB MiB with $((MIB / 4)) MiB of memory, while the daemon is killed $KILLS times"
readers=()
for name in "${containers[@]}"; do
	echo 0 >"$T/times.$name"
	reads "$name" &
	readers+=($!)
done
for ((i = 0; i < KILLS; i++)); do
	wait_for status_ok || fail "no daemon answers after $i kills"
	pid=$(daemon_pid)
	kill -KILL "$pid"
	wait_for next_daemon || fail "no other daemon after kill $i"
done
# Once more, from the beginning, after the last kill: what was under way then is filled now.
before=$(cat "$T"/times.* | sort -n | tail -n 1)
wait_for all_read $((before + 2)) || fail "the containers hang"
touch "$T/enough"
for reader in "${readers[@]}"; do
	wait "$reader" || fail "a container noticed: $(tail -n 3 "$T"/read.*)"
done
note "what they are charged"
# What was read before it was all in the region goes once it is.
wait_for little_charged || fail "$(cat "$T/charged")"
cat "$T/charged"
check_eq "errors" "$("$FSSTAT" --json | jq '[.images[].errors_total] | add')" 0
check_eq "takeovers" "$("$FSSTAT" --json | jq '.cache.takeovers_total')" "$KILLS"

pod kube down "$T/pods.yaml" >/dev/null 2>&1
"$ASSETFS" umount "$mounts/game"
kill -TERM "$keeper"
wait "$keeper" || fail "the keeper ended with status $?"
