#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What no tag reaches goes, and nothing else.
# shellcheck disable=SC2154
load lib

blobs() {
	find "${1:-layout}/blobs/sha256" -type f -printf '%f\n' | sort
}

# add_blob FILE [LAYOUT]: store it; print digest and size as members of a descriptor
add_blob() {
	local digest
	digest=$(sha256sum <"$1")
	digest=${digest%% *}
	cp "$1" "${2:-layout}/blobs/sha256/$digest"
	printf '"digest":"sha256:%s","size":%d' "$digest" "$(stat -c %s "$1")"
}

# tag DESCRIPTOR: add it to index.json
tag() {
	jq -c --argjson new "$1" '.manifests += [$new]' layout/index.json >index.new
	mv index.new layout/index.json
}

@test "blobs of former images go, what tags share stays" {
	mkdir src
	noise 300000 >src/kept
	build src ./layout:a
	cp -r layout before
	noise 300000 >src/other
	build --chunk-size 16K src ./layout:b
	rm src/other
	build --chunk-size 32K src ./layout:b
	(($(blobs | wc -l) > $(blobs before | wc -l) + 4))
	run -0 --separate-stderr "$ASSETPACK" gc ./layout
	[[ -z $stderr && $output =~ ^removed\ [1-9][0-9]*\ blobs ]]
	"$ASSETPACK" verify ./layout:a
	"$ASSETPACK" verify ./layout:b
	[[ -z $(comm -23 <(blobs before) <(blobs)) ]]
	# Only what the two tags name is left.
	want=$(for tag in a b; do
		jq -r --arg tag "$tag" '.manifests[] | select(.annotations["org.opencontainers.image.ref.name"] == $tag).digest' layout/index.json
		"$ASSETPACK" inspect --json "./layout:$tag" | jq -r '.images[] | .digest, .configBlob.digest, .layers[].digest'
	done | sed 's/sha256://' | sort -u)
	[[ $(blobs) == "$want" ]]
	[[ $("$ASSETPACK" gc ./layout) == "removed 0 blobs, 0 B, "* ]]
}

@test "packs that an older tag shares with a former image stay" {
	mkdir src
	noise 3000000 >src/large
	build src ./layout:old
	echo more >src/more
	build src ./layout:new
	cp -r layout before
	rm src/large
	build src ./layout:new
	"$ASSETPACK" gc ./layout
	"$ASSETPACK" verify ./layout:old
	"$ASSETPACK" verify ./layout:new
}

