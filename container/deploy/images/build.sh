#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: build.sh BUILD_DIR OUT_DIR [TAG]
#
# Make the container images of what is built in BUILD_DIR, with the libraries that it is linked to, as OCI layouts
# OUT_DIR/assetfs and OUT_DIR/assetfs-csi, tagged TAG (the version). Nothing is downloaded and nothing runs
# inside: it needs buildah, busybox-static and ca-certificates, and works on any machine that builds.
# With $SYSROOT, what is in BUILD_DIR was built for arm64 against that directory, which has the libraries (./dev images).
# The same programs and libraries give the same images, whose files have the time $SOURCE_DATE_EPOCH (0).
set -euo pipefail

build=${1:?usage: build.sh BUILD_DIR OUT_DIR [TAG]}
out=${2:?usage: build.sh BUILD_DIR OUT_DIR [TAG]}
version=$(jq -r .version "$build/meson-info/intro-projectinfo.json")
tag=${3:-$version}
epoch=${SOURCE_DATE_EPOCH:-0}
mkdir -p "$out"
work=$(mktemp -d "$out/.build.XXXXXX")
trap 'rm -rf "$work"' EXIT
# Storage of its own: no daemon, no images of others, nothing left behind.
storage=(--root "$work/storage" --runroot "$work/run" --storage-driver vfs)

sysroot=${SYSROOT:-}
arch=$(dpkg --print-architecture)
tools=
busybox=$(command -v busybox)
if [[ -n $sysroot ]]; then
	arch=arm64
	tools=aarch64-linux-gnu-
	busybox=$sysroot/bin/busybox
fi

# libraries_of PROGRAM: what the dynamic linker loads with it, itself as well, by their paths in the image
libraries_of() {
	if [[ -z $sysroot ]]; then
		ldd "$1" | sed -nE 's/^.*=> (\/[^ ]+) .*/\1/p; s/^\s*(\/[^ ]+) .*/\1/p'
		return
	fi
	# ldd would run it.
	local found=/lib/ld-linux-aarch64.so.1 name path queue=("$1")
	while ((${#queue[@]} > 0)); do
		while read -r name; do
			for path in /lib/aarch64-linux-gnu /usr/lib/aarch64-linux-gnu; do
				[[ ! -e $sysroot$path/$name ]] || break
			done
			[[ -e $sysroot$path/$name ]] || {
				echo "build.sh: '$sysroot' has no '$name'" >&2
				return 1
			}
			[[ $'\n'$found$'\n' == *$'\n'$path/$name$'\n'* || $name == ld-linux-* ]] || {
				found+=$'\n'$path/$name
				queue+=("$sysroot$path/$name")
			}
		done < <(readelf -d "${queue[0]}" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
		queue=("${queue[@]:1}")
	done
	echo "$found"
}

# put ROOT PROGRAM: and its libraries
put() {
	local libraries library
	install -D -m 755 -s --strip-program="${tools}strip" "$2" "$1/usr/bin/$(basename "$2")"
	libraries=$(libraries_of "$2")
	while read -r library; do
		install -D -m 755 "$sysroot$library" "$1$library"
		# glibc loads it by itself, when a thread is cancelled.
		[[ $library != */libc.so.* ]] || install -D -m 755 "$sysroot${library%/*}/libgcc_s.so.1" "$1${library%/*}/libgcc_s.so.1"
	done <<<"$libraries"
}

# commit ROOT NAME TITLE PROGRAM
commit() {
	local container
	install -D -m 644 /dev/stdin "$1/etc/passwd" <<<'root:x:0:0:root:/:/bin/sh'
	find "$1" -exec touch -h -d "@$epoch" {} +
	container=$(buildah "${storage[@]}" from scratch)
	buildah "${storage[@]}" copy -q "$container" "$1" / >/dev/null
	buildah "${storage[@]}" config --arch "$arch" --entrypoint "[\"/usr/bin/$4\"]" --env PATH=/usr/sbin:/usr/bin:/sbin:/bin \
		--label "org.opencontainers.image.title=$3" --label "org.opencontainers.image.version=$version" \
		--label org.opencontainers.image.licenses=Apache-2.0 "$container"
	rm -rf "${out:?}/$2"
	buildah "${storage[@]}" commit -q --timestamp "$epoch" "$container" "oci:$out/$2:$tag" >/dev/null
	buildah "${storage[@]}" rm "$container" >/dev/null
	echo "$out/$2:$tag"
}

root=$work/assetfs
for program in fs/assetfs fs/assetfsd fs/fsstat packer/assetpack; do
	put "$root" "$build/$program"
done
mkdir -p "$root/sbin" "$root/bin" "$root/tmp"
ln -s ../usr/bin/assetfs "$root/sbin/mount.assetfs"
# For who has to look into it, and for overlays/hostpath.
install -m 755 "$busybox" "$root/bin/busybox"
for applet in sh cat grep ls mkdir mount ps sleep umount; do
	ln -s busybox "$root/bin/$applet"
done
install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
commit "$root" assetfs "assetfs: game assets for every container of a node" assetfs

root=$work/assetfs-csi
put "$root" "$build/container/csi/assetfs-csi"
commit "$root" assetfs-csi "assetfs-csi: the CSI driver of assetfs" assetfs-csi
