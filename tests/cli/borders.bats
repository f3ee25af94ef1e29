#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What lies inside archives and pictures has the chunks that it has elsewhere.
# shellcheck disable=SC2154
load lib

stored_bytes() {
	"$ASSETPACK" stat "$1" | awk '$1 == "stored" { print $3 }'
}

@test "a loose file and the same one in archives are stored once" {
	mkdir -p src/loose
	for i in 1 2 3; do
		noise $((i * 700001)) >"src/loose/$i.bin"
	done
	build src ./layout:loose
	noise 5000 >src/readme
	python3 - <<-'PYTHON'
		import tarfile, zipfile
		with zipfile.ZipFile("src/pak.zip", "w", zipfile.ZIP_STORED) as pak:
		    for name in "readme", "loose/3.bin", "loose/1.bin", "loose/2.bin":
		        pak.write("src/" + name, name)
		with tarfile.open("src/pak.tar", "w") as pak:
		    for name in "loose/2.bin", "readme", "loose/3.bin":
		        pak.add("src/" + name, name)
	PYTHON
	build src ./layout:all
	# Beside the loose files: the small one four times, headers and padding.
	(($(stored_bytes ./layout:all) < $(stored_bytes ./layout:loose) + 30000))
	"$ASSETPACK" extract ./layout:all out
	diff -r src out
}

@test "a picture of which only the notes have changed is stored once" {
	mkdir src
	python3 - <<-'PYTHON'
		import random, struct, zlib
		def chunk(kind, data):
		    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
		pixels = random.Random(1).randbytes(1500000)
		def picture(name, note, end):
		    with open(name, "wb") as f:
		        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 700, 700, 8, 2, 0, 0, 0)))
		        f.write(chunk(b"tEXt", b"Comment\0" + note))
		        for i in range(0, len(pixels), 8192):
		            f.write(chunk(b"IDAT", pixels[i:i + 8192]))
		        f.write(chunk(b"tIME", end) + chunk(b"IEND", b""))
		picture("src/a.png", b"first", bytes(7))
		picture("src/b.png", b"another, longer note", bytes(range(7)))
	PYTHON
	build src ./layout
	(($(stored_bytes ./layout) < 1600000))
	"$ASSETPACK" extract ./layout out
	diff -r src out
}

@test "bytes of an archive that are not its members' stay as they are" {
	mkdir src
	noise 900000 >member
	python3 -c 'import zipfile
with zipfile.ZipFile("src/pak.zip", "w", zipfile.ZIP_DEFLATED) as pak:
    pak.write("member"); pak.comment = b"comment"'
	{ noise 400000; cat src/pak.zip; } >src/with-prefix
	head -c 600000 src/pak.zip >src/cut-short
	build src ./layout
	"$ASSETPACK" extract ./layout out
	diff -r src out
}
