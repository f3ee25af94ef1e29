#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Several runs of a blob by one request, from servers that understand that and from others.
# shellcheck disable=SC2154
load registry_lib

setup_file() {
	begin_with_stub
	start_stub "$(<real/port)" "$PWD/mirror"
	push_game
}

setup() {
	be_nobody
	STUB=$BATS_FILE_TMPDIR/mirror
	fault
	STUB=$BATS_FILE_TMPDIR/stub
	fault
	HOST=127.0.0.1:$(<"$STUB/port")
	MIRROR=127.0.0.1:$(<"$BATS_FILE_TMPDIR/mirror/port")
	largest_pack
	BLOB=$BATS_FILE_TMPDIR/src/blobs/sha256/${pack#sha256:}
}

# read_right RUN...: they come, and are those of the blob
read_right() {
	local run
	"$READ_RUNS" "$HOST/game" "${pack#sha256:}" "$pack_size" "$@" >got 2>said || {
		cat said
		return 1
	}
	for run in "$@"; do
		tail -c "+$((${run%-*} + 1))" "$BLOB" | head -c "${run#*-}" || true
	done | cmp - got
	all_happened
}

@test "one request reads many runs" {
	read_right 0-1 1-1 10-500 70000-65536 $((pack_size - 10))-10
	[[ $(requests "GET .*$pack") == 1 ]]
	[[ $(requests "bytes=0-0,1-1,10-509,70000-135535,$((pack_size - 10))-$((pack_size - 1))\$") == 1 ]]
	fault
	# shellcheck disable=SC2046
	read_right $(seq -f %.0f-100 0 7000 690000)
	[[ $(requests "GET .*$pack") == 2 ]]
	fault
	read_right 5-7
	[[ $(requests "bytes=5-11\$") == 1 && $(requests "GET .*$pack") == 1 ]]
}

@test "a server that takes one range is asked for run by run" {
	fault "GET blobs/$pack onerange"
	# shellcheck disable=SC2046
	read_right $(seq -f %.0f-100 0 7000 690000)
	[[ $(requests "bytes=0-99,7000-") == 1 && $(requests "bytes=.*,") == 1 ]]
	[[ $(requests "GET .*$pack") == 99 ]]
	[[ $(requests "bytes=0-99\$") == 0 ]]
	fault "GET blobs/$pack status 416"
	read_right 10-20 400000-30
	[[ $(requests "GET .*$pack") == 3 ]]
}

@test "a server that ignores ranges is read as far as it is worth" {
	fault "*GET blobs/$pack norange"
	read_right 10-20 400000-30
	[[ $(requests "GET .*$pack") == 3 ]]
	fault "*GET blobs/$pack norange"
	read_right 10-300000 400000-250000
	[[ $(requests "GET .*$pack") == 1 ]]
}

@test "an answer that breaks is gone on with" {
	fault "GET blobs/$pack truncate 120000" "GET blobs/$pack truncate 20000"
	read_right 10-100000 200000-100000 500000-5
	[[ $(requests "bytes=10-100009,200000-299999,500000-500004\$") == 1 ]]
	# What is left of the second run, twice.
	[[ $(requests "bytes=2[0-9]{5}-299999\$") == 2 ]]
	[[ $(requests "GET .*$pack") == 4 ]]
	fault "GET blobs/$pack reset 100" "GET blobs/$pack unmeasured 120000"
	read_right 10-100000 200000-100000
	fault "GET blobs/$pack status 500"
	read_right 10-100 200000-1000
}

@test "runs come from mirrors, too" {
	export ASSETFS_MIRRORS="$HOST=http://$MIRROR"
	read_right 10-100 200000-1000
	[[ $(requests "GET .*$pack") == 0 ]]
	STUB=$BATS_FILE_TMPDIR/mirror fault "*GET blobs/$pack status 404"
	read_right 10-100 200000-1000
	[[ $(requests "GET .*$pack") == 2 && ! -s said ]]
}

@test "what is not there is an error" {
	fault
	run ! "$READ_RUNS" "$HOST/game" "$(printf '%064d' 0)" 100 10-20 30-40
	[[ $output == "'$HOST/game': blob '000000000000' is missing" ]]
	fault "*GET blobs/$pack status 416"
	run -3 "$READ_RUNS" "$HOST/game" "${pack#sha256:}" "$pack_size" 10-20 300000-4
	[[ $output == "'$HOST/game': blob '"*"': a blob is damaged: fewer than "*" bytes" ]]
}
