#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# trace record writes what was read, and nothing else, in order; an image with that trace is
# prefetched so that the same is read without its packs.
. "$(dirname "$0")/../support/mount_lib.sh"
expect_log 'what was recorded is lost: its mount is gone'

src=$T/src
mkdir -p "$src/dir"
# Larger than what open fills whole.
noise 40000000 >"$src/large"
noise 5000 >"$src/small"
noise 300000 >"$src/dir/held"
noise 100 >"$src/dir/opened"
noise 7000 >"$src/$(printf 'back\\slash\x01caf\xe9 \xc3\xa9')"
noise 9000 >"$src/other"
: >"$src/empty"
"$ASSETPACK" build --progress none "$src" "$T/layout:v1" >/dev/null

# use DIR FILE WAY...: WAYs are pread:OFFSET:LENGTH, fault:OFFSET and open; the kernel reads nothing ahead
cat >"$T/use" <<'PY'
import mmap, os, sys
root, expected, name, *ways = os.fsencode(sys.argv[1]), os.fsencode(sys.argv[2]), *map(os.fsencode, sys.argv[3:])
fd = os.open(os.path.join(root, name), os.O_RDONLY)
good = os.open(os.path.join(expected, name), os.O_RDONLY)
os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
for way in ways:
    what, *numbers = way.split(b":")
    if what == b"pread":
        off, length = map(int, numbers)
        got = os.pread(fd, length, off)
        assert len(got) > 0
    elif what == b"fault":
        off, length = int(numbers[0]), 1
        with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as m:
            m.madvise(mmap.MADV_RANDOM)
            got = m[off:off + 1]
    else:
        continue
    assert got == os.pread(good, length, off), way
PY

in_namespace_of() {
	nsenter --mount -t "$1" -- python3 "$T/use" "$MNT" "$src" "${@:2}"
}
other_namespace() {
	[[ $(readlink "/proc/$1/ns/mnt") != $(readlink /proc/self/ns/mnt) ]]
}

start_daemon --log-level info
"$ASSETFS" mount "$T/layout:v1" "$MNT"
# Two mount namespaces, each with a process that lives.
unshare --mount --propagation private sleep infinity &
a=$!
unshare --mount --propagation private sleep infinity &
b=$!
wait_for other_namespace "$a"
wait_for other_namespace "$b"

note "what cannot be recorded"
expect_failure 1 "it is not being recorded" "$ASSETFS" trace stop "$MNT"
expect_failure 1 "neither a mount point nor an image" "$ASSETFS" trace record "$T"
expect_failure 1 "directory of" "$ASSETFS" trace record -o "$T/none/trace" "$MNT"
expect_failure 1 "process 4194305" "$ASSETFS" trace record --pid 4194305 "$MNT"
expect_failure 2 "'x' is not a process id" "$ASSETFS" trace record --pid x "$MNT"
expect_failure 2 "usage" "$ASSETFS" trace begin "$MNT"
expect_failure 2 "usage" "$ASSETFS" trace stop --pid 1 "$MNT"

note "files and ranges, by two namespaces"
exec {held}<"$MNT/dir/held"
read -r -n 1 -u "$held" _ || true
cd "$T"
"$ASSETFS" trace record -o trace "$MNT"
cd /
expect_failure 1 "being recorded already" "$ASSETFS" trace record "$MNT"
check_eq "recorded" "$("$ASSETFS" status --json | jq '.mounts[0].recorded')" true
in_namespace_of "$a" small pread:0:5000
in_namespace_of "$a" large pread:1048576:8192 pread:1056768:100
in_namespace_of "$b" large fault:31457281 pread:1048576:4096
in_namespace_of "$a" dir/opened open
in_namespace_of "$b" empty open
in_namespace_of "$b" large open
in_namespace_of "$b" dir/held pread:4096:10
in_namespace_of "$b" "$(printf 'back\\slash\x01caf\xe9 \xc3\xa9')" pread:4096:1
in_namespace_of "$a" large fault:31457280 pread:2097151:2 pread:1040384:8192
[[ ! -e $T/trace ]] || fail "the trace is there before the end"
"$ASSETFS" trace stop "$MNT"
held_use="0 0 dir/held"
# Without passthrough its reads are seen.
[[ $("$FSSTAT" --json | jq .passthrough) == true ]] || held_use="4096 4096 dir/held"
diff -u - "$T/trace" <<END || fail "the trace is not what was read"
# assetfs trace 1
0 5000 small
1048576 12288 large
31457280 4096 large
0 0 dir/opened
$held_use
4096 2904 back\\134slash\\001caf\\351 é
2093056 8192 large
1040384 8192 large
END
exec {held}<&-
expect_failure 1 "it is not being recorded" "$ASSETFS" trace stop "$MNT"

note "afterwards files are passed through as before"
opens=$(counter open_hits_total)
cmp "$MNT/small" "$src/small"
((opens < $(counter open_hits_total))) || fail "the file is not complete"

note "one namespace"
"$ASSETFS" trace record --pid "$a" "$MNT"
in_namespace_of "$b" small pread:0:5000
in_namespace_of "$a" other pread:0:100
in_namespace_of "$b" other pread:8192:100
in_namespace_of "$b" dir/opened pread:0:100
"$ASSETFS" trace stop "$T/layout:v1" >"$T/one"
diff -u - "$T/one" <<END || fail "the trace is not what that namespace read"
# assetfs trace 1
0 4096 other
END
"$ASSETFS" trace record "$MNT"
"$ASSETFS" trace stop -o "$T/nothing" "$MNT"
check_eq "a trace of nothing" "$(cat "$T/nothing")" "# assetfs trace 1"

note "a mount that goes away, and a daemon that ends"
kill "$a" "$b"
wait "$a" "$b" || true
"$ASSETFS" trace record -o "$T/lost" "$MNT"
"$ASSETFS" umount "$MNT"
expect_failure 1 "neither a mount point nor an image" "$ASSETFS" trace stop "$MNT"
"$ASSETFS" mount "$T/layout:v1" "$MNT"
"$ASSETFS" trace record -o "$T/lost" "$MNT"
stop_daemon
[[ ! -e $T/lost ]] || fail "there is a trace of a mount that went away"

note "an image with the trace is filled so that its packs are not needed"
"$ASSETPACK" build --progress none --from none --trace "$T/trace" "$src" "$T/layout:v2" >/dev/null
start_daemon --log-level info
"$ASSETFS" mount --prefetch "$T/layout:v2" "$MNT"
"$ASSETFS" status --wait resident "$MNT"
decompressed=$(counter chunks_decompressed_total)
python3 "$T/use" "$MNT" "$src" small pread:0:5000
python3 "$T/use" "$MNT" "$src" dir/held pread:0:300000
python3 "$T/use" "$MNT" "$src" dir/opened pread:0:100
check_eq "chunks decompressed by reading" "$(counter chunks_decompressed_total)" "$decompressed"
# Opening the large file begins to fill the rest of it, which fails now; what was used is there.
for pack in $("$ASSETPACK" inspect --json "$T/layout:v2" | jq -r '.images[].layers[] | select(.mediaType | test("pack")) | .digest[7:]'); do
	truncate -s 0 "$T/layout/blobs/sha256/$pack"
done
python3 "$T/use" "$MNT" "$src" large pread:1048576:8192 pread:1056768:100 fault:31457281 pread:2097151:2 \
	pread:1040384:8192
expect_failure 1 "Input/output error" dd if="$MNT/large" of=/dev/null bs=4096 count=1 skip=5000 status=none
"$ASSETFS" umount "$MNT"
stop_daemon
