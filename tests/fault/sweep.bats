#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Every single write, fsync and change of a name goes wrong once.
# shellcheck disable=SC2154
load fault_lib

# In ./base a layout that holds the image of ./old as 'keep' and 'v1', and in $want the
# digest that ./new has once it is built to v1 there.
setup() {
	begin
	mkdir -p old/dir amd64 arm64
	noise 200000 >old/large
	noise 3000 >old/dir/small
	echo text >old/text
	cp -r old new
	{
		head -c 90000 old/large
		echo inserted
		tail -c +90001 old/large
	} >new/large
	echo new >new/added
	rm new/text
	echo amd64 >amd64/program
	echo arm64 >arm64/program
	build old ./base:keep
	build old ./base:v1
	cp -r base clean
	want=$(pack ./clean:v1)
	old=$(digest_of base keep)
}

# The second build. Two platforms make three packs and two indexes.
pack() {
	build -j 2 -p linux/amd64=amd64 -p linux/arm64=arm64 new "$1"
}

pack_with_fault() {
	with_fault "$1" layout "$2" "$3" "$ASSETPACK" build --progress none -j 2 -p linux/amd64=amd64 \
		-p linux/arm64=arm64 new ./layout:v1
}

# The images that were there are whole, and the tag names either the one or the other.
still_whole() {
	local now
	now=$(digest_of layout v1)
	[[ $(digest_of layout keep) == "$old" && " $old $want " == *" $now "* ]]
	"$ASSETPACK" verify ./layout:keep
	[[ $now == "$old" ]] || "$ASSETPACK" verify ./layout:v1
}

# The build is done again, as if nothing had been.
done_again() {
	[[ $(pack ./layout:v1) == "$want" ]]
	no_leftovers layout
	"$ASSETPACK" verify ./layout:v1
	[[ $(digest_of layout keep) == "$old" ]]
}

# sweep LEAST CALLS DO JUDGE: let call 1, 2, 3… go wrong until there is none left, and
# call JUDGE with the status after each; there have to be at least LEAST
sweep() {
	local n status
	for ((n = 1; ; n += STEP)); do
		rm -rf layout
		cp -r base layout
		status=0
		pack_with_fault "$2" "$n" "$3" >out 2>err || status=$?
		[[ -e faults ]] || break
		echo "$n: status $status after a fault in $(<faults)"
		"$4" "$status"
	done
	[[ $status == 0 && $(<out) == "$want" ]]
	((n > $1))
}

refused() {
	says_why "$1" "'./layout': .*(No space left on device|disk is full)"
	still_whole
	no_leftovers layout
	done_again
}

@test "a disk that is full once: one line, the earlier image is whole, the next build works" {
	sweep 45 write,name ENOSPC refused
}

@test "a disk that stays full: the same" {
	export REPEAT=1
	sweep 12 write ENOSPC refused
}

broken() {
	says_why "$1" "'./layout': .*Input/output error"
	still_whole
	done_again
}

@test "a disk that cannot sync: the same" {
	sweep 16 sync EIO broken
}

goes_on() {
	[[ $1 == 0 && ! -s err && $(<out) == "$want" ]]
	no_leftovers layout
	"$ASSETPACK" verify ./layout:v1
}

@test "writes that are cut short or interrupted are gone on with" {
	sweep 12 write short goes_on
	sweep 12 write EINTR goes_on
}

killed() {
	[[ $1 == 137 && ! -s out ]]
	still_whole
	done_again
}

@test "killed at every write: the earlier image is whole, the next build works" {
	sweep 45 write,name kill killed
}

@test "what a power cut may undo is undone in the right order" {
	cp -r base layout
	REPEAT=1 pack_with_fault write,sync,name,from 1 log
	right_order
	[[ $switches == 1 ]] && ((renamed >= 10))
}

@test "a first build that fails leaves a place for the next one" {
	sweep_first() {
		local n status
		for ((n = 1; ; n += STEP)); do
			rm -rf fresh
			status=0
			with_fault write,sync,name fresh "$n" "$1" "$ASSETPACK" build --progress none -j 2 old \
				./fresh:v1 >out 2>err || status=$?
			[[ -e faults ]] || break
			echo "$n: status $status after a fault in $(<faults)"
			[[ $1 == kill ]] || says_why "$status" "'./fresh'"
			[[ $(build old ./fresh:v1) == "$old" ]]
			no_leftovers fresh
			"$ASSETPACK" verify ./fresh:v1
		done
		((n > 40))
	}
	sweep_first ENOSPC
	sweep_first kill
}

@test "an extraction that fails says why, and leaves no file that is not whole" {
	ln new/large new/again
	ln -s large new/link
	build new ./clean:v2
	for ((n = 1; ; n += STEP)); do
		rm -rf out.dir
		status=0
		with_fault write,name out.dir "$n" ENOSPC "$ASSETPACK" extract ./clean:v2 out.dir >out 2>err || status=$?
		[[ -e faults ]] || break
		echo "$n: status $status after a fault in $(<faults)"
		says_why "$status" "'(out.dir|large|again|added|dir|dir/small)' could not be (made|written): No space left on device"
		[[ ! -e out.dir || -z $(find out.dir -name '.tmp-*') ]]
		for file in large again added dir/small; do
			[[ ! -e out.dir/$file ]] || cmp "out.dir/$file" "new/$file"
		done
	done
	((status == 0 && n > 15))
	same_tree new out.dir
}
