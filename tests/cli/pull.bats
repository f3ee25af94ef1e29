#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Images are copied between layouts, by deltas where they cost less.
# shellcheck disable=SC2154
load ../fault/fault_lib

# ./src with a release of t1, pulled to ./dst; then one of t2, which has deltas, to the same tag.
with_update() {
	mkdir t1 t2
	noise "${1:-1000000}" >t1/large
	seq 1 60000 >t1/text
	sed '0~20s/$/x/' t1/text >t2/text
	echo new >t2/new
	# A byte of every 500 is another: chunks have nothing in common, deltas are small.
	python3 -c 'import sys
b = bytearray(open("t1/large", "rb").read())
for i in range(0, len(b), 500): b[i] ^= 1
open("t2/large", "wb").write(b)'
	build t1 ./src:base
	build t1 ./src:r
	quiet_pull
	old=$(digest_of dst r)
	build t2 ./src:r
	new=$(digest_of src r)
	full=$(layers src r pack | xargs -I{} stat -c %s src/blobs/sha256/{} | awk "{ n += \$1 } END { print n }")
	[[ -n $(layers src r delta) ]]
}

# layers LAYOUT TAG KIND: digits of their digests
layers() {
	"$ASSETPACK" inspect --json "./$1:$2" | jq -r --arg kind "$3" \
		'.images[].layers[] | select(.mediaType | contains("." + $kind + ".")).digest[7:]'
}

quiet_pull() {
	"$ASSETPACK" pull --progress none ./src:r ./dst:r >/dev/null
}

# pull OPTION...: sets read_bytes and rebuilt_bytes
pull() {
	run -0 --separate-stderr "$ASSETPACK" pull --progress json "$@" ./src:r ./dst:r
	echo "$stderr"
	[[ $output == "sha256:$(digest_of src r | sed s/sha256://)" ]]
	read_bytes=$(jq -r 'select(.event == "done").read_bytes' <<<"$stderr")
	rebuilt_bytes=$(jq -r 'select(.event == "done").rebuilt_bytes' <<<"$stderr")
}

# whole TREE: what ./dst:r names has no fault, and is the tree
whole() {
	run -0 --separate-stderr "$ASSETPACK" verify ./dst:r
	rm -rf out
	"$ASSETPACK" extract ./dst:r out
	diff -r --no-dereference "$1" out
	[[ $(digest_of dst r) == "$(digest_of src r)" ]]
	no_leftovers dst
	for name in $(layers dst r pack); do
		cmp "src/blobs/sha256/$name" "dst/blobs/sha256/$name"
	done
}

@test "a copy has the same digests and files; a second pull reads nothing" {
	make_tree t1
	build t1 ./src:r
	pull
	((read_bytes > 0 && rebuilt_bytes == 0))
	whole t1
	same_tree t1 out
	pull
	[[ $read_bytes == 0 ]]
	run -0 --separate-stderr "$ASSETPACK" pull --progress plain ./src:r ./dst:other
	[[ $output == "$(digest_of dst r)" ]]
	[[ $stderr == "assetpack: read 0 B from './src:r'" ]]
	"$ASSETPACK" verify ./dst:other
	"$ASSETPACK" verify ./dst:r
}

@test "what is damaged or cut short in the destination is read again" {
	mkdir t1
	noise 300000 >t1/large
	build t1 ./src:r
	quiet_pull
	pack=dst/blobs/sha256/$(layers dst r pack)
	flip "$pack"
	pull
	[[ $read_bytes == "$(stat -c %s "$pack")" ]]
	whole t1
	chmod u+w "$pack"
	truncate -s -1 "$pack"
	pull
	whole t1
}

