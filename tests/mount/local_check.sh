#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What chunks of local images are compared with: digests find what somebody made to deceive; checksums
# do not, but damage of any kind.
. "$(dirname "$0")/../support/mount_lib.sh"

image=$T/layout:v1
EXPECTED_LOG="damaged|a signature says nothing"
mkdir "$T/src"
noise 400000 >"$T/src/noise"
seq 1 60000 >"$T/src/text"
for i in {1..40}; do
	seq "$i" 2000 >"$T/src/small-$i"
done
"$ASSETPACK" build --progress none --chunk-size 128K "$T/src" "$T/good:v1" >/dev/null

# fresh: an undamaged copy of the image
fresh() {
	rm -rf "$T/layout"
	cp -r "$T/good" "$T/layout"
	chmod -R u+w "$T/layout"
}

edit() {
	"$SUPPORT/edit_image.sh" "$image" "$@"
}

# chunk_of FILE: its first
chunk_of() {
	edit query "SELECT chunk FROM extent JOIN node USING (content) JOIN entry USING (ino)
		WHERE CAST(name AS TEXT) = '$1' ORDER BY offset LIMIT 1"
}

# reads WHAT FILE...: what is mounted has the bytes of these
reads() {
	local file
	for file in "${@:2}"; do
		cmp "$MNT/$file" "$T/src/$file" || fail "$1: '$file' has other bytes"
	done
}

# begin OPTION...: a daemon with these, and the image
begin() {
	start_daemon "$@"
	"$ASSETFS" mount "$image" "$MNT"
}

end() {
	"$ASSETFS" umount "$MNT"
	stop_daemon
}

note "what is not known, or does not go together, is refused"
expect_failure 2 "'crc' is not valid" "$ASSETFS" serve --store "$T/none" --local-check crc
expect_failure 2 "leave one out" "$ASSETFS" serve --store "$T/none" --local-check checksum --verify-key key.pub

note "a good image reads the same"
fresh
for check in digest checksum; do
	begin --local-check "$check"
	diff -r "$MNT" "$T/src"
	end
done
grep -q "compared with checksums" "$STORE/assetfs.log" || fail "the log does not say how chunks are checked"

note "damage gives EIO, whatever is compared"
for file in noise text; do
	fresh
	IFS='|' read -r pack at <<<"$(edit query "SELECT pack, frame_offset + frame_size / 2 FROM chunk WHERE chunk = $(chunk_of "$file")")"
	printf 'damage' | dd of="$(edit paths | sed -n "$((pack + 1))p")" bs=1 seek="$at" conv=notrunc status=none
	for check in digest checksum; do
		begin --local-check "$check"
		before=$(counter errors_total)
		expect_failure 1 "Input/output error" cat "$MNT/$file"
		(($(counter errors_total) > before)) || fail "no error is counted"
		reads "$check" small-1 small-40
		end
	done
done

note "an index that lies about a chunk is found by digests only"
fresh
edit sql "UPDATE chunk SET digest = zeroblob(32) WHERE chunk = $(chunk_of noise)"
begin
expect_failure 1 "Input/output error" cat "$MNT/noise"
reads digest text
end
begin --local-check checksum
reads checksum noise text
# Not where a signature is to count.
mkdir "$T/mnt2"
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 2>/dev/null | openssl pkey -pubout -out "$T/key.pub"
expect_failure 1 "this daemon has --local-check checksum" "$ASSETFS" mount --verify-key "$T/key.pub" "$image" "$T/mnt2"
end
