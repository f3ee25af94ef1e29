#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# build --format image: what container engines unpack is the tree.
# shellcheck disable=SC2154
load registry_lib

setup_file() {
	get_registry
	UMOCI=$("$SUPPORT/fetch_package.sh" umoci)/usr/bin/umoci
	PODMAN=$("$SUPPORT/fetch_package.sh" podman)/usr/bin/podman
	export UMOCI PODMAN
	start_registry "$BATS_FILE_TMPDIR/real"
}

setup() {
	be_nobody
	HOST=127.0.0.1:$(<"$BATS_FILE_TMPDIR/real/port")
	REPO=$HOST/test/n$BATS_TEST_NUMBER
}

image() {
	"$ASSETPACK" build --progress none --format image "$@"
}

# manifest_of LAYOUT TAG ARCH: path of its manifest
manifest_of() {
	blob_of "$1" "$(jq -r --arg arch "$3" '.manifests[] | select(.platform.architecture == $arch).digest' "$(blob_of "$1" "$(digest_of "$1" "$2")")")"
}

# layers_of LAYOUT TAG ARCH: digests
layers_of() {
	jq -r '.layers[].digest' "$(manifest_of "$@")"
}

# unpack LAYOUT TAG ARCH DIR: as an engine does, one layer after the other
unpack() {
	skopeo --insecure-policy copy -q --override-os linux --override-arch "$3" "oci:$1:$2" "oci:one-$3:r"
	"$UMOCI" unpack --rootless --image "one-$3:r" "bundle-$3" >/dev/null
	mv "bundle-$3/rootfs" "$4"
	chmod -R u+w "bundle-$3"
	rm -r "bundle-$3" "one-$3"
}

@test "an engine unpacks the tree" {
	local deep layer
	make_tree t1
	deep=t1/$(printf 'directory-with-a-long-name/%.0s' {1..12})
	mkdir -p "$deep"
	echo deep >"$deep/file"
	ln "$deep/file" "$deep/../again"
	ln -s "$deep/$deep" t1/long-link
	image t1 ./i:r
	unpack i r amd64 out
	same_tree t1 out
	# What tar(1) makes of it is the same.
	mkdir out2
	layers_of i r arm64 >list
	while read -r layer; do
		tar -xpf "$(blob_of i "$layer")" -C out2
	done <list
	same_tree t1 out2
	[[ $(find out -mindepth 1 -printf '%T@\n' | sort -u) == 0.0000000000 ]]
}

@test "digests of layers are those of what they hold, and the config names them" {
	local manifest config
	make_tree t1
	SOURCE_DATE_EPOCH=1000000000 image t1 ./i:r
	for arch in amd64 arm64; do
		manifest=$(manifest_of i r $arch)
		config=$(blob_of i "$(jq -r .config.digest "$manifest")")
		[[ $(jq -c .rootfs.diff_ids "$config") == "$(jq -c '[.layers[].digest]' "$manifest")" ]]
		[[ $(jq -r '"\(.os)/\(.architecture) \(.created)"' "$config") == "linux/$arch 2001-09-09T01:46:40Z" ]]
		[[ $(jq -r '.layers[].mediaType' "$manifest" | sort -u) == application/vnd.oci.image.layer.v1.tar ]]
	done
	[[ $(layers_of i r amd64) == "$(layers_of i r arm64)" ]]
	(cd i/blobs/sha256 && for name in *; do echo "$name  $name"; done | sha256sum -c --quiet)
	[[ $(skopeo inspect "oci:i:r" | jq -r '"\(.Os) \(.Layers | length)"') == "linux 1" ]]
}