@test "dry run says the same and removes nothing" {
	mkdir src
	echo 1 >src/file
	build src ./layout
	echo 2 >src/file
	build src ./layout
	touch layout/blobs/sha256/.tmp-0123456789abcdef
	find layout -printf '%p %i %s %T@\n' | sort >before
	run -0 "$ASSETPACK" gc --dry-run ./layout
	would=$output
	find layout -printf '%p %i %s %T@\n' | sort | cmp - before
	[[ $would == "would remove "*" 1 unfinished files"* ]]
	run -0 "$ASSETPACK" gc ./layout
	[[ ${output#removed} == "$(sed 's/^would remove//; s/would stay/stay/' <<<"$would")" ]]
}

@test "leftovers of killed builds go, caches and strangers' files stay" {
	mkdir src
	echo x >src/file
	build src ./layout
	head -c 5000 /dev/zero >layout/blobs/sha256/.tmp-0123456789abcdef
	head -c 5000 /dev/zero >layout/.tmp-00000000000000ff
	strangers=(layout/.assetpack-cache layout/.assetpack-cache-2 layout/.tmp-notes layout/blobs/sha256/README
		layout/blobs/sha256/0123)
	touch "${strangers[@]}"
	mkdir -p layout/blobs/sha512
	touch layout/blobs/sha512/ab
	mkdir "layout/blobs/sha256/$(printf 'a%.0s' {1..64})"
	[[ $("$ASSETPACK" gc ./layout) == "removed 0 blobs, 0 B, and 2 unfinished files, 9.8 KiB; "* ]]
	[[ -z $(find layout -name '.tmp-0*') ]]
	for file in "${strangers[@]}" layout/blobs/sha512/ab; do
		[[ -e $file ]]
	done
	"$ASSETPACK" verify ./layout
}

@test "a build that was killed is cleaned up after" {
	mkdir src new
	echo old >src/file
	build src ./layout
	for i in {1..8}; do
		noise 8000000 >"new/$i"
	done
	build -j 1 new ./layout &
	until [[ -n $(find layout/blobs/sha256 -name '.tmp-*' -size +100k) ]]; do :; done
	kill -KILL $!
	wait $! || true
	before=$(blobs | grep -v '^\.tmp')
	run -0 "$ASSETPACK" gc ./layout
	[[ -z $(find layout -name '.tmp-*') ]]
	"$ASSETPACK" verify ./layout
	[[ $(blobs | wc -l) -le $(wc -l <<<"$before") ]]
	[[ $(blobs | wc -l) == 5 ]] # image index, manifest, config, index, pack
}

@test "images of others are kept with all that they name" {
	mkdir src
	echo x >src/file
	build src ./layout
	for name in config layer base-config base-layer sbom empty; do
		echo "$name" >"$name"
	done
	: >empty
	echo '{}' >void
	oci=application/vnd.oci.image
	cat >base <<-EOF
		{"schemaVersion":2,"config":{"mediaType":"$oci.config.v1+json",$(add_blob base-config)},
		"layers":[{"mediaType":"$oci.layer.v1.tar",$(add_blob base-layer)}]}
	EOF
	cat >manifest <<-EOF
		{"schemaVersion":2,"config":{"mediaType":"$oci.config.v1+json",$(add_blob config)},
		"layers":[{"mediaType":"$oci.layer.v1.tar",$(add_blob layer)},{"mediaType":"x/y",$(add_blob empty)}],
		"subject":{"mediaType":"$oci.manifest.v1+json",$(add_blob base)}}
	EOF
	cat >sbom-manifest <<-EOF
		{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.empty.v1+json",$(add_blob void)},
		"layers":[{"mediaType":"text/spdx",$(add_blob sbom)}],
		"subject":{"mediaType":"$oci.manifest.v1+json","digest":"sha256:$(printf '7%.0s' {1..64})","size":7}}
	EOF
	cat >nested <<-EOF
		{"schemaVersion":2,"manifests":[{"mediaType":"$oci.manifest.v1+json",$(add_blob manifest)}]}
	EOF
	cat >top <<-EOF
		{"schemaVersion":2,"manifests":[{"mediaType":"$oci.index.v1+json",$(add_blob nested)}]}
	EOF
	tag "{\"mediaType\":\"$oci.index.v1+json\",$(add_blob top)}"
	tag "{\"mediaType\":\"$oci.manifest.v1+json\",$(add_blob sbom-manifest),\"annotations\":{\"org.opencontainers.image.ref.name\":\"sbom\"}}"
	blobs >before
	echo orphan >orphan
	add_blob orphan
	"$ASSETPACK" gc ./layout
	blobs | cmp - before
}

@test "what cannot be followed stops it before anything is removed" {
	mkdir src
	echo x >src/file
	build src ./layout
	echo orphan >orphan
	add_blob orphan
	cp layout/index.json good
	blobs >before
	echo '{"manifests":[{"digest":7}]}' >bad-list
	echo 'no json' >bad-json
	for descriptor in "{\"mediaType\":\"application/vnd.someone.new+json\",$(add_blob bad-list)}" \
		"{\"mediaType\":\"application/vnd.oci.image.index.v1+json\",$(add_blob bad-list)}" \
		"{\"mediaType\":\"application/vnd.oci.image.index.v1+json\",$(add_blob bad-json)}" \
		"{\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"digest\":\"sha512:00\",\"size\":3}" \
		"{\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"digest\":\"sha256:$(printf '7%.0s' {1..64})\",\"size\":7}" \
		'{}' '7'; do
		cp good layout/index.json
		tag "$descriptor"
		blobs >before
		expect_error 3 "'./layout'" "$ASSETPACK" gc ./layout
		blobs | cmp - before
	done
	echo nonsense >layout/index.json
	expect_error 3 "index.json" "$ASSETPACK" gc ./layout
	rm layout/index.json
	expect_error 1 "index.json" "$ASSETPACK" gc ./layout
	blobs | cmp - before
	cp good layout/index.json
	flip "$(blob_of layout "$("$ASSETPACK" inspect --json ./layout | jq -r '.images[0].digest')")"
	expect_error 3 "damaged" "$ASSETPACK" gc ./layout
	blobs | cmp - before
}

@test "blobs that name each other in a circle end" {
	mkdir src
	echo x >src/file
	build src ./layout
	# A digest cannot be in what it names; the same blob in two roles can.
	echo '{"schemaVersion":2,"manifests":[]}' >index
	d="{\"mediaType\":\"application/vnd.oci.image.index.v1+json\",$(add_blob index)}"
	echo "{\"layers\":[$d,$d],\"config\":$d,\"manifests\":[$d]}" >many
	tag "{\"mediaType\":\"application/vnd.oci.image.index.v1+json\",$(add_blob many)}"
	blobs >before
	"$ASSETPACK" gc ./layout
	blobs | cmp - before
}

@test "it waits for a build, and never removes what that is about to name" {
	mkdir src
	for i in {1..8}; do
		noise 8000000 >"src/$i"
	done
	mkdir first
	echo x >first/file
	build first ./layout:first
	build -j 1 src ./layout:second >digest &
	until [[ -n $(find layout/blobs/sha256 -name '.tmp-*' -size +100k) ]]; do :; done
	run -0 "$ASSETPACK" gc ./layout
	# The build held the lock: it has ended by now.
	[[ $("$ASSETPACK" inspect --json ./layout:second | jq -r .digest) =~ ^sha256: ]]
	wait $!
	"$ASSETPACK" verify ./layout:first
	"$ASSETPACK" verify ./layout:second
}

@test "only a layout, and all of it" {
	expect_error 1 "'./missing'" "$ASSETPACK" gc ./missing
	[[ ! -e missing ]]
	mkdir empty
	expect_error 3 "no OCI layout" "$ASSETPACK" gc ./empty
	[[ -z $(ls -A empty) ]]
	expect_error 2 "without a tag" "$ASSETPACK" gc ./empty:latest
	expect_error 2 "wants LAYOUT" "$ASSETPACK" gc
}
