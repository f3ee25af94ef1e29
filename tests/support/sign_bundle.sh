#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: sign_bundle.sh KEY DIGEST LAYOUT [EDIT [EDIT]]
#
# Sign the image DIGEST, "sha256:…", with the private key in the file KEY, as "cosign sign --key" of version 3 does, and
# leave the bundle in LAYOUT, an OCI layout, as what refers to the image: at the tag that registries without a list of
# referrers have for that. EDIT, a command, may change "statement" before it is signed; the other one
# "bundle", the JSON that is stored.
set -euo pipefail

key=$(realpath "$1") digest=$2 layout=$(realpath "$3") edit=${4:-true} edit_bundle=${5:-true}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# descriptor TYPE FILE [MEMBER]: of a blob that is put into the layout
descriptor() {
	local name
	name=$(sha256sum "$2" | cut -d ' ' -f 1)
	[[ -e $layout/blobs/sha256/$name ]] || cp "$2" "$layout/blobs/sha256/$name"
	printf '{"mediaType":"%s","digest":"sha256:%s","size":%d%s}' "$1" "$name" "$(stat -c %s "$2")" "${3:-}"
}

type=application/vnd.dev.sigstore.bundle.v0.3+json
printf '{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"%s"},"annotations":{}}],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{}}' \
	"${digest#sha256:}" >statement
eval "$edit"
{
	printf 'DSSEv1 28 application/vnd.in-toto+json %d ' "$(stat -c %s statement)"
	cat statement
} >signed
if openssl pkey -in "$key" -noout -text | grep -q ED25519; then
	openssl pkeyutl -sign -inkey "$key" -rawin -in signed -out signature
else
	openssl dgst -sha256 -sign "$key" -out signature signed
fi
printf '{"mediaType":"%s","verificationMaterial":{"publicKey":{"hint":"x"}},"dsseEnvelope":{"payload":"%s","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"%s"}]}}' \
	"$type" "$(openssl base64 -A -in statement)" "$(openssl base64 -A -in signature)" >bundle
eval "$edit_bundle"

printf '{}' >config
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"%s","config":%s,"layers":[%s],"subject":{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"%s","size":100}}' \
	"$type" "$(descriptor application/vnd.oci.empty.v1+json config)" "$(descriptor "$type" bundle)" "$digest" >manifest
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[%s]}' \
	"$(descriptor application/vnd.oci.image.manifest.v1+json manifest)" >index
descriptor application/vnd.oci.image.index.v1+json index >entry
jq -c --arg tag "${digest/:/-}" --slurpfile entry entry '
	.manifests |= map(select(.annotations["org.opencontainers.image.ref.name"] != $tag)) +
		[$entry[0] + {annotations: {"org.opencontainers.image.ref.name": $tag}}]' "$layout/index.json" >index.json
cp index.json "$layout/index.json"