@test "platforms share what they have in common, and each has the tree of its image" {
	local arch
	mkdir -p common/{merged,replaced,shown}/sub over-amd64/{merged/sub,file-was} over-arm64/merged
	noise 100000 >common/shared
	echo old | tee common/file common/merged/file common/merged/sub/file common/replaced/sub/file common/file-was >/dev/null
	ln common/file common/shown/file-again
	ln -s shared common/link
	chmod 0750 common/merged
	chmod 0555 common/merged/sub
	echo amd64 | tee over-amd64/{program,file,link,merged/new,replaced,file-was/inside} >/dev/null
	echo arm64 >over-arm64/program
	ln over-arm64/program over-arm64/merged/program
	chmod 0700 over-amd64/merged over-arm64/merged
	local options=(-p linux/amd64=over-amd64 -p linux/arm64=over-arm64 common)
	image "${options[@]}" ./i:r
	build "${options[@]}" ./a:r
	for arch in amd64 arm64; do
		unpack i r "$arch" "out-$arch"
		"$ASSETPACK" extract --platform "linux/$arch" ./a:r "want-$arch"
		same_tree "want-$arch" "out-$arch"
	done
	[[ $(layers_of i r amd64 | head -n 1) == "$(layers_of i r arm64 | head -n 1)" ]]
	[[ $(layers_of i r amd64 | tail -n 1) != "$(layers_of i r arm64 | tail -n 1)" ]]
	chmod -R u+w .
}

