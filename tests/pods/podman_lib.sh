# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Sourced after mount_lib.sh by tests with real containers, by podman and crun: nothing of theirs outlives the test.

: "${SOURCE_ROOT:?}" "${BUILD_ROOT:?}"
for tool in podman crun buildah busybox; do
	command -v "$tool" >/dev/null || skip "no $tool"
done
# What podman keeps outside of its directories is this test's.
mount -t tmpfs tmpfs /run
# crun does not know machines that have both versions of cgroups, and nobody here may raise limits.
! mountpoint -q /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified
cat >"$T/containers.conf" <<'END'
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
log_driver = "k8s-file"
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
	[[ ! -e $T/pods.yaml ]] || pod kube down "$T/pods.yaml" >/dev/null 2>&1
	((status == 0 || status == 77)) || for name in $(pod ps --all --format '{{.Names}}'); do
		echo "---- log of $name" >&2
		pod logs --tail 30 "$name" >&2
	done
	pod rm --all --force --time 2 >/dev/null 2>&1
	(exit "$status")
	finish
}
trap ended EXIT

# Make the images and have podman know the one of the daemon, as $image.
pull_image() {
	"$SOURCE_ROOT/container/deploy/images/build.sh" "$BUILD_ROOT" "$T/images" >"$T/build.log" 2>&1 || fail "$(cat "$T/build.log")"
	# It takes the layout's path for the image's name, which has no capitals.
	cd "$T/images" || exit
	image=$(pod pull -q "oci:assetfs:$("$ASSETFS" --version | cut -d ' ' -f 2)" 2>"$T/pull.log") || fail "$(cat "$T/pull.log")"
	cd / || exit
	export image
}

# memory_file PID VERSION1 VERSION2: a file of its memory cgroup, as the two versions call it
memory_file() {
	local path group=/sys/fs/cgroup/memory
	[[ -d $group ]] || group=/sys/fs/cgroup
	path=$(sed -n 's/^[0-9]*:\(.*,\)\?memory\(,.*\)\?:\(.*\)/\3/p' "/proc/$1/cgroup")
	[[ -n $path ]] || path=$(sed -n 's/^0:://p' "/proc/$1/cgroup")
	cat "$group$path/$2" 2>/dev/null || cat "$group$path/$3"
}
# Bytes of memory that the cgroup of a process is charged, and may be
charged_to() {
	memory_file "$1" memory.usage_in_bytes memory.current
}
memory_limit_of() {
	memory_file "$1" memory.limit_in_bytes memory.max
}
# charged CONTAINER
charged() {
	charged_to "$(pod inspect --format '{{.State.Pid}}' "$1")"
}
