#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What goes in comes out.
# shellcheck disable=SC2154
load lib

@test "a tree with everything comes back" {
	make_tree src
	build src ./layout:v1
	"$ASSETPACK" extract ./layout:v1 out
	same_tree src out
	[[ $(find out -printf '%U %G %T@\n' | sort -u) == "0 0 0.0000000000" || $EUID != 0 ]]
	"$ASSETPACK" verify ./layout:v1
	[[ $(stat -c %i out/hard1) == "$(stat -c %i out/deep/a/hard3)" ]]
}

@test "an empty directory makes an image" {
	mkdir src
	build src ./layout
	"$ASSETPACK" verify ./layout
	"$ASSETPACK" extract ./layout out
	[[ -d out && -z $(ls -A out) ]]
	[[ $("$ASSETPACK" inspect --json ./layout | jq '.images[0].config.chunks') == 0 ]]
}

@test "a sparse file above 4 GiB comes back, with its holes" {
	mkdir src
	truncate -s 4294971393 src/sparse
	printf start | dd of=src/sparse conv=notrunc status=none
	printf border | dd of=src/sparse bs=1 seek=4294967293 conv=notrunc status=none
	printf end | dd of=src/sparse bs=1 seek=4294971390 conv=notrunc status=none
	build src ./layout
	[[ $(du -s --block-size=1K layout | cut -f 1) -lt 200 ]]
	"$ASSETPACK" extract ./layout out
	[[ $(stat -c %s out/sparse) == 4294971393 ]]
	# What is not a hole is at most a chunk around each of the three places.
	[[ $(du -s --block-size=1K out | cut -f 1) -lt 3200 ]]
	# Reading it all would fill the page cache with the zeros of two files.
	cmp -n 1000000 src/sparse out/sparse
	cmp -i 4294000000 src/sparse out/sparse
	run -0 "$ASSETPACK" stat -v ./layout sparse
	[[ $output == *"extents  3"* ]]
}

@test "owners and times are kept when asked for" {
	[[ $EUID == 0 ]] || skip "needs root"
	mkdir src
	echo x >src/file
	ln -s file src/link
	chown 1234:5678 src/file
	chown -h 4321:8765 src/link
	touch -d '2001-02-03 04:05:06.789' src/file
	touch -h -d '1999-01-01 00:00:00 UTC' src/link
	build --keep-owner --keep-mtime src ./layout
	"$ASSETPACK" extract ./layout out
	[[ $(cd out && stat -c '%u:%g %y' file link) == "$(cd src && stat -c '%u:%g %y' file link)" ]]
}

@test "SOURCE_DATE_EPOCH sets times, and is their limit with --keep-mtime" {
	mkdir src
	touch -d @1000 src/old
	touch -d @3000.5 src/new
	SOURCE_DATE_EPOCH=2000 build src ./layout:all
	"$ASSETPACK" extract ./layout:all all
	[[ $(stat -c %Y all/old all/new | sort -u) == 2000 ]]
	SOURCE_DATE_EPOCH=2000 build --keep-mtime src ./layout:limit
	"$ASSETPACK" extract ./layout:limit limit
	[[ $(stat -c %.9Y limit/old) == 1000.000000000 ]]
	[[ $(stat -c %.9Y limit/new) == 2000.000000000 ]]
	SOURCE_DATE_EPOCH=soon expect_error 1 "SOURCE_DATE_EPOCH 'soon'" build src ./layout:bad
}

@test "xattrs are kept when asked for" {
	mkdir -p src/dir
	echo x >src/file
	setfattr -n user.kind -v texture src/file 2>/dev/null || skip "no xattrs on this file system"
	setfattr -n user.empty src/file
	setfattr -n user.of.dir -v yes src/dir
	build --xattrs src ./layout:with
	build src ./layout:without
	"$ASSETPACK" verify ./layout:with
	"$ASSETPACK" extract ./layout:with with
	"$ASSETPACK" extract ./layout:without without
	[[ $(getfattr --only-values -n user.kind with/file) == texture ]]
	[[ $(getfattr -d -m - with/file | grep -c '^user') == 2 ]]
	[[ $(getfattr --only-values -n user.of.dir with/dir) == yes ]]
	[[ -z $(getfattr -d -m user without/file) ]]
}

@test "setuid bits and special files are left out with a warning" {
	mkdir src
	echo x >src/tool
	chmod 6755 src/tool
	mkfifo src/pipe
	run -0 --separate-stderr build src ./layout
	[[ $stderr == *"warning: 'tool' is packed without its setuid and setgid bits"* ]]
	[[ $stderr == *"warning: 'pipe' is left out: it is a pipe"* ]]
	"$ASSETPACK" extract ./layout out
	[[ $(ls out) == tool && $(stat -c %a out/tool) == 755 ]]
}

@test "equal bytes are stored once" {
	mkdir src
	noise 3000000 >src/one
	build src ./layout:one
	cp src/one src/two
	head -c 2000000 src/one >src/start
	build src ./layout:three
	one=$("$ASSETPACK" inspect --json ./layout:one | jq .images[0].config.storedBytes)
	three=$("$ASSETPACK" inspect --json ./layout:three | jq .images[0].config.storedBytes)
	# All but the last chunk of the part are the whole's chunks, and no chunk is above 512 KiB.
	((three < one + 540000))
	[[ $("$ASSETPACK" inspect --json ./layout:three | jq .images[0].config.uniqueBytes) == 5000000 ]]
	"$ASSETPACK" verify ./layout:three
}

@test "all chunk sizes and levels come back" {
	make_tree src
	seq 1 1000000 >src/numbers
	noise 9000000 >src/random
	head -c 3000000 /dev/zero >>src/random
	for options in "--chunk-size 4K" "--chunk-size 16K --level 1" "--chunk-size 1M --level 9 -j 1" "--chunk-size 4M"; do
		# shellcheck disable=SC2086
		build $options src ./layout
		"$ASSETPACK" verify ./layout
		rm -rf out
		"$ASSETPACK" extract ./layout out
		same_tree src out
	done
}

@test "extract takes a part, replaces nothing and follows no link" {
	make_tree src
	build src ./layout
	"$ASSETPACK" extract ./layout part deep/a
	same_tree src/deep/a/b part/b
	"$ASSETPACK" extract ./layout one sizes/text
	cmp src/sizes/text one/text
	expect_error 1 "'text'.*exists" "$ASSETPACK" extract ./layout one sizes/text
	mkdir target trap
	ln -s ../target trap/deep
	expect_error 1 "'deep'" "$ASSETPACK" extract ./layout trap
	[[ -z $(ls -A target) ]]
	[[ -z $(find . -name '.tmp-*') ]]
}
