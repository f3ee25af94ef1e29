#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The kernel's copies of small listings go after a burst of fills, and are made again. They are a
# page each, charged to who has listed the directory.
. "$(dirname "$0")/../support/mount_lib.sh"

cat >"$T/cached.py" <<'END'
# Pages of the page cache that a file or a directory has: cachestat(2).
import ctypes, os, struct, sys

libc = ctypes.CDLL(None, use_errno=True)
fd = os.open(sys.argv[1], os.O_RDONLY)
whole = struct.pack("QQ", 0, 0)
stat = ctypes.create_string_buffer(40)
if libc.syscall(451, fd, whole, stat, 0) < 0:
    sys.exit(os.strerror(ctypes.get_errno()))
print(struct.unpack_from("Q", stat.raw)[0])
END
cached() {
	python3 "$T/cached.py" "$1"
}
cached "$T" >/dev/null 2>"$T/err" || skip "needs cachestat(2): $(cat "$T/err")"

mkdir -p "$T/src/small"
for i in {1..40}; do
	echo "$i" >"$T/src/small/file-$i"
done
noise 300000 >"$T/src/large"
"$ASSETPACK" build "$T/src" "$T/layout:v1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
"$ASSETFS" mount --small-files=off "$T/layout:v1" "$MNT"

# The kernel may drop a page before it is seen.
listed() {
	[[ $(find "$MNT/small" -type f | wc -l) == 40 ]] || fail "a listing is wrong"
	(($(cached "$MNT/small") > 0))
}
gone() {
	(($(cached "$MNT/small") == 0))
}

note "a listing is cached"
wait_for listed || fail "the kernel caches no listing"

note "it goes some quiet seconds after a fill"
cmp "$T/src/large" "$MNT/large" || fail "wrong bytes"
wait_for gone || fail "the listing stays"

note "names and attributes are right, and it is cached again"
wait_for listed || fail "the kernel caches no listing"
diff -r "$T/src" "$MNT" || fail "diff -r"
