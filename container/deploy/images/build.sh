#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: build.sh BUILD_DIR OUT_DIR [TAG]
#
# Make the container images of what is built in BUILD_DIR, with the libraries that it is linked to, as OCI layouts
# OUT_DIR/assetfs and OUT_DIR/assetfs-csi, tagged TAG (the version). Nothing is downloaded and nothing runs
# inside: it needs buildah, busybox-static and ca-certificates, and works on any machine that builds.
# The same programs and libraries give the same images, whose files have the time $SOURCE_DATE_EPOCH (0).
set -euo pipefail

build=${1:?usage: build.sh BUILD_DIR OUT_DIR [TAG]}
out=${2:?usage: build.sh BUILD_DIR OUT_DIR [TAG]}
version=$("$build/fs/assetfs" --version | cut -d ' ' -f 2)
tag=${3:-$version}
epoch=${SOURCE_DATE_EPOCH:-0}
mkdir -p "$out"
work=$(mktemp -d "$out/.build.XXXXXX")
trap 'rm -rf "$work"' EXIT
# Storage of its own: no daemon, no images of others, nothing left behind.
storage=(--root "$work/storage" --runroot "$work/run" --storage-driver vfs)

# put ROOT PROGRAM: and what the dynamic linker loads with it
put() {
	local library
	install -D -m 755 -s "$2" "$1/usr/bin/$(basename "$2")"
	ldd "$2" | sed -nE 's/^.*=> (\/[^ ]+) .*/\1/p; s/^\s*(\/[^ ]+) .*/\1/p' | while read -r library; do
		install -D -m 755 "$library" "$1$library"
		# glibc loads it by itself, when a thread is cancelled.
		[[ $library != */libc.so.* ]] || install -D -m 755 "${library%/*}/libgcc_s.so.1" "$1${library%/*}/libgcc_s.so.1"
	done
}

# commit ROOT NAME TITLE PROGRAM
commit() {
	local container
	install -D -m 644 /dev/stdin "$1/etc/passwd" <<<'root:x:0:0:root:/:/bin/sh'
	find "$1" -exec touch -h -d "@$epoch" {} +
	container=$(buildah "${storage[@]}" from scratch)
	buildah "${storage[@]}" copy -q "$container" "$1" / >/dev/null
	buildah "${storage[@]}" config --entrypoint "[\"/usr/bin/$4\"]" --env PATH=/usr/sbin:/usr/bin:/sbin:/bin \
		--label "org.opencontainers.image.title=$3" --label "org.opencontainers.image.version=$version" \
		--label org.opencontainers.image.licenses=Apache-2.0 "$container"
	rm -rf "${out:?}/$2"
	buildah "${storage[@]}" commit -q --timestamp "$epoch" "$container" "oci:$out/$2:$tag" >/dev/null
	buildah "${storage[@]}" rm "$container" >/dev/null
	echo "$out/$2:$tag"
}

root=$work/assetfs
for program in fs/assetfs fs/fsstat packer/assetpack; do
	put "$root" "$build/$program"
done
mkdir -p "$root/sbin" "$root/bin" "$root/tmp"
ln -s ../usr/bin/assetfs "$root/sbin/mount.assetfs"
# For who has to look into it, and for overlays/hostpath.
install -m 755 "$(command -v busybox)" "$root/bin/busybox"
for applet in sh cat grep ls mkdir mount ps sleep umount; do
	ln -s busybox "$root/bin/$applet"
done
install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
commit "$root" assetfs "assetfs: game assets for every container of a node" assetfs

root=$work/assetfs-csi
put "$root" "$build/container/csi/assetfs-csi"
commit "$root" assetfs-csi "assetfs-csi: the CSI driver of assetfs" assetfs-csi
