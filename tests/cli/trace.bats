#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# build --trace: chunks in order of first use, and traces that are wrong.
# shellcheck disable=SC2154
load lib

setup() {
	begin
	mkdir -p src/dir
	# Large enough for a part of it to be chunks of its own.
	noise 4000000 >src/big.pak
	noise 300000 >src/a.bin
	for i in {1..40}; do
		noise 20000 >"src/dir/file $i.txt"
	done
	noise 30000 >"src/$(printf 'back\\slash\x01caf\xe9')"
	ln "src/dir/file 40.txt" src/dir/other
}

# trace LINE...: a trace of these uses, as ./trace
trace() {
	printf '# assetfs trace 1\n' >trace
	printf '%s\n' "$@" >>trace
}

# extents IMAGE PATH: pack, offset in the pack, offset in the file, length; one a line
extents() {
	"$ASSETPACK" stat -v "$1" "$2" |
		sed -n 's/^  \([0-9]*\)+\([0-9]*\) in .*, pack \([0-9]*\) at \([0-9]*\)+.*/\3 \4 \1 \2/p'
}

# place IMAGE PATH: of the first byte, as a number to compare
place() {
	extents "$1" "$2" | awk 'NR == 1 { printf "%.0f\n", $1 * 2^32 + $2 }'
}

# in_order IMAGE PATH...: whether these files' first bytes are stored in this order, in chunks that
# may be the same
in_order() {
	local image=$1 last=0 at
	shift
	for path; do
		at=$(place "$image" "$path")
		echo "$path: $at after $last"
		((at >= last)) || return 1
		last=$at
	done
}

same_bytes() {
	rm -rf out
	"$ASSETPACK" extract "$1" out
	diff -r src out
	"$ASSETPACK" verify "$1"
}

@test "files are stored in order of first use, then the rest" {
	order=("dir/file 31.txt" big.pak "dir/file 2.txt" a.bin dir/other)
	trace "0 20000 dir/file 31.txt" "0 0 big.pak" "# a comment" "0 10 dir/file 2.txt" "5 5 a.bin" \
		"0 20000 dir/file 31.txt" "0 20000 dir/other" "0 5 a.bin"
	build --trace trace src ./layout:traced
	in_order ./layout:traced "${order[@]}" "dir/file 1.txt"
	[[ $(place ./layout:traced "dir/file 31.txt") == $((1 << 32)) ]]
	[[ $(place ./layout:traced "dir/file 40.txt") == $(place ./layout:traced dir/other) ]]
	same_bytes ./layout:traced
	build src ./layout:plain
	run ! in_order ./layout:plain "${order[@]}"
	same_bytes ./layout:plain
	same_bytes ./layout:traced
}

@test "parts of a large file are stored apart from the rest of it" {
	trace "3000000 10 big.pak" "0 20000 dir/file 7.txt" "1000000 300000 big.pak"
	build --chunk-size 64K --trace trace src ./layout:traced
	# Rounded outward to 64 KiB: [45, 46), then [15, 20).
	extents ./layout:traced big.pak | sort -n -k 1 -k 2 >list
	cat list
	awk '$3 >= 45 * 65536 && $3 < 46 * 65536 { sum += $4; next } { exit } END { print sum }' list >first
	[[ $(<first) == 65536 ]]
	file=$(place ./layout:traced "dir/file 7.txt")
	awk -v file="$file" '
		{ at = $1 * 2^32 + $2; block = int($3 / 65536) }
		block == 45 { if (at >= file) exit 1; next }
		block >= 15 && block < 20 { if (at < file) exit 1; if (at > last) last = at; next }
		{ if (first == 0) first = at }
		END { if (first < last) exit 1 }' list
	(($(place ./layout:traced "dir/file 1.txt") > file))
	same_bytes ./layout:traced
}

@test "equal large files of which one was used in part are one content" {
	cp src/big.pak src/again.pak
	noise 4000000 >src/same-size.pak
	trace "2000000 10 big.pak" "1000000 10 again.pak"
	build --chunk-size 64K --trace trace src ./layout:traced
	[[ $(extents ./layout:traced big.pak) == "$(extents ./layout:traced again.pak)" ]]
	same_bytes ./layout:traced
}

@test "a trace holds for each platform that has the path" {
	mkdir -p amd64/dir arm64/dir
	for arch in amd64 arm64; do
		for i in 3 5 9; do
			noise 20000 >"$arch/dir/file $i.txt"
		done
	done
	trace "0 1 dir/file 9.txt" "0 1 dir/file 30.txt" "0 1 dir/file 5.txt" "0 1 dir/file 20.txt"
	build -p linux/amd64=amd64 -p linux/arm64=arm64 --chunk-size 4K --trace trace src ./layout
	for arch in amd64 arm64; do
		stored() {
			"$ASSETPACK" stat --platform "linux/$arch" -v ./layout "dir/file $1.txt" |
				sed -n 's/.* in chunk \([0-9]*\) .*/\1/p' | head -n 1
		}
		(($(stored 9) < $(stored 5) && $(stored 5) < $(stored 3)))
		(($(stored 30) < $(stored 20) && $(stored 20) < $(stored 1)))
	done
	"$ASSETPACK" verify ./layout
}

