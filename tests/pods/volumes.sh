#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The CSI driver as kubelet calls it: volumes, errors, crowds, and what becomes of volumes when the
# driver or the daemon is killed. Pods are mount namespaces that have their volume as HostToContainer
# gives it.
# shellcheck disable=SC2119 # start_daemon and start_driver without options
. "$(dirname "$0")/../support/mount_lib.sh"
. "$(dirname "$0")/driver_lib.sh"

src=$T/src
mkdir -p "$src/one/two"
printf '' >"$src/which"
printf one >"$src/one/which"
printf one/two >"$src/one/two/which"
noise 3000000 >"$src/large"
noise 5000 >"$src/one/file"
ln -s two "$src/one/link"
ln -s /etc "$src/out"
"$ASSETPACK" build "$src" "$T/layout:v1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"

mkdir "$T/amd64" "$T/arm64"
echo amd64 >"$T/amd64/which"
echo arm64 >"$T/arm64/which"
"$ASSETPACK" build -p "linux/amd64=$T/amd64" -p "linux/arm64=$T/arm64" "$src" "$T/layout:both" >"$T/build.log" 2>&1 ||
	fail "build: $(cat "$T/build.log")"

# Other than the library's, with paths as deep as kubelet's.
# publish POD [ATTRIBUTE VALUE]...: prints its target
publish() {
	local target=$pods/$1/volumes/kubernetes.io~csi/assets/mount
	shift
	mkdir -p "${target%/*}"
	# shellcheck disable=SC2016
	call NodePublishVolume "$(jq -n --arg target "$target" --arg image "$T/layout:v1" '{volumeId: "csi-\($target | length)",
		targetPath: $target, readonly: true,
		volumeCapability: {mount: {}, accessMode: {mode: "SINGLE_NODE_WRITER"}},
		volumeContext: ({image: $image, "csi.storage.k8s.io/pod.name": "game", "csi.storage.k8s.io/ephemeral": "true"} +
			([$ARGS.positional | range(0; length; 2) as $i | {(.[$i]): .[$i + 1]}] | add // {}))}' --args "$@")" ||
		fail "publish: $(cat "$T/answer")"
	echo "$target"
}
# unpublish TARGET
unpublish() {
	call NodeUnpublishVolume "{\"volumeId\": \"x\", \"targetPath\": \"$1\"}" || fail "unpublish: $(cat "$T/answer")"
	[[ ! -e $1 ]] || fail "'$1' is left"
}
stats() {
	csi call csi.v1.Node/NodeGetVolumeStats "{\"volumeId\": \"x\", \"volumePath\": \"$1\"}"
}

# end_driver SIGNAL STATUS
end_driver() {
	local status=0
	kill "-$1" "$driver"
	wait "$driver" || status=$?
	check_eq "status of the driver after SIG$1" "$status" "$2"
}
# The images' mounts of the driver.
node_mounts() {
	own_mounts | grep -c "^$plugin/images/" || true
}
no_node_mounts() {
	[[ $(node_mounts) == 0 ]]
}

note "what no driver starts with"
expect_failure 2 "'a_b' is not valid" "$ASSETFS_CSI" --name a_b
expect_failure 2 "'relative' is not valid" "$ASSETFS_CSI" --endpoint relative
expect_failure 2 "unexpected argument 'x'" "$ASSETFS_CSI" x
expect_failure 1 "No such file" "$ASSETFS_CSI" --kubelet-dir "$T/none" --registration "$T/none/reg/reg.sock"
expect_failure 1 "No such file" "$ASSETFS_CSI" --alive --endpoint "$socket"

start_driver
note "identity, registration"
check_eq "GetPluginInfo" "$(csi call csi.v1.Identity/GetPluginInfo | jq -c '[.name, (.vendorVersion | test("^[0-9.]+$"))]')" \
	'["csi.assetfs.io",true]'
check_eq "GetPluginCapabilities" "$(csi call csi.v1.Identity/GetPluginCapabilities)" '{}'
check_eq "NodeGetInfo" "$(csi call csi.v1.Node/NodeGetInfo)" '{"nodeId": "node-1"}'
check_eq "NodeGetCapabilities" "$(csi call csi.v1.Node/NodeGetCapabilities | jq -c '[.capabilities[].rpc.type]')" \
	'["GET_VOLUME_STATS","VOLUME_CONDITION"]'
check_eq "mode of the socket" "$(stat -c %a "$socket")" 600
check_eq "GetInfo" "$(socket=$registration csi call pluginregistration.Registration/GetInfo |
	jq -c '[.type, .name, .endpoint, .supportedVersions]')" "[\"CSIPlugin\",\"csi.assetfs.io\",\"$socket\",[\"1.0.0\"]]"
socket=$registration csi call pluginregistration.Registration/NotifyRegistrationStatus '{"pluginRegistered": true}' >/dev/null
csi old-kubelet
csi raw
expect_failure 1 "another driver has" "$ASSETFS_CSI" --kubelet-dir "$kubelet"

note "no daemon"
check_eq "Probe without a daemon" "$(csi call csi.v1.Identity/Probe)" '{"ready": {}}'
mkdir "$pods/0"
call NodePublishVolume "{\"volumeId\": \"x\", \"targetPath\": \"$pods/0/mount\", \"volumeContext\": {\"image\": \"$T/layout:v1\"},
	\"volumeCapability\": {\"mount\": {}, \"accessMode\": {\"mode\": 1}}}" && fail "published without a daemon"
grep -q "^UNAVAILABLE: no daemon serves the store '$STORE'" "$T/answer" || fail "$(cat "$T/answer")"
[[ ! -e $pods/0/mount ]] || fail "a target is left"

start_daemon
check_eq "Probe" "$(csi call csi.v1.Identity/Probe)" '{"ready": {"value": true}}'

note "errors"
csi errors "$pods/0/mount" "$T/layout:v1" "$T/layout:both"
wait_for no_node_mounts || fail "$(own_mounts)"

note "volumes"
first=$(publish 1)
"$READER" --ways shared "$first" "$src" || fail "wrong bytes"
check_eq "mode of a volume" "$(findmnt -no OPTIONS "$first" | tr , '\n' | grep -cxE 'ro|nosuid|nodev')" 3
second=$(publish 2 path one/link prefetch true)
check_eq "path" "$(cat "$second/which")" one/two
check_eq "image mounts" "$(node_mounts)" 1
for platform in amd64 arm64; do
	third=$(publish 3 image "$T/layout:both" platform "linux/$platform")
	check_eq "platform" "$(cat "$third/which")" "$platform"
	check_eq "published again" "$(publish 3 image "$T/layout:both" platform "linux/$platform")" "$third"
	check_eq "image mounts" "$(node_mounts)" 2
	unpublish "$third"
done
stats "$first" >"$T/stats"
check_eq "bytes" "$(jq -r '.usage[0].total' "$T/stats")" "$(stat -f -c '%b %S' "$first" | awk '{ print $1 * $2 }')"
check_eq "inodes" "$(jq -r '.usage[1].unit, .usage[1].total' "$T/stats" | xargs)" "INODES $(stat -f -c %c "$first")"
check_eq "condition" "$(jq -c .volumeCondition "$T/stats")" '{"message":"served"}'
unpublish "$second"
check_eq "image mounts" "$(node_mounts)" 1
unpublish "$first"
check_eq "image mounts" "$(node_mounts)" 0
wait_for no_mounts || fail "sessions are left"

note "by way of a symbolic link"
mkdir -p "$pods/4"
ln -s "$pods" "$T/link"
for _ in 1 2; do
	call NodePublishVolume "{\"volumeId\": \"x\", \"targetPath\": \"$T/link/4/mount/\", \"volumeContext\": {\"image\": \"$T/layout:v1\"},
		\"volumeCapability\": {\"mount\": {}, \"accessMode\": {\"mode\": 3}}}" || fail "$(cat "$T/answer")"
done
check_eq "mounts" "$(own_mounts | grep -c "/4/mount$")" 1
stats "$T/link/4/mount" >"$T/answer" || fail "$(cat "$T/answer")"
unpublish "$T/link/4/mount"
[[ ! -e $pods/4/mount ]] || fail "the target is left"
call NodeUnpublishVolume "{\"volumeId\": \"x\", \"targetPath\": \"$T/none/at/all\"}" || fail "$(cat "$T/answer")"

note "pin and verify"
first=$(publish 1 pin true verify true)
"$ASSETFS" status --json | jq -e --arg image "$T/layout:v1" '.pins[0].image == $image' >/dev/null || fail "no pin"
check_eq "verified" "$("$ASSETFS" status --json | jq -r '.prefetches[0].state')" "done"
unpublish "$first"
"$ASSETFS" status --json | jq -e '.pins == []' >/dev/null || fail "the pin is left"
find "$plugin/images" -mindepth 1 | finds . && fail "left: $(find "$plugin/images")"

note "a crowd"
mkdir "$pods/crowd"
csi crowd 12 "$pods/crowd" "$T/layout:v1"
csi same 12 "$pods/crowd/same" "$T/layout:v1"
check_eq "mounts after the crowd" "$(own_mounts)" ""

# A pod that has its volume as HostToContainer gives it, and reads what it is told to.
# start_pod N TARGET
start_pod() {
	mkfifo "$T/pod.$1.in"
	# shellcheck disable=SC2016
	unshare --mount --propagation slave bash -c 'mkdir "$1/game-assets.$2" && mount --rbind "$3" "$1/game-assets.$2" || exit
		cd / && echo ready
		while read -r file; do
			if cmp -s "$1/game-assets.$2/$file" "$1/src/$file"; then echo "$file same"; else echo "$file other"; fi
		done' pod "$T" "$1" "$2" <"$T/pod.$1.in" >>"$T/pod.$1" &
	exec {pod_fd}>"$T/pod.$1.in"
	pod_fds[$1]=$pod_fd
	wait_for grep -q ready "$T/pod.$1" || fail "pod $1 does not start"
}
pod_fds=()
# pod_reads N FILE: prints "same" or "other"
pod_reads() {
	: >"$T/pod.$1"
	echo "$2" >&"${pod_fds[$1]}"
	wait_for grep -q "^$2 " "$T/pod.$1" || fail "pod $1 does not answer"
	sed "s|^$2 ||" "$T/pod.$1" | tail -n 1
}
pod_reads_same() {
	[[ $(pod_reads "$@") == same ]]
}

note "kill -9 of the driver"
first=$(publish 1 pin 1M)
second=$(publish 2 path one)
start_pod 1 "$first"
end_driver KILL 137
pod_reads_same 1 large || fail "a pod lost its volume with the driver"
start_driver
check_eq "the same volume" "$(publish 1)" "$first"
check_eq "mounts" "$(own_mounts | sort | uniq -c | awk '{ print $1 }' | sort -u)" 1
unpublish "$second"
check_eq "image mounts" "$(node_mounts)" 1

note "kill -9 of the driver while it is at work"
mkdir "$pods/killed"
at_work() {
	own_mounts | grep -q "^$pods/killed/"
}
for i in {0..5}; do
	csi crowd 4 "$pods/killed" "$T/layout:v1" 100000 >"$T/crowd.log" 2>&1 &
	crowd=$!
	wait_for at_work || fail "$(cat "$T/crowd.log")"
	sleep "0.00$((i * 3 % 10))"
	end_driver KILL 137
	wait "$crowd" && fail "nothing was going on"
	start_driver
	for n in {0..3}; do
		call NodeUnpublishVolume "{\"volumeId\": \"x\", \"targetPath\": \"$pods/killed/$n\"}" || fail "$(cat "$T/answer")"
	done
	at_work && fail "volumes are left: $(own_mounts)"
	[[ -z $(ls "$pods/killed") ]] || fail "targets are left: $(ls "$pods/killed")"
done
csi crowd 4 "$pods/killed" "$T/layout:v1"
rmdir "$pods/killed"
pod_reads_same 1 large || fail "a pod lost its volume"
one_node_mount() {
	[[ $(node_mounts) == 1 ]]
}
wait_for one_node_mount || fail "mounts of images are left: $(own_mounts)"

# It is the driver that is tested: in a pod of its own the daemon does not mount again by itself.
daemon_dies() {
	kill -KILL "$daemon"
	wait "$daemon" || true
	rm -f "$STORE"/mounts/*
}

note "kill -9 of the daemon"
second=$(publish 2 path one)
daemon_dies
check_eq "a pod reads" "$(pod_reads 1 one/file)" other
stats "$first" | jq -e '.volumeCondition.abnormal and (.usage == null)' >/dev/null || fail "$(stats "$first")"
start_daemon
wait_for pod_reads_same 1 one/file || fail "not healed: $(cat "$T/driver.log")"
wait_for cmp "$src/one/file" "$second/file" || fail "the other volume is not healed"
wait_for one_node_mount || fail "dead mounts are left: $(own_mounts)"
"$READER" --ways shared "$first" "$src" || fail "wrong bytes"
"$ASSETFS" status --json | jq -e '.pins[0].floor_bytes == 1048576' >/dev/null || fail "the pin is lost"
stats "$first" | jq -e '.usage[0].total | tonumber > 0' >/dev/null || fail "$(stats "$first")"
start_pod 2 "$second"
unpublish "$second"

note "both at once, and the driver comes back first"
daemon_dies
end_driver KILL 137
start_driver
start_daemon
wait_for pod_reads_same 1 large || fail "not healed: $(cat "$T/driver.log")"
wait_for one_node_mount || fail "dead mounts are left: $(own_mounts)"

note "a tag that names another image: volumes keep theirs"
echo new >"$src/new"
"$ASSETPACK" build "$src" "$T/layout:v1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
rm "$src/new"
check_eq "publish again" "$(publish 1)" "$first"
second=$(publish 2)
[[ -e $second/new && ! -e $first/new ]] || fail "the wrong image"
check_eq "image mounts" "$(node_mounts)" 2
daemon_dies
start_daemon
wait_for test -e "$second/new" || fail "not healed: $(cat "$T/driver.log")"
wait_for grep -q "names another image by now" "$T/driver.log" || fail "$(cat "$T/driver.log")"
check_eq "a pod reads" "$(pod_reads 1 large)" other

note "unpublish of volumes that are dead, and covered"
unpublish "$first"
unpublish "$second"
check_eq "mounts" "$(own_mounts)" ""

note "a daemon that does not answer holds nobody up"
first=$(publish 1)
kill -STOP "$daemon"
stats "$first" | jq -e '.volumeCondition.message == "the node\u0027s daemon does not answer"' >/dev/null || fail "$(stats "$first")"
kill -CONT "$daemon"
stats "$first" | jq -e '.volumeCondition.message == "served"' >/dev/null || fail "$(stats "$first")"
unpublish "$first"

# refused STATUS TEXT ATTRIBUTE VALUE...: a publication fails, and leaves nothing
refused() {
	local status=$1 text=$2
	shift 2
	(publish 1 "$@") >"$T/answer" 2>&1 && fail "published: $*"
	grep -q "publish: $status: .*$text" "$T/answer" || fail "$(cat "$T/answer"), expected $status: $text"
	check_eq "mounts" "$(own_mounts)" ""
	[[ ! -e $pods/1/volumes/kubernetes.io~csi/assets/mount ]] || fail "a target is left"
}

note "verify finds damage, and that there is no room"
expect_log 'damage|digest|checksum|decompress|full|room|pin'
noise 4000000 >"$T/one-file"
mkdir "$T/bad"
mv "$T/one-file" "$T/bad/one-file"
"$ASSETPACK" build "$T/bad" "$T/bad-layout:v1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
pack=$(find "$T/bad-layout/blobs" -type f -size +3M)
chmod u+w "$pack"
printf 'xxxxxxxx' | dd of="$pack" bs=1 seek=2000000 conv=notrunc status=none
refused DATA_LOSS "is damaged" image "$T/bad-layout:v1" verify true
stop_daemon
start_daemon --region-size 2M
refused RESOURCE_EXHAUSTED "no room" verify true

note "refused by kubelet"
socket=$registration csi call pluginregistration.Registration/NotifyRegistrationStatus '{"error": "no such luck"}' >/dev/null
status=0
wait "$driver" || status=$?
check_eq "status" "$status" 1
grep -q "kubelet refuses the driver: no such luck" "$T/driver.log" || fail "$(cat "$T/driver.log")"
[[ ! -e $socket && ! -e $registration ]] || fail "sockets are left"

note "what a restart of the machine leaves"
left=$plugin/images/$(printf '%064d' 0)/linux/arm64
mkdir -p "$left/0:50"
echo 0 >"$left/pin"
start_driver
find "$plugin/images" -mindepth 1 | finds . && fail "left: $(find "$plugin/images")"
end_driver TERM 0
[[ ! -e $socket && ! -e $registration ]] || fail "sockets are left"
grep -i sanitizer "$T/driver.log" && fail "$(cat "$T/driver.log")"
exit 0
