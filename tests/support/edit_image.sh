#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Change an image in a layout and make all its digests right again, so that what
# reads it meets the change itself and not a wrong checksum (format.md §2, §3).
#
# usage: edit_image.sh LAYOUT[:TAG] COMMAND...
#   paths               print the files: index, then packs and deltas in order
#   query SQL           print what the index answers
#   sql SQL             change the index
#   index FILE          put FILE, as it is, in the place of the compressed index
#   config FILTER       change the config with jq
#   layer N FILE        put FILE in the place of layer N, from 0: the index
#   frame-size CHUNK    let the frame of CHUNK state a content of 1 TiB
#
# The tag's image must be one for every platform, or the only one.
set -euo pipefail

layout=${1%%:*}
tag=latest
[[ $1 == *:* ]] && tag=${1##*:}
command=$2
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

blob() {
	echo "$layout/blobs/sha256/${1#sha256:}"
}

# Store file $1 as a blob; print its descriptor's digest and size.
add_blob() {
	local digest
	digest=$(sha256sum <"$1")
	digest=${digest%% *}
	cp --no-preserve=mode "$1" "$work/new-blob"
	mv -f "$work/new-blob" "$layout/blobs/sha256/$digest"
	echo "sha256:$digest $(stat -c %s "$1")"
}

image_index=$(jq -er --arg tag "$tag" '.manifests[]
	| select(.annotations["org.opencontainers.image.ref.name"] == $tag).digest' "$layout/index.json")
manifest=$(jq -er '.manifests[0].digest' "$(blob "$image_index")")
cp --no-preserve=mode "$(blob "$manifest")" "$work/manifest"
index_layer=$(jq -er '.layers[0].digest' "$work/manifest")

unpack_index() {
	zstd -qdc "$(blob "$index_layer")" >"$work/index"
}

query() {
	sqlite3 -batch -bail "$work/index" "$1"
}

# relink FILE FROM TO SIZE: in JSON FILE, descriptors of digest FROM become TO
relink() {
	jq -cj --arg from "$2" --arg to "$3" --argjson size "$4" '
		(.. | objects | select(.digest? == $from)) |= (.digest = $to | .size = $size)' "$1" >"$1.new"
	mv "$1.new" "$1"
}

replace_layer() {
	local digest size
	read -r digest size <<<"$(add_blob "$2")"
	relink "$work/manifest" "$1" "$digest" "$size"
}

# Bring the change of the manifest up to index.json.
publish() {
	local digest size
	read -r digest size <<<"$(add_blob "$work/manifest")"
	cp --no-preserve=mode "$(blob "$image_index")" "$work/image-index"
	relink "$work/image-index" "$manifest" "$digest" "$size"
	read -r digest size <<<"$(add_blob "$work/image-index")"
	cp --no-preserve=mode "$layout/index.json" "$work/index.json"
	relink "$work/index.json" "$image_index" "$digest" "$size"
	mv -f "$work/index.json" "$layout/index.json"
}

publish_index() {
	query "VACUUM"
	zstd -q3 -c "$work/index" >"$work/index.zst"
	replace_layer "$index_layer" "$work/index.zst"
	publish
}

# bytes FILE OFFSET N: as decimal numbers
bytes() {
	od -An -v -tu1 -j "$2" -N "$3" "$1" | tr -s ' \n' ' '
}

# The 4 bytes of a little-endian number.
le32() {
	local n=$1
	# shellcheck disable=SC2059
	printf "$(printf '\\x%02x\\x%02x\\x%02x\\x%02x' \
		$((n & 255)) $((n >> 8 & 255)) $((n >> 16 & 255)) $((n >> 24 & 255)))"
}

# Size of the header of the zstd frame in file $1 at offset $2 (RFC 8878 §3.1.1.1).
frame_header_size() {
	local descriptor fcs single
	descriptor=$(bytes "$1" $(($2 + 4)) 1)
	fcs=$((descriptor >> 6))
	single=$((descriptor >> 5 & 1))
	case $fcs in
	0) fcs=$single ;;
	*) fcs=$((1 << fcs)) ;;
	esac
	echo $((5 + 1 - single + fcs))
}

# The frame gets a header with a window of 4 MiB and a content size of 8 bytes;
# what follows it in the pack moves.
claim_tebibyte() {
	local chunk=$1 pack offset size number header grown frames table file digest
	IFS='|' read -r pack offset size number <<<"$(query "SELECT pack, frame_offset, frame_size,
		(SELECT count(*) FROM chunk b WHERE b.pack = a.pack AND b.frame_offset < a.frame_offset)
		FROM chunk a WHERE chunk = $chunk")"
	file=$(blob "$(jq -er ".layers[$pack].digest" "$work/manifest")")
	header=$(frame_header_size "$file" "$offset")
	grown=$((14 - header))
	frames=$(query "SELECT count(*) FROM chunk WHERE pack = $pack")
	table=$(($(stat -c %s "$file") - 8 * frames - 17))
	{
		head -c "$offset" "$file"
		printf '\x28\xb5\x2f\xfd\xc4\x60\x00\x00\x00\x00\x00\x01\x00\x00'
		# A pipe to head(1) would now and then end tail(1) by SIGPIPE.
		dd if="$file" bs=64K iflag=skip_bytes,count_bytes,fullblock status=none \
			skip=$((offset + header)) count=$((table + 8 + 8 * number - offset - header))
		le32 $((size + grown))
		tail -c +$((table + 8 + 8 * number + 5)) "$file"
	} >"$work/pack"
	digest=$(sha256sum <"$work/pack")
	query "UPDATE chunk SET frame_offset = frame_offset + $grown
			WHERE pack = $pack AND frame_offset > $offset;
		UPDATE chunk SET frame_size = frame_size + $grown WHERE chunk = $chunk;
		UPDATE pack SET digest = x'${digest%% *}', size = $(stat -c %s "$work/pack") WHERE pack = $pack;"
	replace_layer "$(jq -er ".layers[$pack].digest" "$work/manifest")" "$work/pack"
}

case $command in
paths)
	jq -er '.layers[].digest' "$work/manifest" | while read -r digest; do blob "$digest"; done
	;;
query)
	unpack_index
	query "$1"
	;;
sql)
	unpack_index
	query "$1"
	publish_index
	;;
index)
	replace_layer "$index_layer" "$1"
	publish
	;;
config)
	config=$(jq -er .config.digest "$work/manifest")
	jq -cj "$1" "$(blob "$config")" >"$work/config"
	read -r digest size <<<"$(add_blob "$work/config")"
	relink "$work/manifest" "$config" "$digest" "$size"
	publish
	;;
layer)
	replace_layer "$(jq -er ".layers[$1].digest" "$work/manifest")" "$2"
	publish
	;;
frame-size)
	unpack_index
	claim_tebibyte "$1"
	publish_index
	;;
*)
	echo "edit_image.sh: unknown command '$command'" >&2
	exit 2
	;;
esac
