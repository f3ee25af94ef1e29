# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# kubelet's directory, and the driver and a daemon for it, for tests of some kind of volume. Sourced after mount_lib.sh.

: "${ASSETFS_CSI:?}" "${SOURCE_ROOT:?}"
kubelet=$T/kubelet
plugin=$kubelet/plugins/csi.assetfs.io
socket=$plugin/csi.sock
registration=$kubelet/plugins_registry/csi.assetfs.io-reg.sock
pods=$kubelet/pods
mkdir -p "$plugin" "${registration%/*}" "$pods"
mount --bind "$kubelet" "$kubelet"
mount --make-shared "$kubelet"

# csi COMMAND...: the client's
csi() {
	"$SOURCE_ROOT/tests/pods/csi.py" "$T/protos" "$socket" "$@"
}
# call METHOD JSON: of Node; the answer goes to $T/answer
call() {
	csi call "csi.v1.Node/$1" "$2" >"$T/answer"
}
# publish POD ATTRIBUTES [SECRETS]: both are JSON
publish() {
	mkdir -p "$pods/$1"
	call NodePublishVolume "$(
		jq -n --arg target "$pods/$1/mount" --argjson attributes "$2" --argjson secrets "${3:-{\}}" \
			'{volumeId: $target, targetPath: $target, readonly: true, secrets: $secrets, volumeContext: $attributes,
				volumeCapability: {mount: {}, accessMode: {mode: "SINGLE_NODE_WRITER"}}}'
	)"
}
unpublish() {
	call NodeUnpublishVolume "{\"volumeId\": \"x\", \"targetPath\": \"$pods/$1/mount\"}" || fail "$(cat "$T/answer")"
}

driver_answers() {
	"$ASSETFS_CSI" --alive --endpoint "$socket" 2>/dev/null
}
# start_driver OPTION...: its pid is $driver
start_driver() {
	"$ASSETFS_CSI" --kubelet-dir "$kubelet" --node-id node-1 "$@" 2>>"$T/driver.log" &
	driver=$!
	wait_for driver_answers || fail "the driver does not answer: $(cat "$T/driver.log")"
}
# start_node OPTION...: the driver and, with these options, a keeper with its daemon, whose pid is $keeper
start_node() {
	"$ASSETFS" keeper --store "$STORE" "$@" 2>>"$STORE/assetfs.log" &
	keeper=$!
	start_driver --log-level debug
	wait_for status_ok || fail "the daemon does not answer"
}
end_node() {
	kill -TERM "$driver" "$keeper"
	wait "$driver" || fail "the driver ended with status $?"
	wait "$keeper" || fail "the keeper ended with status $?"
}
