#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The overlay without CSI: what its container runs keeps the images of a list mounted, and a pod that has
# the directory above them sees them again after the daemon was killed.
# shellcheck disable=SC2119 # start_daemon without options
. "$(dirname "$0")/../support/mount_lib.sh"

: "${SOURCE_ROOT:?}"
mounts=$T/mounts
mkdir "$mounts" "$T/src" "$T/bin"
noise 500000 >"$T/src/file"
"$ASSETPACK" build "$T/src" "$T/layout:v1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
mount --bind "$mounts" "$mounts"
mount --make-shared "$mounts"
ln -s "$ASSETFS" "$T/bin/assetfs"
printf '%s\n' "game $T/layout:v1" "gone $T/none:v1" >"$T/images"

# With the manifest's paths in this test's directory.
/usr/bin/python3 - "$SOURCE_ROOT/container/deploy/kubernetes/overlays/hostpath/mounts.yaml" >"$T/mounts.sh" <<'END'
import sys, yaml
with open(sys.argv[1], encoding="utf-8") as file:
    daemon_set = [d for d in yaml.safe_load_all(file) if d["kind"] == "DaemonSet"][0]
container = daemon_set["spec"]["template"]["spec"]["containers"][0]
assert container["command"] == ["/bin/sh", "-c"]
print(container["args"][0])
END
sed -i "s|/var/lib/assetfs-mounts|$mounts|; s|/etc/assetfs/images|$T/images|" "$T/mounts.sh"
grep -q "$T/images" "$T/mounts.sh" || fail "$(cat "$T/mounts.sh")"
PATH=$T/bin:$PATH /bin/sh "$T/mounts.sh" >"$T/mounts.log" 2>&1 &
mounter=$!
expect_log 'none: No such file|refused'

note "no daemon is started by it"
wait_for test -d "$mounts/gone" || fail "$(cat "$T/mounts.log")"
check_eq "daemons" "$(daemons)" ""

note "mounted once a daemon runs"
start_daemon
wait_for cmp -s "$T/src/file" "$mounts/game/file" || fail "$(cat "$T/mounts.log")"
mkfifo "$T/pod.in"
# shellcheck disable=SC2016
unshare --mount --propagation slave bash -c 'mkdir "$1/assets" && mount --rbind "$1/mounts" "$1/assets" || exit
	cd / && echo ready
	while read -r; do cmp -s "$1/assets/game/file" "$1/src/file" && echo same || echo other; done' pod "$T" <"$T/pod.in" >>"$T/pod" &
exec {pod_fd}>"$T/pod.in"
wait_for grep -q ready "$T/pod" || fail "no pod"
pod_reads() {
	: >"$T/pod"
	echo >&"$pod_fd"
	wait_for grep -q . "$T/pod" || fail "the pod does not answer"
	[[ $(cat "$T/pod") == same ]]
}
pod_reads || fail "the pod sees nothing"

note "kill -9 of the daemon"
kill -KILL "$daemon"
wait "$daemon" || true
pod_reads && fail "the mount outlives its daemon"
start_daemon
wait_for pod_reads || fail "not mounted again: $(cat "$T/mounts.log")"
# The dead one is below.
check_eq "mounts" "$(own_mounts | sort -u)" "$mounts/game"
kill "$mounter"
wait "$mounter" || fail "status $?"
pod_reads || fail "the mount went with who made it"
