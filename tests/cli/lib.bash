# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Loaded by every test here. Given by the build: ASSETPACK, SUPPORT. Set here: T, the
# test's own directory.

bats_require_minimum_version 1.5.0
: "${ASSETPACK:?}" "${SUPPORT:?}"
# shellcheck source=tests/support/noise.sh
. "$SUPPORT/noise.sh"

# What every test begins with; a file's own setup calls it.
begin() {
	export LC_ALL=C
	unset SOURCE_DATE_EPOCH GITHUB_ACTIONS GITHUB_OUTPUT GITHUB_STEP_SUMMARY
	T=$BATS_TEST_TMPDIR
	cd "$T" || return 1
}

setup() {
	begin
}

# A small tree with everything that an image may hold, at $1.
make_tree() {
	local size
	mkdir -p "$1"/{empty-dir,deep/a/b/c,modes,sizes,many}
	for size in 0 1 4095 4096 4097 65535 65536 65537 300000; do
		noise "$size" >"$1/sizes/$size"
	done
	head -c 400000 /dev/zero >"$1/sizes/zeros"
	seq 1 60000 >"$1/sizes/text"
	cp "$1/sizes/300000" "$1/deep/a/copy"
	cp "$1/sizes/1" "$1/deep/a/b/c/small-copy"
	for size in 0400 0444 0644 0755 0777; do
		echo "$size" >"$1/modes/f$size"
		chmod "$size" "$1/modes/f$size"
		mkdir -m "$size" "$1/modes/d$size"
	done
	mkdir -m 1777 "$1/modes/sticky"
	ln -s ../sizes/4096 "$1/deep/link"
	ln -s does/not/exist "$1/dangling"
	ln -s / "$1/absolute"
	echo shared >"$1/hard1"
	ln "$1/hard1" "$1/deep/hard2"
	ln "$1/hard1" "$1/deep/a/hard3"
	echo long >"$1/$(printf 'n%.0s' {1..255})"
	echo latin1 >"$1/$(printf 'caf\xe9')"
	echo bytes >"$1/$(printf 'all\x01\x02\x7f\x80\xfe\xff bytes')"
	printf newline >"$1/$(printf 'new\nline')"
	echo dash >"$1/-rf"
	echo utf8 >"$1/日本語-ключ"
	for size in {1..300}; do
		echo "file $size" >"$1/many/entry-$size.txt"
	done
}

# Everything of the tree $1 but its bytes and the root's own mode.
metadata() {
	(cd "$1" && find . -mindepth 1 \( -type d -printf '%y %m %n %P\0' \) -o -printf '%y %m %n %s %P -> %l\0') | sort -z
}

# same_tree A B
same_tree() {
	diff -r --no-dereference "$1" "$2"
	metadata "$1" >"$T/metadata.a"
	metadata "$2" >"$T/metadata.b"
	cmp "$T/metadata.a" "$T/metadata.b"
}

build() {
	"$ASSETPACK" build --progress none "$@"
}

# expect_error STATUS PATTERN COMMAND...: nothing on stdout, one line on stderr that matches
expect_error() {
	local want=$1 pattern=$2
	shift 2
	run -"$want" --separate-stderr "$@"
	# shellcheck disable=SC2154
	echo "stdout: $output"
	# shellcheck disable=SC2154
	echo "stderr: $stderr"
	[[ -z $output ]]
	# shellcheck disable=SC2154
	[[ ${#stderr_lines[@]} == 1 ]]
	[[ ${stderr_lines[0]} == "assetpack: "* ]]
	[[ ${stderr_lines[0]} =~ $pattern ]]
}

# random_tree COMMAND...: of random_tree.py
random_tree() {
	python3 "$SUPPORT/random_tree.py" "$@"
}

# blob_of LAYOUT DIGEST
blob_of() {
	echo "$1/blobs/sha256/${2#sha256:}"
}

# flip FILE: change a byte in the middle
flip() {
	local at byte
	at=$(($(stat -c %s "$1") / 2))
	byte=$(od -An -tu1 -j "$at" -N 1 "$1")
	chmod u+w "$1"
	printf '%b' "\\$(printf '%03o' $((byte ^ 1)))" | dd of="$1" bs=1 seek="$at" conv=notrunc status=none
}
