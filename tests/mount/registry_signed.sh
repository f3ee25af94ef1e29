#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Signatures as cosign keeps them, made by openssl, of images that are mounted: what the key of the client and that of the
# daemon have signed is mounted, and nothing else.
. "$(dirname "$0")/../support/mount_lib.sh"
. "$(dirname "$0")/../support/registry_mount.sh"
expect_log 'mount of .* refused'

# make_key NAME
make_key() {
	openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$T/$1.key" 2>/dev/null
	openssl pkey -in "$T/$1.key" -pubout -out "$T/$1.pub"
}

# new_image TAG [KEY [EDIT]]: in the registry, signed by KEY unless that is ""; EDIT as of sign.sh
new_image() {
	local digest tag
	mkdir "$T/$1"
	noise 100000 >"$T/$1/noise"
	digest=$("$ASSETPACK" build --progress none --from none "$T/$1" "$T/layout:$1")
	"$ASSETPACK" push --progress none "$T/layout:$1" "$REAL/game:$1" >"$T/push.log"
	[[ -n ${2:-} ]] || return 0
	"$SUPPORT/sign.sh" "$T/$2.key" "$digest" "$T/layout" "${@:3}"
	tag=${digest/:/-}.sig
	skopeo --insecure-policy copy -q --dest-tls-verify=false "oci:$T/layout:$tag" "docker://$REAL/game:$tag"
}

# mounts TAG OPTION...: it can be, and reads as it should
mounts() {
	"$ASSETFS" mount "${@:2}" "$HOST/game:$1" "$MNT"
	cmp "$MNT/noise" "$T/$1/noise" || fail "$1: wrong bytes"
	"$ASSETFS" umount "$MNT"
}

# refused TAG PATTERN OPTION...
refused() {
	expect_failure 3 "$2" "$ASSETFS" mount "${@:3}" "$HOST/game:$1" "$MNT"
	! mountpoint -q "$MNT" || fail "$1 is mounted"
}

start_registry
make_key ours
make_key other
new_image signed ours
new_image unsigned
new_image others other
new_image changed ours 'sed -i s/example/Example/ payload'
new_image spoiled ours 'sed -i s/^../AA/ signature'

note "the key of a client"
start_daemon --fetch-rate off
mounts signed --verify-key "$T/ours.pub"
mounts unsigned
refused unsigned "'$HOST/game': image sha256:[0-9a-f]* is not signed\$" --verify-key "$T/ours.pub"
refused others "is not signed by this key: a signature is not by the key 'of the mount'" --verify-key "$T/ours.pub"
refused changed "is not signed by this key" --verify-key "$T/ours.pub"
refused spoiled "is not signed by this key" --verify-key "$T/ours.pub"
refused signed "is not signed by this key" --verify-key "$T/other.pub"
expect_failure "[12]" "'of the mount' is not a public key in PEM" "$ASSETFS" mount --verify-key "$T/ours.key" "$HOST/game:signed" "$MNT"
expect_failure 1 "'$T/none': No such file" "$ASSETFS" mount --verify-key "$T/none" "$HOST/game:signed" "$MNT"
# That it is served already is not enough.
mkdir "$T/mnt2"
"$ASSETFS" mount "$HOST/game:unsigned" "$T/mnt2"
refused unsigned "is not signed" --verify-key "$T/ours.pub"
"$ASSETFS" umount "$T/mnt2"

note "of layouts"
"$ASSETFS" mount --verify-key "$T/ours.pub" "$T/layout:signed" "$MNT"
cmp "$MNT/noise" "$T/signed/noise"
"$ASSETFS" umount "$MNT"
expect_failure 3 "'$T/layout': image sha256:[0-9a-f]* is not signed" "$ASSETFS" mount --verify-key "$T/ours.pub" "$T/layout:unsigned" "$MNT"
stop_daemon

note "the key of the daemon"
start_daemon --fetch-rate off --verify-key "$T/ours.pub"
mounts signed
mounts signed --verify-key "$T/ours.pub"
refused unsigned "'$HOST/game': image sha256:[0-9a-f]* is not signed\$"
refused changed "is not signed by this key"
# A client can want more, not less.
refused others "is not signed by this key: a signature is not by the key '$T/ours.pub'"
refused others "is not signed by this key: a signature is not by the key '$T/ours.pub'" --verify-key "$T/other.pub"
refused signed "is not signed by this key: a signature is not by the key 'of the mount'" --verify-key "$T/other.pub"
expect_failure 3 "is not signed" "$ASSETFS" pin "$HOST/game:unsigned"
expect_failure 3 "is not signed" "$ASSETFS" prefetch "$HOST/game:unsigned"
"$ASSETFS" mount "$T/layout:unsigned" "$MNT"
"$ASSETFS" umount "$MNT"

note "what was found to be signed is known"
digest=$(jq -r '.manifests[] | select(.annotations["org.opencontainers.image.ref.name"] == "signed").digest' "$T/layout/index.json")
for _ in 1 2; do
	registry_down
	"$ASSETFS" mount "$HOST/game@$digest" "$MNT"
	"$ASSETFS" umount "$MNT"
	registry_up
	stop_daemon
	start_daemon --fetch-rate off --verify-key "$T/ours.pub"
done
stop_daemon
# But not of another key, nor when that is lost.
start_daemon --fetch-rate off --verify-key "$T/other.pub"
refused signed "is not signed by this key"
stop_daemon
echo "this is no list" >"$STORE/signed"
start_daemon --fetch-rate off --verify-key "$T/ours.pub"
registry_down
expect_failure 1 "signatures of sha256:[0-9a-f]*: .*the host cannot be reached" "$ASSETFS" mount "$HOST/game@$digest" "$MNT"
registry_up
mounts signed
stop_daemon

note "a daemon does not begin without its key"
expect_failure 1 "key '$T/none': No such file" timeout "$PATIENCE" "$ASSETFS" serve --store "$STORE" --verify-key "$T/none"
expect_failure "[12]" "'$T/ours.key' is not a public key" timeout "$PATIENCE" "$ASSETFS" serve --store "$STORE" --verify-key "$T/ours.key"
