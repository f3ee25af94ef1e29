# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Sourced after sets.sh: what assetpack is compared with. squashfs-tools, casync, ostree, borg and
# restic are installed; desync and composefs are unpacked beside, from a newer release and with
# the libraries that they need; mkdwarfs is no Debian package and is used when it is on PATH.

PEERS_SUITE=sid
BESIDE="desync composefs libcomposefs1 libc6 libssl3t64"

fetch_peers() {
	local package arch
	arch=$(dpkg --print-architecture)
	for package in $BESIDE; do
		fetch_deb "$PEERS_SUITE" "$package:$arch" || return
	done
}

# setup_peers DIR: makes DIR, and the functions below ready
setup_peers() {
	local package arch
	arch=$(dpkg --print-architecture)
	PEERS_DIR=$1
	mkdir "$PEERS_DIR" "$PEERS_DIR/home"
	fetch_peers || return
	for package in $BESIDE; do
		dpkg-deb -x "$(cached_deb "$PEERS_SUITE" "$package:$arch")" "$PEERS_DIR" || return
	done
	export HOME=$PEERS_DIR/home XDG_CACHE_HOME=$PEERS_DIR/home/.cache
	export BORG_BASE_DIR=$PEERS_DIR/home BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes
	export RESTIC_PASSWORD=x
}

# beside PROGRAM ARGUMENT...
beside() {
	local program=$PEERS_DIR/usr/bin/$1 loader libraries
	shift
	libraries=$(dirname "$PEERS_DIR"/usr/lib/*/libc.so.6)
	loader=$(find "$PEERS_DIR/usr/lib" "$PEERS_DIR/usr/lib64" -name 'ld-linux*.so.*' 2>/dev/null | head -n 1)
	"$loader" --library-path "$libraries:/usr/lib/${libraries##*/}" "$program" "$@"
}

# have_peer PEER
have_peer() {
	case $1 in
	borg | restic | ostree | casync | mksquashfs | mkdwarfs) command -v "$1" >/dev/null ;;
	desync) beside desync --help >/dev/null 2>&1 ;;
	composefs) [[ $(beside mkcomposefs --help 2>&1) == Usage:* ]] ;;
	*) false ;;
	esac
}

# peer_version PEER
peer_version() {
	local deb
	case $1 in
	mksquashfs) dpkg-query -W -f '${Version}' squashfs-tools ;;
	borg) dpkg-query -W -f '${Version}' borgbackup ;;
	casync | ostree | restic) dpkg-query -W -f '${Version}' "$1" ;;
	desync | composefs)
		deb=$(cached_deb "$PEERS_SUITE" "$1:$(dpkg --print-architecture)")
		cut -d _ -f 2 <<<"${deb##*/}"
		;;
	*) echo "of unknown version" ;;
	esac
}

# choose_peers PEER...: into the array peers those that are there; one line names them, one each
# that is missing
choose_peers() {
	local peer names=''
	peers=()
	for peer in "$@"; do
		if have_peer "$peer"; then
			peers+=("$peer")
			names+=", $peer $(peer_version "$peer")"
		else
			echo "skip: $peer is missing"
		fi
	done
	echo "with: ${names#, }"
}

# peer_pack PEER TREE OUT NAME: put TREE into OUT, a directory that may hold an earlier version, as NAME.
# What is in OUT afterwards is what a server of it holds.
peer_pack() {
	local tree=$2 out=$3 name=$4
	mkdir -p "$out"
	case $1 in
	mksquashfs)
		mksquashfs "$tree" "$out/$name" -comp zstd -Xcompression-level 3 -processors 2 -noappend -quiet -no-progress
		;;
	mkdwarfs)
		mkdwarfs -i "$tree" -o "$out/$name" -C zstd:level=3 -N 2 --no-progress
		;;
	casync)
		casync make --store="$out/store" "$out/$name.caidx" "$tree"
		;;
	desync)
		mkdir -p "$out/store"
		beside desync tar -n 2 -i -s "$out/store" "$out/$name.caidx" "$tree"
		;;
	composefs)
		beside mkcomposefs --threads=2 --digest-store="$out/objects" "$tree" "$out/$name"
		;;
	ostree)
		[[ -e $out/config ]] || ostree init --repo="$out" --mode=archive
		ostree commit --repo="$out" -b assets -s "$name" --tree=dir="$tree"
		;;
	borg)
		[[ -e $out/config ]] || borg init -e none "$out"
		(cd "$tree" && borg create -C zstd,3 "$out::$name" .)
		;;
	restic)
		[[ -e $out/config ]] || restic init -q -r "$out"
		restic backup -q -r "$out" --compression auto "$tree"
		;;
	esac
}

# peer_pack_at TREE PATH PEER OUT NAME: with TREE standing at PATH meanwhile
peer_pack_at() {
	local tree=$1 path=$2 peer=$3 out=$4 name=$5 status=0
	mv "$tree" "$path"
	peer_pack "$peer" "$path" "$out" "$name" >"$out.log" 2>&1 || status=$?
	mv "$path" "$tree"
	return "$status"
}

# peer_update PEER OLD NEW OUT: bytes that NEW adds to what is stored of OLD. Both are packed from
# one path, for those that remember it.
peer_update() {
	local before
	peer_pack_at "$2" "$4.tree" "$1" "$4" v1 || return
	before=$(dir_bytes "$4")
	peer_pack_at "$3" "$4.tree" "$1" "$4" v2 || return
	echo $(($(dir_bytes "$4") - before))
}
