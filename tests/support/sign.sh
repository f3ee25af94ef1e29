#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: sign.sh KEY DIGEST LAYOUT [EDIT [EDIT]]
#
# Sign the image DIGEST, "sha256:…", with the private key in the file KEY, as "cosign sign --key" does, and leave the
# signature in LAYOUT, an OCI layout, at the tag that cosign gives it. Nothing but openssl is needed.
# EDIT, a command, may change what was signed in the file "payload", and "signature", in base64; the other one
# "layer", the JSON that names them.
set -euo pipefail

key=$(realpath "$1") digest=$2 layout=$(realpath "$3") edit=${4:-true} edit_layer=${5:-true}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# blob FILE: into the layout; prints its digest
blob() {
	local name
	name=$(sha256sum "$1" | cut -d ' ' -f 1)
	[[ -e $layout/blobs/sha256/$name ]] || cp "$1" "$layout/blobs/sha256/$name"
	echo "sha256:$name"
}

printf '{"critical":{"identity":{"docker-reference":"example/assets"},"image":{"docker-manifest-digest":"%s"},"type":"cosign container image signature"},"optional":null}' \
	"$digest" >payload
# Ed25519 signs bytes, the others sign their SHA-256.
if openssl pkey -in "$key" -noout -text | grep -q ED25519; then
	openssl pkeyutl -sign -inkey "$key" -rawin -in payload -out raw
else
	openssl dgst -sha256 -sign "$key" -out raw payload
fi
openssl base64 -A -in raw -out signature

eval "$edit"

printf '{"architecture":"","os":"","config":{},"rootfs":{"type":"layers","diff_ids":["%s"]}}' "$(blob payload)" >config
printf '{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json","size":%d,"digest":"%s","annotations":{"dev.cosignproject.cosign/signature":"%s"}}' \
	"$(stat -c %s payload)" "$(blob payload)" "$(<signature)" >layer
eval "$edit_layer"
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":%d,"digest":"%s"},"layers":[%s]}' \
	"$(stat -c %s config)" "$(blob config)" "$(<layer)" >manifest
jq -c --arg tag "${digest/:/-}.sig" --arg digest "$(blob manifest)" --argjson size "$(stat -c %s manifest)" '
	.manifests |= map(select(.annotations["org.opencontainers.image.ref.name"] != $tag)) + [{
		mediaType: "application/vnd.oci.image.manifest.v1+json", digest: $digest, size: $size,
		annotations: {"org.opencontainers.image.ref.name": $tag}}]' "$layout/index.json" >index.json
cp index.json "$layout/index.json"
