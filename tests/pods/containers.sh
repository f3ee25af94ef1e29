#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Real containers, by podman and crun: several with less memory than the assets have, that read all of them. They
# are charged next to nothing, and read on after the daemon was killed. The pod is the one of the examples.
# shellcheck disable=SC2119 # start_daemon without options
. "$(dirname "$0")/../support/mount_lib.sh"

: "${SOURCE_ROOT:?}" "${BUILD_ROOT:?}"
for tool in podman crun buildah busybox; do
	command -v "$tool" >/dev/null || skip "no $tool"
done
PODS=8
MIB=192 # of assets; a container has a quarter of it
mounts=$T/mounts
mkdir "$mounts" "$mounts/game" "$T/src"
for i in {1..6}; do
	noise $((MIB * 1048576 / 6)) >"$T/src/$i"
done
"$ASSETPACK" build "$T/src" "$T/layout:v1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
"$SOURCE_ROOT/container/deploy/images/build.sh" "$BUILD_ROOT" "$T/images" >"$T/build.log" 2>&1 || fail "$(cat "$T/build.log")"
mount --bind "$mounts" "$mounts"
mount --make-shared "$mounts"

# What podman keeps outside of its directories is this test's.
mount -t tmpfs tmpfs /run
# crun does not know machines that have both versions of cgroups, and nobody here may raise limits.
! mountpoint -q /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified
cat >"$T/containers.conf" <<'END'
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "crun"
END
export CONTAINERS_CONF=$T/containers.conf
pod() {
	podman --root "$T/storage" --runroot "$T/run" --storage-driver vfs --log-level error "$@"
}
ended() {
	local status=$?
	set +e
	pod kube down "$T/pods.yaml" >/dev/null 2>&1
	pod rm --all --force >/dev/null 2>&1
	(exit "$status")
	finish
}
trap ended EXIT
# It takes the layout's path for the image's name, which has no capitals.
cd "$T/images"
pod pull -q "oci:assetfs:$("$ASSETFS" --version | cut -d ' ' -f 2)" >"$T/image" 2>"$T/pull.log" || fail "$(cat "$T/pull.log")"
cd /

# The example, PODS times, with what this machine has.
/usr/bin/python3 - "$SOURCE_ROOT/container/deploy/examples/hostpath-pod.yaml" "$PODS" "$mounts" "$(cat "$T/image")" "$((MIB / 4))Mi" \
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

start_daemon
"$ASSETFS" mount "$T/layout:v1" "$mounts/game"
note "$PODS containers start"
pod kube play --network none "$T/pods.yaml" >"$T/play.log" 2>&1 || fail "$(cat "$T/play.log")"
mapfile -t containers < <(pod ps --filter label=app=game --format '{{.Names}}' | sort)
[[ ${#containers[@]} == "$PODS" ]] || mapfile -t containers < <(pod ps --format '{{.Names}}' | grep -- '-server$' | sort)
check_eq "containers" "${#containers[@]}" "$PODS"

# read_all WHEN: every container reads all of the assets, at the same time
read_all() {
	local name pids=()
	for name in "${containers[@]}"; do
		pod exec "$name" /bin/sh -c 'cat /assets/game/*' 2>"$T/read.$name.err" | cmp - "$T/all" >"$T/read.$name" 2>&1 &
		pids+=($!)
	done
	for name in "${pids[@]}"; do
		wait "$name" || fail "$1: $(cat "$T"/read.*)"
	done
}
cat "$T"/src/* >"$T/all"
note "each reads $MIB MiB with $((MIB / 4)) MiB of memory"
read_all "first"
read_all "again"

note "what they are charged"
group=/sys/fs/cgroup/memory
[[ -d $group ]] || group=/sys/fs/cgroup
for name in "${containers[@]}"; do
	pid=$(pod inspect --format '{{.State.Pid}}' "$name")
	path=$(sed -n 's/^[0-9]*:\(.*,\)\?memory\(,.*\)\?:\(.*\)/\3/p' "/proc/$pid/cgroup")
	[[ -n $path ]] || path=$(sed -n 's/^0:://p' "/proc/$pid/cgroup")
	charged=$(cat "$group$path/memory.usage_in_bytes" 2>/dev/null || cat "$group$path/memory.current")
	echo "   $name: $charged bytes"
	# A shell, its stacks and tables of pages; not the assets.
	((charged < MIB * 1048576 / 100)) || fail "$name is charged $charged bytes"
done
check_eq "chunks decompressed again" "$(counter chunks_decompressed_again_total)" 0

note "kill -9 of the daemon"
kill -KILL "$daemon"
wait "$daemon" || true
start_daemon
read_all "after the daemon was killed"
