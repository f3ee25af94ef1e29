#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A node without Kubernetes: the containers of the manifests, from the images that build.sh makes, with the volumes
# and the propagation that the manifests say. What they are to do together is done: the daemon sees the driver's
# mounts, the node sees volumes, and roll-outs of driver, daemon and keeper are seen by nobody.
. "$(dirname "$0")/../support/mount_lib.sh"

: "${SOURCE_ROOT:?}" "${BUILD_ROOT:?}"
base=$SOURCE_ROOT/container/deploy/kubernetes/base
for tool in buildah busybox; do
	command -v "$tool" >/dev/null || skip "no $tool"
done

note "images, the same each time"
"$SOURCE_ROOT/container/deploy/images/build.sh" "$BUILD_ROOT" "$T/images" >"$T/built" 2>"$T/build.log" || fail "$(cat "$T/build.log")"
check_eq "images" "$(sed "s|.*/||" "$T/built" | xargs)" "assetfs:0.1.0 assetfs-csi:0.1.0"
"$SOURCE_ROOT/container/deploy/images/build.sh" "$BUILD_ROOT" "$T/again" next >/dev/null 2>"$T/build.log" || fail "$(cat "$T/build.log")"
for image in assetfs assetfs-csi; do
	check_eq "digest of $image" "$(jq -r '.manifests[].digest' "$T/images/$image/index.json")" \
		"$(jq -r '.manifests[].digest' "$T/again/$image/index.json")"
	# Its one layer, as a container's root. A runtime makes these directories.
	manifest=$(jq -r '.manifests[0].digest | sub(":"; "/")' "$T/images/$image/index.json")
	layer=$(jq -r '.layers[].digest | sub(":"; "/")' "$T/images/$image/blobs/$manifest")
	mkdir -p "$T/root/$image"
	tar -C "$T/root/$image" -xf "$T/images/$image/blobs/$layer"
	mkdir -p "$T/root/$image/proc" "$T/root/$image/sys" "$T/root/$image/dev" "$T/root/$image/etc/assetfs"
done
rm -r "$T/again"
for program in "assetfs assetfs" "assetfs fsstat" "assetfs assetpack" "assetfs-csi assetfs-csi"; do
	chroot "$T/root/${program% *}" "/usr/bin/${program#* }" --version >"$T/answer" || fail "$program"
	check_eq "version" "$(cat "$T/answer")" "${program#* } 0.1.0"
done
chroot "$T/root/assetfs" /bin/sh -c 'set -e; for i in cat grep mkdir sleep mount.assetfs; do command -v "$i"; done' >"$T/answer" ||
	fail "only $(cat "$T/answer")"

# This namespace is the node. Its /var/lib and /srv are the test's.
mkdir -p "$T/node/lib" "$T/node/srv"
mount --bind "$T/node/lib" /var/lib
mount --bind "$T/node/srv" /srv
mount --make-shared /var/lib
mkdir -p /var/lib/kubelet/{plugins,plugins_registry,pods/1}
mkdir "$T/src"
noise 300000 >"$T/src/file"
"$ASSETPACK" build "$T/src" /srv/images:v1 >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"

# What a manifest says of its container, as lines: "volume HOST PLACE PROPAGATION ro|rw TYPE", "env NAME=VALUE", "argv WORD".
read_manifest() {
	/usr/bin/python3 - "$1" <<'END'
import sys, yaml
with open(sys.argv[1], encoding="utf-8") as file:
    pod = yaml.safe_load(file)["spec"]["template"]["spec"]
(container,) = pod["containers"]
volumes = {volume["name"]: volume for volume in pod["volumes"]}
for mount in container["volumeMounts"]:
    if "hostPath" in volumes[mount["name"]]:
        host = volumes[mount["name"]]["hostPath"]
        how = {"None": "rprivate", "HostToContainer": "rslave", "Bidirectional": "rshared"}
        print("volume", host["path"], mount["mountPath"], how[mount.get("mountPropagation", "None")],
              "ro" if mount.get("readOnly") else "rw", host["type"])
for variable in container.get("env", []):
    print("env", f"{variable['name']}={variable.get('value', 'node-1')}")
for word in container["command"] + container["args"]:
    print("argv", word)
END
}

# enter ROOT MANIFEST: be the container, in a mount namespace of its own
enter() {
	local root=$1 kind a b propagation mode type argv=() env=(PATH=/usr/sbin:/usr/bin:/sbin:/bin)
	mount --bind "$root" "$root"
	mount --make-private "$root"
	mount --rbind /proc "$root/proc"
	mount --rbind /sys "$root/sys"
	mount -t tmpfs none "$root/dev"
	while read -r kind a b propagation mode type; do
		case $kind in
		env) env+=("$a") ;;
		argv) argv+=("$a") ;;
		volume)
			[[ $type != DirectoryOrCreate ]] || mkdir -p "$a"
			if [[ -d $a ]]; then mkdir -p "$root$b"; else touch "$root$b"; fi
			mount --rbind "$a" "$root$b"
			mount "--make-$propagation" "$root$b"
			[[ $mode == rw ]] || mount -o remount,bind,ro "$root$b"
			;;
		esac
	done < <(read_manifest "$2")
	mount -o remount,bind,ro "$root"
	exec env -i "${env[@]}" chroot "$root" "${argv[@]}"
}
export -f enter read_manifest
# start NAME MANIFEST LOG: pid in $started
start() {
	# shellcheck disable=SC2016
	unshare --net --mount --propagation unchanged bash -c 'set -euo pipefail; enter "$@"' "$1" "$T/root/$1" "$2" >>"$3" 2>&1 &
	started=$!
}