@test "jobs do not show, nor whether files had been hashed before" {
	trace "3000000 10 big.pak" "0 20000 dir/file 7.txt" "1000000 300000 big.pak" "0 9 a.bin"
	want=$(build -j 1 --trace trace src ./one)
	[[ $(build -j 4 --trace trace src ./four) == "$want" ]]
	diff -r one/blobs four/blobs
	[[ $(build -j 2 --from none --trace trace src ./four) == "$want" ]]
	[[ $(build src ./plain) != "$want" ]]
}

@test "a release that starts from an earlier one keeps its bytes where they are" {
	build src ./layout:v1
	before=$(extents ./layout:v1 "dir/file 9.txt")
	noise 500000 | dd of=src/big.pak bs=1 seek=2000000 conv=notrunc status=none
	noise 20000 >src/dir/new
	trace "2300000 1000 big.pak" "0 1 dir/new" "0 1 dir/file 9.txt"
	build --from ./layout:v1 --trace trace src ./layout:v2
	[[ $(extents ./layout:v2 "dir/file 9.txt") == "$before" ]]
	same_bytes ./layout:v2
	[[ $(build -j 4 --from ./layout:v1 --trace trace src ./layout:v3) == "$(build -j 1 --from ./layout:v1 --trace trace src ./layout:v2)" ]]
}

@test "uses of files that are not there are counted" {
	trace "0 1 gone" "0 0 dir/gone/too" "0 1 dir/file 3.txt" "0 1 dir" "5 0 a.bin/b"
	run -0 --separate-stderr build --trace trace src ./layout
	[[ $stderr == "assetpack: 'trace': 4 of 5 uses are of no file in the tree; the trace may be of another version" ]]
}

@test "bytes of paths are escaped" {
	trace '0 1 back\134slash\001caf\351'
	run -0 --separate-stderr build --chunk-size 4K --trace trace src ./layout
	[[ -z $stderr ]]
	[[ $(place ./layout "$(printf 'back\\slash\x01caf\xe9')") == $((1 << 32)) ]]
}

@test "what is no trace is refused, with its line" {
	trace "0 1 a.bin" "x 1 a.bin"
	expect_error 1 "'trace': line 3: not 'OFFSET LENGTH PATH'" build --trace trace src ./layout
	trace "0 1 ../a.bin"
	expect_error 1 "'trace': line 2: the path has an empty component, '.' or '..'" build --trace trace src ./layout
	echo "0 1 a.bin" >trace
	expect_error 1 "'trace': not a trace: the first line is not '# assetfs trace 1'" build --trace trace src ./layout
	expect_error 1 "'none': No such file or directory" build --trace none src ./layout
	expect_error 1 "'src' is not a regular file" build --trace src src ./layout
	[[ ! -e layout ]]
}

# layers IMAGE: of the trace, the digest without "sha256:" and the size; one a platform
trace_layers() {
	"$ASSETPACK" inspect --json "$1" |
		jq -r '.images[].layers[-1] | select(.mediaType == "application/vnd.assetfs.trace.v1+zstd")
			| "\(.digest[7:]) \(.size)"'
}

@test "images carry the trace, byte for byte, and all platforms the same" {
	trace "3000000 10 big.pak" "# a comment" "0 20000 dir/file 7.txt" "0 1 gone"
	mkdir amd64 arm64
	noise 9000 >amd64/more
	build -p linux/amd64=amd64 -p linux/arm64=arm64 --trace trace src ./layout
	trace_layers ./layout >layers
	[[ $(wc -l <layers) == 2 && $(sort -u layers | wc -l) == 1 ]]
	read -r digest size <layers
	zstd -dq <"layout/blobs/sha256/$digest" | cmp - trace
	[[ $(stat -c %s "layout/blobs/sha256/$digest") == "$size" ]]
	"$ASSETPACK" inspect ./layout | grep -q "^  trace    sha256:$digest"
	"$ASSETPACK" verify ./layout
	# Without one there is none.
	build src ./layout:plain
	[[ -z $(trace_layers ./layout:plain) ]]
}

@test "pull copies the trace, gc keeps it, and an image without is as before" {
	trace "0 1 a.bin"
	build src ./layout:plain
	build --trace trace src ./layout:traced
	read -r digest _ < <(trace_layers ./layout:traced)
	"$ASSETPACK" gc ./layout
	[[ -e layout/blobs/sha256/$digest ]]
	"$ASSETPACK" pull --progress none ./layout:traced ./node:traced
	cmp {layout,node}/blobs/sha256/"$digest"
	"$ASSETPACK" verify ./node:traced
	rm -r node
	"$ASSETPACK" pull --progress none ./layout:plain ./node:plain
	[[ ! -e node/blobs/sha256/$digest ]]
	"$ASSETPACK" diff ./layout:plain ./layout:traced
}

@test "verify finds a trace that is missing, damaged or none" {
	trace "0 1 a.bin"
	build --trace trace src ./layout
	read -r digest _ < <(trace_layers ./layout)
	blob=layout/blobs/sha256/$digest
	cp "$blob" kept
	rm "$blob"
	expect_error 3 "any: trace '${digest:0:12}' is missing" "$ASSETPACK" verify ./layout
	head -c "$(stat -c %s kept)" /dev/zero >"$blob"
	expect_error 3 "any: trace '${digest:0:12}' is damaged: its digest is another" "$ASSETPACK" verify ./layout
}
