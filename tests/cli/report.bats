#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What a build tells the next step of a pipeline, and what it refuses.
# shellcheck disable=SC2030,SC2031,SC2154
load lib

make_platforms() {
	mkdir -p src amd64 arm64
	noise 2000000 >src/common
	cp src/common src/copy
	noise 300000 >amd64/program
	noise 300000 >arm64/program
}

build_platforms() {
	"$ASSETPACK" build -p linux/amd64=amd64 -p linux/arm64=arm64 "$@" src ./layout:v1
}

@test "metadata has buildx's keys and our sizes" {
	make_platforms
	digest=$(build_platforms --progress none --metadata-file meta.json)
	[[ $(jq -r '.["containerimage.digest"]' meta.json) == "$digest" ]]
	[[ $(jq -r '.["image.name"]' meta.json) == ./layout:v1 ]]
	jq -e --arg digest "$digest" --argjson size "$(stat -c %s "$(blob_of layout "$digest")")" '
		.["containerimage.descriptor"] == {mediaType: "application/vnd.oci.image.index.v1+json", digest: $digest, size: $size}' meta.json
	blobs=$(find layout/blobs/sha256 -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum }')
	jq -e --argjson blobs "$blobs" '.["assetpack.stats"]
		| .input_bytes == 4600000 and .unique_bytes == 2600000 and .stored_bytes == $blobs
		and .upload_bytes == $blobs and .chunks == .new_chunks and .reused_chunks == 0
		and .shared_bytes > 2000000 and .shared_bytes < 2100000 and .separate_bytes > .stored_bytes + 1999000
		and (.dedup_ratio * 100 | floor) == 176 and .duration_ms >= 0 and (has("base") | not)' meta.json
	jq -e '.["assetpack.stats"].platforms
		| map(.platform) == ["linux/amd64", "linux/arm64"] and all(.files == 3 and .input_bytes == 4300000
		and .update_bytes == .stored_bytes and .new_chunks == .chunks and .unique_bytes == 2300000)' meta.json
	[[ $(jq -r '.["assetpack.stats"].platforms[1].descriptor.digest' meta.json) == \
		$("$ASSETPACK" inspect --json ./layout:v1 | jq -r '.images[1].digest') ]]
	[[ $(stat -c %a meta.json) == 644 && -z $(find . -maxdepth 1 -name '.tmp-*') ]]
}

@test "metadata compares with what the tag named before" {
	make_platforms
	base=$(build_platforms --progress none)
	build_platforms --progress none --metadata-file same.json
	jq -e --arg base "$base" '.["assetpack.stats"]
		| .base == $base and .upload_bytes == 0 and .update_bytes == 0 and .new_chunks == 0
		and all(.platforms[]; .update_bytes == 0 and .reused_chunks == .chunks)' same.json
	noise 500000 >arm64/program
	build_platforms --progress none --metadata-file other.json
	jq -e '.["assetpack.stats"]
		| (.platforms[0] | .new_chunks == 0 and .update_bytes == 0)
		and (.platforms[1] | .new_chunks > 0 and .update_bytes > 500000)
		and .update_bytes == .platforms[1].update_bytes
		and .new_chunks == .platforms[1].new_chunks
		and .new_chunks + .reused_chunks == .chunks' other.json
	# What is to be uploaded: blobs that no platform had.
	"$ASSETPACK" inspect --json ./layout:v1 | jq -e --slurpfile meta other.json --argjson index \
		"$(jq '.["containerimage.descriptor"].size' other.json)" '
		.images[1] as $new | [.images[0].layers[].digest] as $had
		| [$new.size, $new.configBlob.size, ($new.layers[] | select(.digest as $d | $had | index($d) | not).size), $index] | add
		== $meta[0]["assetpack.stats"].upload_bytes'
}

@test "a metadata file that cannot be made fails before the build" {
	make_platforms
	mkdir dir
	expect_error 1 "'missing/meta'" build --metadata-file missing/meta src ./layout
	expect_error 1 "'dir' is not a regular file" build --metadata-file dir src ./layout
	expect_error 1 "'dir/' is no file name" build --metadata-file dir/ src ./layout
	expect_error 1 "'/dev/null' is not a regular file" build --metadata-file /dev/null src ./layout
	[[ ! -e layout && -c /dev/null ]]
	echo old >meta
	chmod 600 meta
	build --metadata-file meta src ./layout
	jq -e . meta
}

@test "progress as JSON: every line an object with time and event" {
	make_platforms
	mkfifo "src/$(printf 'p\xefpe')"
	run -0 --separate-stderr build_platforms --progress json
	[[ $output =~ ^sha256:[0-9a-f]{64}$ ]]
	printf '%s\n' "${stderr_lines[@]}" >events
	jq -es 'all(.[]; (.ts | test("^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}[.][0-9]{3}Z$")) and (.event | IN("progress", "warning", "done", "info")))' events
	[[ $(jq -r 'select(.event == "warning").message' events) == "'p\357pe' is left out: it is a pipe" ]]
	jq -es '[.[] | select(.event == "progress" and .phase == "pack")]
		| length >= 2 and .[0].done == 0 and .[-1].done == .[-1].total' events
	[[ $(jq -r 'select(.event == "progress").phase' events | uniq | tr '\n' ' ') == "walk hash pack publish " ]]
	[[ $(jq -r 'select(.event == "done").digest' events) == "$output" ]]
	[[ $(tail -n 1 events | jq -r .event) == "done" ]]
}