STORE=/var/lib/assetfs
export ASSETFS_STORE=$STORE
mkdir -p "$STORE"
note "the keeper and the daemon"
start assetfs "$base/node/keeper.yaml" "$T/keeper.log"
keeper=$started
wait_for test -S "$STORE/keeper" || fail "$(cat "$T/keeper.log")"
start assetfs "$base/node/daemonset.yaml" "$T/daemon.log"
daemon=$started
wait_for status_ok || fail "$(cat "$T/daemon.log")"
note "the driver"
socket=/var/lib/kubelet/plugins/csi.assetfs.io/csi.sock
start assetfs-csi "$base/csi/daemonset.yaml" "$T/driver.log"
driver=$started
alive() {
	"$ASSETFS_CSI" --alive 2>/dev/null
}
wait_for alive || fail "$(cat "$T/driver.log")"
csi() {
	"$SOURCE_ROOT/tests/pods/csi.py" "$T/protos" "$socket" call "$@" || fail "$*"
}
check_eq "node" "$(csi csi.v1.Node/NodeGetInfo | jq -r .nodeId)" node-1
check_eq "endpoint" "$("$SOURCE_ROOT/tests/pods/csi.py" "$T/protos" \
	/var/lib/kubelet/plugins_registry/csi.assetfs.io-reg.sock call pluginregistration.Registration/GetInfo | jq -r .endpoint)" "$socket"

# publish N: a volume of a pod
publish() {
	mkdir -p "/var/lib/kubelet/pods/$1"
	csi csi.v1.Node/NodePublishVolume "{\"volumeId\": \"$1\", \"targetPath\": \"/var/lib/kubelet/pods/$1/mount\", \"readonly\": true,
		\"volumeCapability\": {\"mount\": {}, \"accessMode\": {\"mode\": 3}}, \"volumeContext\": {\"image\": \"/srv/images:v1\"}}" >/dev/null
}
unpublish() {
	csi csi.v1.Node/NodeUnpublishVolume "{\"volumeId\": \"$1\", \"targetPath\": \"/var/lib/kubelet/pods/$1/mount\"}" >/dev/null
}
note "volumes are seen on the node, and share one session"
publish 1
publish 2
cmp "$T/src/file" /var/lib/kubelet/pods/1/mount/file
cmp "$T/src/file" /var/lib/kubelet/pods/2/mount/file
check_eq "sessions" "$("$ASSETFS" status --json | jq '.mounts | length')" 1
# The node's, and the daemon's own view of the driver's directory.
"$ASSETFS" status --json | jq -e '.mounts[0].mountpoints | length == 1 and (.[0] | startswith("/var/lib/kubelet/plugins/csi.assetfs.io/images/"))' >/dev/null ||
	fail "$("$ASSETFS" status --json)"

note "probes"
# healthy PATH: ask the daemon in its network, as kubelet does
healthy() {
	# shellcheck disable=SC2016
	nsenter --target "$daemon" --net bash -c 'ip link set lo up && exec 3<>/dev/tcp/127.0.0.1/9809 &&
		printf "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" "$1" >&3 && head -n 1 <&3' probe "$1" | grep -q " 200 "
}
wait_for healthy /healthz || fail "the daemon is not healthy"
wait_for healthy /readyz || fail "the daemon is not ready"
mapfile -t probe < <(/usr/bin/python3 -c 'import sys, yaml
with open(sys.argv[1], encoding="utf-8") as file:
    print("\n".join(yaml.safe_load(file)["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]["exec"]["command"]))' \
	"$base/csi/daemonset.yaml")
chroot "/proc/$driver/root" "/usr/bin/${probe[0]}" "${probe[@]:1}" || fail "the driver is not alive"

note "a roll-out of the driver"
kill -TERM "$driver"
wait "$driver" || fail "the driver ended with status $?: $(cat "$T/driver.log")"
cmp "$T/src/file" /var/lib/kubelet/pods/1/mount/file
start assetfs-csi "$base/csi/daemonset.yaml" "$T/driver.log"
driver=$started
wait_for alive || fail "$(cat "$T/driver.log")"
publish 1
publish 3
check_eq "sessions" "$("$ASSETFS" status --json | jq '.mounts | length')" 1

note "a roll-out of the daemon, with a file open"
exec {open}</var/lib/kubelet/pods/1/mount/file
kill -TERM "$daemon"
wait "$daemon" || fail "the daemon ended with status $?: $(cat "$T/daemon.log")"
start assetfs "$base/node/daemonset.yaml" "$T/daemon.log"
daemon=$started
wait_for status_ok || fail "$(cat "$T/daemon.log")"
cmp "$T/src/file" - <&"$open"
exec {open}<&-
cmp "$T/src/file" /var/lib/kubelet/pods/3/mount/file
publish 4
check_eq "sessions" "$("$ASSETFS" status --json | jq '.mounts | length')" 1

note "a roll-out of the keeper"
kill -TERM "$keeper"
wait "$keeper" || fail "the keeper ended with status $?: $(cat "$T/keeper.log")"
start assetfs "$base/node/keeper.yaml" "$T/keeper.log"
keeper=$started
holds() {
	[[ $(connections_of "$keeper") == 1 ]]
}
wait_for holds || fail "$(cat "$T/keeper.log")"
for pod in 1 2 3 4; do
	unpublish "$pod"
done
check_eq "mounts" "$(own_mounts)" ""
kill -TERM "$driver" "$daemon"
wait "$driver" || fail "$(cat "$T/driver.log")"
wait "$daemon" || fail "$(cat "$T/daemon.log")"
kill -TERM "$keeper"
wait "$keeper" || fail "$(cat "$T/keeper.log")"
