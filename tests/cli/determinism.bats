#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Equal trees give equal images.
# shellcheck disable=SC2154
load lib

@test "jobs, umask, locale, time zone, directory and layout do not show in the image" {
	make_tree src
	noise 5000000 >src/large.bin
	cp src/large.bin src/large-again.bin
	want=$(build -j 1 src ./one:v1)
	[[ $want =~ ^sha256:[0-9a-f]{64}$ ]]
	for jobs in 2 3 8; do
		[[ $(build -j "$jobs" src "./jobs-$jobs:v1") == "$want" ]]
		diff -r one/blobs "jobs-$jobs/blobs"
	done
	[[ $(umask 077 && TZ=Asia/Tokyo LC_ALL=C.UTF-8 LANG=de_DE.UTF-8 build src ./two:v2) == "$want" ]]
	[[ $(umask 000 && TZ=America/New_York LC_ALL=tr_TR.UTF-8 build src ./three) == "$want" ]]
	[[ $(build src ./one:again) == "$want" ]]
	mkdir -p elsewhere/of/another/length
	cp -a src elsewhere/of/another/length/copy
	[[ $(cd elsewhere/of && build "$PWD/another/length/copy" ./four) == "$want" ]]
	[[ $(cd src && build . ../five) == "$want" ]]
	for layout in two three elsewhere/of/four five; do
		diff -r one/blobs "$layout/blobs"
	done
}

@test "two builds one after the other give the same layout, whatever their jobs" {
	make_tree src
	noise 5000000 >src/large.bin
	noise 900000 >src/middle.bin
	mkdir -p over/sizes
	echo own >over/sizes/text
	cp -a src edited
	cat <(head -c 2000000 src/large.bin) <(echo inserted) <(tail -c 3000000 src/large.bin) >edited/large.bin
	echo changed >edited/hard1
	mv edited/middle.bin edited/many/moved.bin
	rm -r edited/deep
	seq 1 50000 >edited/new.txt
	for jobs in 1 2 8; do
		# Each finds its trees elsewhere, made in another order.
		mkdir -p "at-$jobs"
		find src edited over -print0 | sort -zR --random-source=<(yes "$jobs") |
			tar --null --no-recursion -T - -cf - | tar -C "at-$jobs" -xpf -
		build -j "$jobs" "at-$jobs/src" "./jobs-$jobs:v1"
		build -j "$jobs" "at-$jobs/edited" "./jobs-$jobs:v1"
		build -j "$jobs" -p "linux/amd64=at-$jobs/over" "at-$jobs/src" "./jobs-$jobs:v2"
		build -j "$jobs" -p "linux/amd64=at-$jobs/over" "at-$jobs/edited" "./jobs-$jobs:v2"
		"$ASSETPACK" verify "./jobs-$jobs:v1"
		"$ASSETPACK" verify "./jobs-$jobs:v2"
		# Which files are too new to be remembered is a matter of time.
		diff -r -x '.assetpack-cache*' jobs-1 "jobs-$jobs"
	done
}

@test "the order in which files were made does not show" {
	mkdir a b
	for i in {1..200}; do
		echo "bytes of $i" >"a/file $i"
	done
	for i in {200..1}; do
		echo "bytes of $i" >"b/file $i"
	done
	[[ $(build a ./layout:a) == "$(build b ./layout:b)" ]]
}

@test "times and owners of the source do not show" {
	make_tree src
	want=$(build src ./layout:a)
	find src -exec touch -h -d '2011-11-11' {} +
	[[ $EUID != 0 ]] || chown -hR 42:42 src
	[[ $(build src ./layout:b) == "$want" ]]
}

@test "holes are zeros" {
	mkdir sparse dense
	truncate -s 3000000 sparse/file
	printf middle | dd of=sparse/file bs=1 seek=1500000 conv=notrunc status=none
	cp --sparse=never sparse/file dense/file
	[[ $(build sparse ./layout:a) == "$(build dense ./layout:b)" ]]
}

@test "a changed byte gives another image" {
	make_tree src
	first=$(build src ./layout:a)
	echo changed >src/hard1
	second=$(build src ./layout:b)
	[[ $first != "$second" ]]
}

@test "an image is only made of what changed" {
	make_tree src
	noise 8000000 >src/large.bin
	build src ./layout:a
	before=$(du -sb layout | cut -f 1)
	cat <(head -c 4000000 src/large.bin) <(echo inserted) <(tail -c 4000000 src/large.bin) >large
	mv large src/large.bin
	build src ./layout:b
	chunks() {
		"$ASSETPACK" stat -v "./layout:$1" large.bin | sed -n 's/.*sha256:\([0-9a-f]*\), pack.*/\1/p' | sort
	}
	((before > 8000000))
	# Most chunks of the large file are those that it had.
	(($(comm -12 <(chunks a) <(chunks b) | wc -l) * 10 > $(chunks a | wc -l) * 9))
}
