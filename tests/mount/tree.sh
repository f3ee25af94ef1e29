#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A tree with everything that an image may hold comes back exactly: names, types,
# modes, links, sizes, bytes.
. "$(dirname "$0")/../support/mount_lib.sh"

src=$T/src
mkdir "$src"
cd "$src"

mkdir -p empty-dir deep/a/b/c/d/e/f many modes sizes sparse
touch empty
for size in 1 4095 4096 4097 65535 65536 65537 1048576 5000001; do
	noise "$size" >"sizes/$size"
done
head -c 300000 /dev/zero >sizes/zeros
seq 1 200000 >sizes/text
# Sparse, above 4 GiB, with bytes on both sides of the 32-bit border and at the end.
truncate -s 4294971393 sparse/file
printf 'start' | dd of=sparse/file conv=notrunc status=none
printf 'border' | dd of=sparse/file bs=1 seek=4294967293 conv=notrunc status=none
printf 'end' | dd of=sparse/file bs=1 seek=4294971390 conv=notrunc status=none
for mode in 0000 0400 0444 0555 0600 0644 0711 0755 0777; do
	echo "$mode" >"modes/f$mode"
	chmod "$mode" "modes/f$mode"
	mkdir "modes/d$mode"
	chmod "$mode" "modes/d$mode"
done
mkdir modes/sticky
chmod 1777 modes/sticky
ln -s ../sizes/4096 deep/link
ln -s does/not/exist dangling
ln -s / absolute
ln -s "$(printf 'x%.0s' {1..4095})" long-target
echo shared >hard1
ln hard1 deep/hard2
ln hard1 many/hard3
cp sizes/5000001 deep/a/copy
name255=$(printf 'n%.0s' {1..255})
echo long >"$name255"
echo latin1 >"$(printf 'caf\xe9')"
echo bytes >"$(printf 'all\x01\x02\x7f\x80\xfe\xff bytes')"
printf 'newline' >"$(printf 'new\nline')"
echo space >' leading and trailing '
echo glob >'*?[a]\"'\'
echo dash >-rf
echo utf8 >'日本語-ключ'
for i in {1..5000}; do
	echo "file $i" >"many/entry-$i"
done
find . -exec touch -h -d '2001-02-03 04:05:06.789' {} +
cd - >/dev/null

note "pack and mount"
"$ASSETPACK" build "$src" "$T/layout:v1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
"$ASSETFS" mount "$T/layout:v1" "$MNT"

note "metadata"
# Owner and times are not kept by default (format.md §4.4); sizes of directories are a file system's own affair.
metadata() {
	(cd "$1" && find . -mindepth 1 \( -type d -printf '%y %m %n d %P\0' \) -o -printf '%y %m %n %s %P -> %l\0') | sort -z
}
metadata "$src" >"$T/want"
metadata "$MNT" >"$T/got"
cmp "$T/want" "$T/got" || fail "$(diff <(tr '\0' '\n' <"$T/want") <(tr '\0' '\n' <"$T/got") | head -n 20)"
check_eq "owners and times" "$(find "$MNT" -printf '%U %G %T@\n' | sort -u)" "0 0 0.0000000000"
check_eq "entries of a large directory" "$(find "$MNT/many" -mindepth 1 | wc -l)" 5001
check_eq "hard links are one inode" "$(stat -c %i "$MNT/hard1" "$MNT/deep/hard2" "$MNT/many/hard3" | sort -u | wc -l)" 1

note "bytes"
diff -r --no-dereference --exclude=sparse "$src" "$MNT" || fail "diff -r"
(cd "$src" && find . -type f ! -path './sparse/*' -exec sha256sum {} +) >"$T/sums"
(cd "$MNT" && sha256sum --quiet -c "$T/sums") || fail "sha256sum"
for dir in deep many modes sizes; do
	"$READER" --ways read,shared "$MNT/$dir" "$src/$dir" >"$T/reader" || fail "$(cat "$T/reader")"
done

note "bytes of a sparse file"
# Not all of its pages are mapped: they would take 4 GiB of memory.
cat >"$T/ends.py" <<'EOF'
import mmap, sys
with open(sys.argv[1], "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as map:
    for at in 0, 1 << 20, (1 << 32) - 4096, (1 << 32) - 1, len(map) - 4096:
        sys.stdout.buffer.write(map[at:at + 4096])
EOF
python3 "$T/ends.py" "$src/sparse/file" >"$T/want"
python3 "$T/ends.py" "$MNT/sparse/file" >"$T/got"
cmp "$T/want" "$T/got" || fail "mapping"
"$READER" --ways random "$MNT/sparse" "$src/sparse" >"$T/reader" || fail "$(cat "$T/reader")"
cmp "$src/sparse/file" "$MNT/sparse/file" || fail "cmp"

note "a second look from cold kernel caches"
echo 2 >/proc/sys/vm/drop_caches
metadata "$src" >"$T/want"
metadata "$MNT" >"$T/got"
cmp "$T/want" "$T/got" || fail "metadata differs the second time"

note "nothing can be changed"
for change in "touch $MNT/new" "rm $MNT/empty" "chmod 600 $MNT/empty" "mkdir $MNT/d" "truncate -s 0 $MNT/sizes/text" \
	"ln $MNT/empty $MNT/other" "mv $MNT/empty $MNT/other"; do
	if $change 2>"$T/stderr"; then
		fail "'$change' works on a read-only file system"
	fi
	grep -q 'Read-only file system' "$T/stderr" || fail "'$change': $(cat "$T/stderr")"
done

"$ASSETFS" umount "$MNT"
