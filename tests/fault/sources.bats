#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Files and directories that change, or cannot be read, while they are packed.
# shellcheck disable=SC2154
load fault_lib

# In ./layout the image of ./old as 'keep' and 'v1'. Every file of ./src is new to it, so
# that every file is read, and has been left alone for long.
setup() {
	begin
	mkdir -p old src/dir/sub
	noise 1500000 >old/large
	echo old | tee old/small >old/twin
	build old ./layout:keep
	build old ./layout:v1
	old=$(digest_of layout keep)
	noise 1500000 >src/large
	noise 3000 >src/small
	noise 500000 >src/dir/sub/twin
	cp src/dir/sub/twin src/dir/sub/twin2
	noise 5000 >src/dir/sub/little
	cp src/dir/sub/little src/dir/sub/little2
	echo below >src/dir/sub/below
	find src -exec touch -d '2020-02-02' {} +
	cp -a src pristine
}

pack_with_fault() {
	local status=0
	with_fault "$1" "$2" "$3" "$4" "$ASSETPACK" build --progress none -j 2 src ./layout:v1 >out 2>err || status=$?
	return "$status"
}

still_whole() {
	no_leftovers layout
	[[ $(digest_of layout keep) == "$old" && $(digest_of layout v1) == "$old" ]]
	"$ASSETPACK" verify ./layout:keep
}

# at_each CALLS FILE PATTERN COMMAND: run COMMAND at call 1, 2, 3… on FILE until there is none
# left; each must end the build with a line that matches. The next build is a good one.
at_each() {
	local n status
	for ((n = 1; ; n++)); do
		rm -rf src
		cp -a pristine src
		status=0
		pack_with_fault "$1" "$2" "$n" "run:cd '$PWD' && $4" || status=$?
		[[ -e faults ]] || break
		echo "$n: status $status after '$4' in $(<faults)"
		says_why "$status" "$3"
		still_whole
		build src ./layout:next
		"$ASSETPACK" verify ./layout:next
		rm -rf next
		"$ASSETPACK" extract ./layout:next next
		same_tree src next
	done
	((status == 0 && n > 1))
	reset
}

# The image of 'v1' is the earlier one again.
reset() {
	[[ $(build old ./layout:v1) == "$old" ]]
}

changed='changed while it was packed; build again when nothing writes to it'

@test "a file that shrinks is named, at whatever read" {
	at_each read src/large "'large' $changed" "truncate -s 500000 src/large"
	at_each read src/large "'large' $changed" "truncate -s 0 src/large"
	at_each read src/small "'small' $changed" "truncate -s -1 src/small"
	at_each read src/dir/sub/twin "'dir/sub/twin' $changed" "truncate -s -1 src/dir/sub/twin"
}

@test "a file that grows is named, at whatever read" {
	at_each read src/large "'large' $changed" "echo more >>src/large"
	at_each read src/small "'small' $changed" "echo more >>src/small"
	at_each read src/dir/sub/twin "'dir/sub/twin' $changed" "truncate -s +50M src/dir/sub/twin"
}

@test "a file that is written to is named, at whatever read" {
	at_each read src/large "'large' $changed" "printf x | dd of=src/large bs=1 seek=1000000 conv=notrunc status=none"
	at_each read src/small "'small' $changed" "printf x | dd of=src/small bs=1 seek=20 conv=notrunc status=none"
}

@test "a file that is another when it is opened is named" {
	at_each open src/large "'large' $changed" "rm src/large && head -c 1500000 /dev/zero >src/large"
	at_each open src/small "'small' $changed" "rm src/small && mkdir src/small"
	at_each open src/small "'small' could not be read: " "ln -sf dir/sub/twin src/small"
}

@test "nobody waits for a file that has become a pipe" {
	status=0
	pack_with_fault open src/small 1 "run:cd '$PWD/src' && rm small && mkfifo small" || status=$?
	[[ -e faults ]]
	says_why "$status" "'small' $changed"
	still_whole
}

@test "a file or directory that vanishes is named" {
	at_each open src/large "'large' could not be read: No such file or directory" "rm src/large"
	at_each open src/small "'small' could not be read: No such file or directory" "rm src/small"
	# A file that another thread has open when it goes is still there, but with a link less.
	local gone="'dir(/sub)?(/twin|/twin2|/little|/little2|/below)?' (could not be (opened|read): No such file or directory|$changed)"
	at_each open src/dir/sub "$gone" "rm -r src/dir/sub"
	at_each open src/dir "$gone" "rm -r src/dir"
}