@test "an update is made from deltas, and is complete without them" {
	with_update
	pull
	((read_bytes < full / 10 && rebuilt_bytes > full / 2))
	whole t2
	[[ -z $stderr ]]
	rm "dst/blobs/sha256/$(layers dst r delta)"
	"$ASSETPACK" gc ./dst
	"$ASSETPACK" gc ./src
	whole t2
	[[ $stderr == *"1 of 1 deltas are not in this layout"* && ${#stderr_lines[@]} == 1 ]]
}

@test "deltas are copied when they are used, or asked for" {
	with_update
	rm -r dst
	pull
	[[ $rebuilt_bytes == 0 ]]
	[[ ! -e dst/blobs/sha256/$(layers src r delta) ]]
	whole t2
	pull --deltas
	cmp {src,dst}/blobs/sha256/"$(layers src r delta)"
	[[ $read_bytes == "$(stat -c %s "src/blobs/sha256/$(layers src r delta)")" ]]
}

@test "without all of the base packs are read in full" {
	with_update
	cp -r dst before
	for missing in "$(layers dst r pack | head -n 1)" "$(layers dst r index)" \
		"$("$ASSETPACK" inspect --json ./dst:r | jq -r '.images[0].digest[7:]')"; do
		rm -r dst
		cp -r before dst
		rm "dst/blobs/sha256/$missing"
		pull
		((read_bytes > full && rebuilt_bytes == 0))
		whole t2
	done
}

@test "a base that turns out to be damaged costs the pack in full" {
	with_update
	flip "dst/blobs/sha256/$(layers dst r pack | head -n 1)"
	pull
	[[ $stderr == *"is read in full: delta "* ]]
	((read_bytes > rebuilt_bytes && read_bytes > full / 2))
	# verify would find what is wrong with the base.
	rm "dst/blobs/sha256/$(layers dst r delta)"
	whole t2
}

@test "another libzstd: packs are read in full, and one note says why" {
	with_update
	"$SUPPORT/edit_image.sh" src:r config '.compression.library = "libzstd 1.0.0"'
	pull
	((read_bytes > full && rebuilt_bytes == 0))
	[[ $(grep -c "another libzstd than" <<<"$stderr") == 1 ]]
	whole t2
}

@test "packs that were compressed in another way than the config says are read in full" {
	with_update
	"$SUPPORT/edit_image.sh" src:r config '.compression.level = 19'
	pull
	((rebuilt_bytes < full / 2))
	[[ $stderr == *"is read in full: "* ]]
	whole t2
}

@test "deltas that cost more than the packs are not read" {
	mkdir t1 t2
	noise 100000 >t1/file
	noise 100000 >t2/file
	build t1 ./src:base
	build --no-deltas t2 ./src:r
	"${ADD_DELTA:?}" src base r
	"$ASSETPACK" pull --progress none ./src:base ./dst:base
	pull
	[[ $rebuilt_bytes == 0 ]]
	[[ -z $(find dst -name "$(layers src r delta)") ]]
	whole t2
}

@test "a damaged, short or missing blob of the source is an error, and the tag stays" {
	with_update
	cp -r src good
	cp -r dst before
	for name in $(layers src r index) $(layers src r delta); do
		blob=src/blobs/sha256/$name
		rm -rf dst
		cp -r before dst
		flip "$blob"
		run --separate-stderr "$ASSETPACK" pull ./src:r ./dst:r
		echo "$stderr"
		[[ $status == 3 && -z $output && $stderr == *"'./src"*"${name:0:12}"* ]]
		[[ $(digest_of dst r) == "$old" ]]
		no_leftovers dst
		[[ ! -e dst/blobs/sha256/$name ]]
		truncate -s -1 "$blob"
		expect_error 3 "'./src.*${name:0:12}.* is damaged" "$ASSETPACK" pull --progress none ./src:r ./dst:r
		rm "$blob"
		[[ $name != "$(layers src r delta)" ]] || break # the next test
		expect_error 1 "'./src.*${name:0:12}.* is missing" "$ASSETPACK" pull --progress none ./src:r ./dst:r
		[[ $(digest_of dst r) == "$old" ]]
		cp "good/blobs/sha256/$name" "$blob"
	done
	"$ASSETPACK" verify ./dst:r
	rm -r dst
	name=$(layers src r pack | head -n 1)
	flip "src/blobs/sha256/$name"
	expect_error 3 "'./src:r': damaged: pack '${name:0:12}'" "$ASSETPACK" pull --progress none ./src:r ./dst:r
	no_leftovers dst
	expect_error 1 "no image tagged 'r'" "$ASSETPACK" verify ./dst:r
}

@test "a source without the deltas gives packs, and an error to who wants deltas" {
	with_update
	name=$(layers src r delta)
	rm "src/blobs/sha256/$name"
	expect_error 1 "'./src': blob ${name:0:12} is missing" "$ASSETPACK" pull --progress none --deltas ./src:r ./dst:r
	[[ $(digest_of dst r) == "$old" ]]
	rm "dst/blobs/sha256/$(layers src r pack | head -n 1)"
	pull
	((read_bytes > 0 && rebuilt_bytes == 0))
	run -0 "$ASSETPACK" verify ./dst:r
}

@test "killed at every write: the old image is whole, the next pull works" {
	local n status
	with_update 300000
	cp -r dst before
	for ((n = 1; ; n += STEP)); do
		rm -rf dst
		cp -r before dst
		status=0
		with_fault write,name dst "$n" kill "$ASSETPACK" pull --progress none ./src:r ./dst:r >pulled || status=$?
		[[ -e faults ]] || break
		[[ $status == 137 && ! -s pulled ]]
		[[ " $old $new " == *" $(digest_of dst r) "* ]]
		"$ASSETPACK" verify ./dst:r
		quiet_pull
		whole t2
	done
	[[ $status == 0 ]]
	((n > 15))
}

@test "a disk that is full: one line, and the old image is whole" {
	local n status
	with_update 300000
	cp -r dst before
	for ((n = 1; ; n += STEP)); do
		rm -rf dst
		cp -r before dst
		status=0
		with_fault write,name dst "$n" ENOSPC "$ASSETPACK" pull --progress none ./src:r ./dst:r >out.txt 2>err || status=$?
		[[ -e faults ]] || break
		[[ $status == 1 && ! -s out.txt && $(wc -l <err) == 1 ]]
		grep -q "'./dst.*No space left" err
		no_leftovers dst
		[[ $(digest_of dst r) == "$old" ]]
		"$ASSETPACK" verify ./dst:r
	done
	((n > 15))
}

@test "what a power cut may undo is undone in the right order" {
	with_update 300000
	rm "dst/blobs/sha256/$(layers dst r pack | head -n 1)"
	REPEAT=1 with_fault write,sync,name,from dst 1 log "$ASSETPACK" pull --progress none --deltas ./src:r ./dst:r
	right_order
	[[ $switches == 1 ]] && ((renamed >= 6))
	# Of these packs, too, that are made from deltas.
	"$ASSETPACK" pull --progress none ./src:base ./new:r
	REPEAT=1 with_fault write,sync,name,from new 1 log "$ASSETPACK" pull ./src:r ./new:r 2>err
	grep "made from deltas" err
	right_order
	[[ $switches == 1 ]]
}

@test "of one platform only the index and packs are copied" {
	mkdir t1 amd64 arm64
	noise 100000 >t1/common
	noise 200000 >amd64/program
	noise 300000 >arm64/program
	build -p linux/amd64=amd64 -p linux/arm64=arm64 t1 ./src:r
	pull --platform linux/arm64
	((read_bytes > 400000 && read_bytes < 450000))
	"$ASSETPACK" verify --platform linux/arm64 ./dst:r
	"$ASSETPACK" extract --platform linux/arm64 ./dst:r out
	cmp out/program arm64/program
	run -3 --separate-stderr "$ASSETPACK" verify --platform linux/amd64 ./dst:r
	"$ASSETPACK" gc ./dst
	"$ASSETPACK" verify --platform linux/arm64 ./dst:r
	pull --platform linux/arm64 --platform linux/amd64
	((read_bytes > 200000 && read_bytes < 250000))
	"$ASSETPACK" verify ./dst:r
	expect_error 1 "no image for linux/riscv64" "$ASSETPACK" pull --platform linux/riscv64 ./src:r ./new:r
	[[ ! -e new ]]
}

@test "platforms share packs that are made from deltas" {
	mkdir t1 t2 amd64 arm64
	noise 600000 >t1/common
	python3 -c 'b = bytearray(open("t1/common", "rb").read())
for i in range(0, len(b), 500): b[i] ^= 1
open("t2/common", "wb").write(b)'
	echo amd64 >amd64/program
	echo arm64 >arm64/program
	build -p linux/amd64=amd64 -p linux/arm64=arm64 t1 ./src:r
	quiet_pull
	build -p linux/amd64=amd64 -p linux/arm64=arm64 t2 ./src:r
	pull
	((rebuilt_bytes > 590000 && rebuilt_bytes < 700000 && read_bytes < 60000))
	"$ASSETPACK" verify ./dst:r
}

@test "command lines that are wrong" {
	mkdir t1
	build t1 ./src:r
	expect_error 2 "'assets:1' names no image in a registry" "$ASSETPACK" pull assets:1 ./dst
	expect_error 2 "wants FROM and IMAGE" "$ASSETPACK" pull ./src:r
	expect_error 2 "platform" "$ASSETPACK" pull --platform Linux ./src:r ./dst
	expect_error 2 "progress 'x'" "$ASSETPACK" pull --progress x ./src:r ./dst
	expect_error 1 "no image tagged 'other'" "$ASSETPACK" pull ./src:other ./dst
	expect_error 1 "'./none'" "$ASSETPACK" pull ./none ./dst
	[[ ! -e dst ]]
}
