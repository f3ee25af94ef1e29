#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A skopeo for tests of pipelines: copies image indexes whole between OCI layouts and the directory
# $FAKE_REGISTRY, which has a layout and a directory of tags for each repository.
#
# usage: fake_skopeo.sh copy --all --preserve-digests SOURCE DESTINATION
set -euo pipefail
: "${FAKE_REGISTRY:?}"

ref=org.opencontainers.image.ref.name

[[ $# == 5 && $1 == copy && $2 == --all && $3 == --preserve-digests ]] || {
	echo "fake skopeo: unexpected: $*" >&2
	exit 2
}

# repository REFERENCE: its directory
repository() {
	local name=${1#docker://}
	name=${name%%@*}
	name=${name##*/}
	echo "$FAKE_REGISTRY/${name%%:*}"
}

case $4 in
oci:*)
	IFS=: read -r _ from tag <<<"$4"
	descriptor=$(jq -ec --arg ref "$ref" --arg tag "$tag" '.manifests[] | select(.annotations[$ref] == $tag)' "$from/index.json")
	to=$(repository "$5")
	mkdir -p "$to/tags" "$to/blobs"
	cp -rn "$from/blobs/." "$to/blobs"
	jq -r .digest <<<"$descriptor" >"$to/tags/${5##*:}"
	jq -c 'del(.annotations)' <<<"$descriptor" >"$to/$(jq -r .digest <<<"$descriptor")"
	;;
docker://*)
	from=$(repository "$4")
	case $4 in
	*@*) digest=${4##*@} ;;
	*) digest=$(cat "$from/tags/${4##*:}") ;;
	esac
	descriptor=$(jq -ec --arg ref "$ref" --arg tag "${5##*:}" '.annotations = {($ref): $tag}' "$from/$digest")
	IFS=: read -r _ to tag <<<"$5"
	mkdir -p "$to/blobs"
	cp -rn "$from/blobs/." "$to/blobs"
	[[ -e $to/oci-layout ]] || echo '{"imageLayoutVersion":"1.0.0"}' >"$to/oci-layout"
	[[ -e $to/index.json ]] || echo '{"schemaVersion":2,"manifests":[]}' >"$to/index.json"
	jq -c --argjson new "$descriptor" --arg ref "$ref" --arg tag "$tag" \
		'.manifests |= map(select(.annotations[$ref] != $tag)) + [$new]' "$to/index.json" >"$to/index.new"
	mv "$to/index.new" "$to/index.json"
	;;
esac