@test "errors as JSON" {
	run -1 --separate-stderr "$ASSETPACK" build --progress json missing ./layout
	[[ -z $output && $(jq -r .event <<<"$stderr" | tr '\n' ' ') == "progress error " ]]
	jq -es '.[-1].message == "'"'missing': No such file or directory"'"' <<<"$stderr"
}

@test "GitHub: summary, output and annotations" {
	make_platforms
	mkfifo src/pipe
	echo before >summary.md
	export GITHUB_STEP_SUMMARY=$T/summary.md GITHUB_OUTPUT=$T/output GITHUB_ACTIONS=true
	run -0 --separate-stderr build_platforms --progress none
	[[ $output =~ ^sha256:[0-9a-f]{64}$ ]]
	[[ $stderr == *$'\n'"::warning::'pipe' is left out: it is a pipe" ]]
	[[ $(cat output) == "digest=$output" ]]
	[[ $(head -n 1 summary.md) == before ]]
	[[ $(grep -c '^| linux/a' summary.md) == 2 && $(grep '^| \*\*total' summary.md) == *"$output"* ]]
	[[ $(cat summary.md) != *"new since base"* ]]
	build_platforms --progress none
	[[ $(cat summary.md) == *"new since base | with deltas"* ]]
	# All rows of a table have as many cells.
	[[ $(grep '^|' summary.md | tail -n 5 | tr -cd '|\n' | sort -u | wc -l) == 1 ]]
	run -1 --separate-stderr "$ASSETPACK" build "$(printf 'no%%\nsuch')" ./layout
	[[ $stderr == *'::error::'*'no%25%0Asuch'* ]]
	unset GITHUB_ACTIONS
	expect_error 1 "no-such" build no-such ./layout
	rm src/pipe
	export GITHUB_OUTPUT=$T/missing/output
	expect_error 1 "missing/output" build src ./other
}

@test "names in the summary are text, not Markdown" {
	mkdir src
	export GITHUB_STEP_SUMMARY=$T/summary.md
	build src "oci:a|b<i>"
	grep -qxF '### Assets a&#124;b&#60;i&#62;:latest' summary.md
}

@test "an update above the limit leaves the tag, and names the files" {
	make_platforms
	# Without an image before there is no update.
	first=$(build_platforms --progress none --max-update 1)
	noise 700000 >arm64/large
	noise 200000 >src/small
	run -4 --separate-stderr build_platforms --progress none --max-update 800K
	[[ -z $output && ${#stderr_lines[@]} -ge 3 ]]
	[[ ${stderr_lines[0]} =~ KiB\ \ new\ +large$ && $stderr == *"new "*" small"* ]]
	[[ ${stderr_lines[-1]} == "assetpack: the update of linux/arm64 is "*", above the limit of 800.0 KiB; the tag still names the image before" ]]
	[[ $("$ASSETPACK" inspect --json ./layout:v1 | jq -r .digest) == "$first" ]]
	"$ASSETPACK" gc ./layout
	"$ASSETPACK" verify ./layout:v1
	second=$(build_platforms --progress none --max-update 40M)
	[[ $("$ASSETPACK" inspect --json ./layout:v1 | jq -r .digest) == "$second" && $second != "$first" ]]
	# Nothing new is within any limit, and so is a platform that nobody has yet.
	[[ $(build_platforms --progress none --max-update 0) == "$second" ]]
	mkdir riscv64
	noise 900000 >riscv64/program
	build -p linux/amd64=amd64 -p linux/riscv64=riscv64 --max-update 100K src ./layout:v1
}

@test "a limit that only one platform exceeds names that one" {
	make_platforms
	build_platforms --progress none
	noise 900000 >amd64/program
	run -4 --separate-stderr build_platforms --progress none --max-update 500K
	[[ $stderr == *"update of linux/amd64"* ]]
}

@test "stat says what separate images would cost" {
	make_platforms
	build_platforms --progress none
	all=$(find layout/blobs/sha256 -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum }')
	separate=$("$ASSETPACK" inspect --json ./layout:v1 | jq '[.images[] | .size, .configBlob.size, .layers[].size] | add')
	run -0 "$ASSETPACK" stat ./layout:v1
	grep -qE "^  all blobs +$all  " <<<"$output"
	grep -qE "^  separate images +$separate  " <<<"$output"
	grep -qE "^  saved +$((separate - all))  " <<<"$output"
	run -0 "$ASSETPACK" stat --platform linux/amd64 ./layout:v1
	[[ $output != *"separate images"* ]]
}