@test "a file that is replaced while it is read is either of the two, or named" {
	for n in 1 2 3; do
		rm -rf src
		cp -a pristine src
		head -c 1500000 /dev/zero >other
		status=0
		pack_with_fault read src/large "$n" "run:mv '$PWD/other' '$PWD/src/large'" || status=$?
		[[ -e faults ]]
		if ((status != 0)); then
			says_why "$status" "'large' $changed"
			continue
		fi
		"$ASSETPACK" verify ./layout:v1
		"$ASSETPACK" cat ./layout:v1 large | cmp - pristine/large
	done
}

@test "equal files of which one changes unseen do not become one" {
	# Same size, same time: only the bytes tell. Whatever is built, no file has the other's new bytes.
	for file in twin twin2 little little2; do
		for ((n = 1; ; n++)); do
			rm -rf src
			cp -a pristine src
			status=0
			pack_with_fault read "src/dir/sub/$file" "$n" "run:cd '$PWD/src/dir/sub' &&
				printf x | dd of=$file bs=1 seek=2000 conv=notrunc status=none && touch -r ../../small $file" || status=$?
			[[ -e faults ]] || break
			"$ASSETPACK" verify ./layout:v1
			((status != 0)) || {
				rm -rf got
				"$ASSETPACK" extract ./layout:v1 got
				for any in twin twin2 little little2; do
					cmp "got/dir/sub/$any" "src/dir/sub/$any" || cmp "got/dir/sub/$any" "pristine/dir/sub/$any"
				done
			}
		done
	done
}

@test "a file that the disk cannot give is named" {
	for file in large small dir/sub/twin dir/sub/below; do
		for ((n = 1; ; n++)); do
			status=0
			pack_with_fault read "src/$file" "$n" EIO || status=$?
			[[ -e faults ]] || break
			says_why "$status" "'$file' could not be read: Input/output error"
			still_whole
		done
		((status == 0 && n > 1))
		reset
	done
}

@test "files and directories that may not be opened are named" {
	for calls in open:large:read open:dir/sub/below:read open:dir/sub:opened; do
		IFS=: read -r calls file verb <<<"$calls"
		status=0
		pack_with_fault "$calls" "src/$file" 1 EACCES || status=$?
		[[ -e faults ]]
		says_why "$status" "'$file' could not be $verb: Permission denied"
		still_whole
	done
}

@test "a directory that this user may not list is named" {
	chmod 711 src/dir/sub
	chmod a+x .
	mkdir -m 777 theirs
	cp "$ASSETPACK" theirs/assetpack
	as_nobody=()
	if ((EUID == 0)); then
		as_nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups)
	else
		chmod 111 src/dir/sub
	fi
	expect_error 1 "'dir/sub' could not be opened: Permission denied" "${as_nobody[@]}" \
		./theirs/assetpack build --progress none src ./theirs/layout
	[[ ! -e theirs/layout ]]
	chmod 755 src/dir/sub
}

# reads ROOT COMMAND...: what COMMAND reads of files below ROOT, in ./reads
reads() {
	: >reads
	env FAULT_CALLS=read FAULT_PATH="$1" FAULT_AT=1 FAULT_REPEAT=1 FAULT_DO=log FAULT_LOG="$PWD/reads" \
		LD_PRELOAD="$FAULT" ASAN_OPTIONS="${ASAN_OPTIONS:-}:verify_asan_link_order=0" "${@:2}"
}

@test "a tree that has not changed is not read again, and nothing is written" {
	# The project's own files are older than the second in which a change could go unseen.
	tree=$SOURCE_ROOT/docs
	first=$(reads "$tree" "$ASSETPACK" build "$tree" ./own:v1)
	[[ -s reads ]]
	before=$(find own -type f -printf '%p %i %T@\n' | sort)
	[[ $(reads "$tree" "$ASSETPACK" build "$tree" ./own:v1) == "$first" ]]
	[[ ! -s reads && $(find own -type f -printf '%p %i %T@\n' | sort) == "$before" ]]
	# Other options make another image; what is gone is made again.
	[[ $("$ASSETPACK" build --keep-mtime "$tree" ./own:v1) != "$first" ]]
	[[ $("$ASSETPACK" build "$tree" ./own:v1) == "$first" ]]
	rm own/blobs/sha256/"$("$ASSETPACK" inspect --json ./own:v1 | jq -r '.images[0].layers[-1].digest | ltrimstr("sha256:")')"
	[[ $("$ASSETPACK" build "$tree" ./own:v1) == "$first" ]]
	"$ASSETPACK" verify ./own:v1
}
