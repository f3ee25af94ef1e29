#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds onto real disks, in memory, that are too small: by a little less each time.
. "$(dirname "$0")/../support/mount_lib.sh"
cd "$T"

build() {
	"$ASSETPACK" build --progress none "$@"
}

digest_of() {
	"$ASSETPACK" inspect --json "./disk/layout:$1" | jq -r .digest
}

# whole DIGEST: the earlier image is, and the tag names the image DIGEST
whole() {
	"$ASSETPACK" verify ./disk/layout:keep || fail "the earlier image is damaged"
	"$ASSETPACK" verify ./disk/layout:v1 || fail "the tag's image is damaged"
	check_eq "the earlier image" "$(digest_of keep)" "$old"
	check_eq "the tag" "$(digest_of v1)" "$1"
	check_eq "unfinished files" "$(find disk/layout -name '.tmp-*')" ""
}

# After a build onto ./disk that did not work.
refused() {
	[[ $1 == 1 && ! -s out && $(wc -l <err) == 1 ]] || fail "status $1 and '$(<err)'"
	[[ $(<err) =~ ^"assetpack: './disk/layout': ".*("No space left on device"|"disk is full") ]] ||
		fail "says '$(<err)'"
	whole "$old"
	mount -o remount,size=100m,nr_inodes=1000 tmpfs disk
	check_eq "the build with more room" "$(build new ./disk/layout:v1)" "$want"
	whole "$want"
}

# grow LIMIT FROM STEP LEAST: build with LIMIT set to FROM, FROM + STEP, … until it works,
# for the LEAST + 1st time or later
grow() {
	local size status=1 n=0
	for ((size = $2; status != 0; size += $3)); do
		mount -t tmpfs -o "size=100m,$1=$size" tmpfs disk
		cp -r base disk/layout
		status=0
		build new ./disk/layout:v1 >out 2>err || status=$?
		note "$1=$size: status $status"
		if ((status != 0)); then
			refused "$status"
			n=$((n + 1))
		else
			whole "$want"
		fi
		umount disk
	done
	((n >= $4)) || fail "only $n disks were too small"
}

mkdir old new disk
noise 100000 >old/large
echo old >old/text
noise 400000 >new/large
cat old/large >>new/large
for i in {1..200}; do
	echo "$i" >"new/file $i"
done
build old ./base:keep >keep
build old ./base:v1 >/dev/null
cp -r base clean
want=$(build new ./clean:v1)
old=$(<keep)

grow size 200000 20000 10
grow nr_inodes 15 1 2