# podman runs nothing here, but wants to know what would do that.
fake_helpers() {
	mkdir bin
	printf '#!/bin/sh\necho conmon version 2.1.12\n' | tee bin/conmon bin/crun bin/netavark >/dev/null
	chmod +x bin/*
	printf '[engine]\nruntime="crun"\nconmon_path=["%s/bin/conmon"]\nhelper_binaries_dir=["%s/bin"]\n[engine.runtimes]\ncrun=["%s/bin/crun"]\n' \
		"$T" "$T" "$T" >containers.conf
	export CONTAINERS_CONF=$T/containers.conf
}

@test "podman mounts it" {
	local podman mounted
	((UID == 0)) || skip "podman mounts images for root only"
	fake_helpers
	podman=("$PODMAN" --root "$T/podman" --runroot "$T/run" --storage-driver vfs --log-level error)
	"${podman[@]}" info >/dev/null || skip "podman does not run here"
	make_tree t1
	image t1 ./i:r
	echo '{"default":[{"type":"insecureAcceptAnything"}]}' >policy.json
	push ./i:r "$REPO:r"
	"${podman[@]}" pull -q --tls-verify=false --signature-policy policy.json "$REPO:r" >id
	[[ $("${podman[@]}" image inspect "$(<id)" | jq -r '.[0].RootFS.Layers[]') == "$(layers_of i r amd64)" ]]
	mounted=$("${podman[@]}" image mount "$(<id)")
	same_tree t1 "$mounted"
	"${podman[@]}" image umount -a >/dev/null
}

@test "random trees of two platforms come back from their layers" {
	local rounds=${ROUNDS:-2} seed=${SEED:-$RANDOM$RANDOM} round arch tree
	for ((round = 0; round < rounds; round++)); do
		echo "SEED=$((seed + round))"
		rm -rf src amd64 arm64 i
		for tree in src amd64 arm64; do
			random_tree make "$tree $((seed + round))" "$tree"
		done
		cp -a src/. amd64/ && random_tree edit "amd64 $((seed + round))" amd64
		image --keep-mtime -p linux/amd64=amd64 -p linux/arm64=arm64 src ./i:r
		for arch in amd64 arm64; do
			chmod -R u+rwx out merged 2>/dev/null || true
			rm -rf out merged
			random_tree overlay src "$arch" merged
			unpack i r "$arch" out
			# All but the root, which is the engine's.
			random_tree list --times merged | sed 1d >want.txt
			random_tree list --times out | sed 1d >got.txt
			diff want.txt got.txt
		done
	done
}

@test "the same tree makes the same image" {
	local first
	make_tree t1
	first=$(image -j 1 t1 ./i:r)
	cp -r t1 t2
	rm -rf t2
	mkdir t2
	# Another order of creation, other times and other inodes.
	(cd t1 && find . -mindepth 1 -maxdepth 1 -print0 | sort -zr | xargs -0 cp -dR --preserve=mode,links -t ../t2)
	[[ $(umask 077 && TZ=Asia/Tokyo image -j 2 t2 ./other:r) == "$first" ]]
	[[ $(image t1 ./i:again) == "$first" ]]
	[[ $(ls i/blobs/sha256) == "$(ls other/blobs/sha256)" ]]
	"$ASSETPACK" gc ./i
	[[ $(ls i/blobs/sha256) == "$(ls other/blobs/sha256)" ]]
}

@test "skopeo carries it to a registry and back with the same digests" {
	make_tree t1
	image t1 ./i:r
	copy oci:i:r "docker://$REPO:r"
	copy "docker://$REPO:r" oci:back:r
	[[ $(digest_of back r) == "$(digest_of i r)" ]]
	unpack back r amd64 out
	same_tree t1 out
}

@test "it is pushed, and what is there is not sent again" {
	make_tree t1
	image t1 ./i:r
	run -0 --separate-stderr "$ASSETPACK" push --progress json ./i:r "$REPO:r"
	[[ $output == "$(digest_of i r)" ]]
	[[ $(jq -r 'select(.event == "done").sent' <<<"$stderr") == 3 ]]
	run -0 --separate-stderr "$ASSETPACK" push --progress json ./i:r "$REPO:r"
	[[ $(jq -r 'select(.event == "done").sent' <<<"$stderr") == 0 ]]
	skopeo --insecure-policy copy -q --all --preserve-digests --src-tls-verify=false "docker://$REPO:r" oci:back:r
	[[ $(digest_of back r) == "$(digest_of i r)" ]]
	unpack back r arm64 out
	same_tree t1 out
	# It is signed and verified as others are.
	openssl genpkey -algorithm ED25519 -out key
	openssl pkey -in key -pubout -out key.pub
	"$SUPPORT/sign.sh" key "$(digest_of i r)" ./i
	skopeo --insecure-policy copy -q --dest-tls-verify=false "oci:i:$(digest_of i r | tr : -).sig" "docker://$REPO:$(digest_of i r | tr : -).sig"
	[[ $("$ASSETPACK" verify --verify-key key.pub "$REPO:r") == "$(digest_of i r)" ]]
	# What is nothing of ours is not.
	expect_error 3 "names no image index" push "./i:$(digest_of i r | tr : -).sig" "$REPO:x"
}

@test "a large file has a layer of its own, and a change leaves other layers as they were" {
	mkdir tree
	truncate -s 68M tree/large
	echo end >>tree/large
	ln tree/large tree/same
	seq 1 100 >tree/small
	image tree ./i:r
	layers_of i r amd64 >before
	[[ $(wc -l <before) == 2 ]]
	tar -tf "$(blob_of i "$(tail -n 1 before)")" >names
	[[ $(<names) == $'large\nsame' ]]
	echo changed >tree/small
	image tree ./i:r
	layers_of i r amd64 >after
	[[ $(comm -12 <(sort before) <(sort after)) == "$(tail -n 1 before)" ]]
}

@test "a tree with nothing in it is an image with an empty layer" {
	mkdir empty out2
	image empty ./i:r
	[[ $(layers_of i r amd64 | wc -l) == 1 ]]
	unpack i r amd64 out
	same_tree empty out
}

@test "what is no use or cannot be is refused" {
	mkdir tree
	echo 1 >tree/file
	expect_error 2 "format 'zip' is neither assetfs nor image" build --format zip tree ./i:r
	for option in --level=3 --chunk-size=64K --from=none --trace=t --no-deltas --max-update=1M --metadata-file=m; do
		run -2 "$ASSETPACK" build --format image "$option" tree ./i:r
		[[ $output == *"--${option:2:3}"*" means nothing to an image for container engines"* ]]
	done
	[[ ! -e i ]]
	mkdir tree/dir
	echo 1 >tree/dir/.wh.file
	run -1 "$ASSETPACK" build --progress none --format image tree ./i:r
	[[ $output == "assetpack: 'dir/.wh.file': to layers of images, a name that begins with '.wh.' means that a file is removed" ]]
	[[ $(<i/index.json) == '{"schemaVersion":2,"manifests":[]}' ]]
	[[ -z $(compgen -G "i/blobs/sha256/*") ]]
	rm tree/dir/.wh.file
	image tree ./i:r
	run -3 "$ASSETPACK" ls ./i:r
	[[ $output == *"not an assetfs image"* ]]
}
