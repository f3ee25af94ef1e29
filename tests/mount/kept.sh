#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A region on disk outlives its daemon: as it is after an orderly end; verified, chunk by chunk as
# it is read, after a crash or a boot.
. "$(dirname "$0")/../support/mount_lib.sh"

mkdir "$T/src"
for i in {1..40}; do
	noise $((i * 1001)) >"$T/src/small-$i"
done
noise 3000000 >"$T/src/medium"
noise 20000000 >"$T/src/large" # is filled in the background
truncate -s 5M "$T/src/sparse"
noise 100000 >>"$T/src/sparse"
"$ASSETPACK" build "$T/src" "$T/layout:v1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"

begin() {
	start_daemon --region "$T/region"
	"$ASSETFS" mount "$T/layout:v1" "$MNT"
}

end() {
	"$ASSETFS" umount "$MNT"
	stop_daemon
}

crash() {
	kill -KILL "$daemon"
	wait "$daemon" || true
	umount "$MNT"
}

# read_all: every byte is right, and all of it lies in the region then
read_all() {
	"$READER" "$MNT" "$T/src" >"$T/reader" || fail "reader: $(tail -n 1 "$T/reader")"
	"$ASSETFS" status --wait resident "$MNT" >/dev/null
}

# damage FILE OFFSET: in the region
damage() {
	local object
	object=$T/region/$(sha256sum <"$T/src/$1" | cut -d' ' -f1)
	[[ -s $object ]] || fail "no object of $1 in the region"
	printf 'wrong' | dd of="$object" bs=1 seek="$2" conv=notrunc status=none
}

decompressed() {
	counter chunks_decompressed_total
}

begin
read_all
all=$(decompressed)
end

note "after an orderly end nothing is done again"
begin
read_all
check_eq "chunks decompressed" "$(decompressed)" "$all"
end

note "after a boot all is verified, and what is wrong is made anew"
echo "another boot" >"$T/region/clean"
damage medium 1500000
damage large 19999990
damage small-7 3
damage sparse 1000000 # a hole
begin
read_all
(($(decompressed) > all && $(decompressed) <= all + 3)) ||
	fail "$(($(decompressed) - all)) chunks decompressed for 3 that were damaged"
all=$(decompressed)

note "after a crash, too"
expect_log "dead"
crash
damage medium 10
begin
read_all
check_eq "chunks decompressed" "$(decompressed)" $((all + 1))
check_eq "errors" "$("$FSSTAT" --json | jq '[.images[].errors_total] | add')" 0
end

note "a file that is not ours is left alone"
echo precious >"$T/region/letter"
expect_failure 1 "holds 'letter', which is no object" "$ASSETFS" serve --store "$STORE" --region "$T/region"
check_eq "letter" "$(<"$T/region/letter")" precious
