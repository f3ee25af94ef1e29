#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What cannot work fails with one line that says why, and changes nothing.
# shellcheck disable=SC2154
load lib

@test "an unknown command is refused, and a near one proposed" {
	expect_error 2 "unknown command 'biuld', did you mean 'build'\?" "$ASSETPACK" biuld
	expect_error 2 "did you mean 'verify'\?" "$ASSETPACK" verfy
	expect_error 2 "'assetpack --help'" "$ASSETPACK" frobnicate
	run -2 --separate-stderr "$ASSETPACK"
	[[ -z $output && $stderr == Usage:* ]]
}

@test "wrong options and arguments are a usage error" {
	mkdir src
	for arguments in "--no-such-option src ./l" "--from x src ./l" "--metadata-file" \
		"--max-update lots src ./l" "--level 0 src ./l" "--level 20 src ./l" "--level x src ./l" "-j 0 src ./l" \
		"--chunk-size 3K src ./l" "--chunk-size 8M src ./l" "--chunk-size 65000 src ./l" "-p linux/amd64 src ./l" \
		"-p linux=src src ./l" "-p linux/amd64=src -p linux/amd64=src src ./l" "--progress loud src ./l" "src" \
		"src ./l more" "src l" "--level"; do
		# shellcheck disable=SC2086
		expect_error 2 . "$ASSETPACK" build $arguments
	done
	[[ ! -e l ]]
	for command in ls tree cat extract stat verify inspect diff gc; do
		expect_error 2 "wants" "$ASSETPACK" "$command"
		expect_error 2 "unrecognized option" "$ASSETPACK" "$command" --no-such-option ./l
		expect_error 2 . "$ASSETPACK" "$command" --platform linux ./l x
	done
}

@test "sources that cannot be read are named" {
	expect_error 1 "'missing'.*No such file" build missing ./layout
	echo x >file
	expect_error 1 "'file'.*Not a directory" build file ./layout
	mkdir src
	expect_error 1 "'nowhere'" build -p linux/amd64=nowhere src ./layout
	[[ ! -e layout ]]
}

@test "a file that cannot be read fails the build, and is named" {
	mkdir -p src/dir
	echo x >src/dir/secret
	chmod 0 src/dir/secret
	chmod a+x .
	mkdir -m 777 theirs
	cp "$ASSETPACK" theirs/assetpack
	as_nobody=()
	((EUID != 0)) || as_nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups)
	expect_error 1 "'dir/secret'.*Permission denied" "${as_nobody[@]}" \
		./theirs/assetpack build --progress none src ./theirs/layout
	[[ ! -e theirs/layout ]]
}

@test "layouts that are none are refused" {
	mkdir -p src full/of/things
	expect_error 1 "'./full'" build src ./full
	expect_error 1 "'./missing'" "$ASSETPACK" ls ./missing
	expect_error 3 "'./full'" "$ASSETPACK" ls ./full
	mkdir none
	echo '{"imageLayoutVersion":"1.0.0"}' >none/oci-layout
	expect_error 3 "none" "$ASSETPACK" verify ./none:v1
}

@test "a directory that is no layout keeps all its files" {
	mkdir src theirs
	echo precious >theirs/.tmp-precious
	echo x >theirs/.tmp-0123456789abcdef
	expect_error 1 "'./theirs'.*neither empty" build src ./theirs
	[[ $(cat theirs/.tmp-precious) == precious && -e theirs/.tmp-0123456789abcdef ]]
	rm theirs/.tmp-precious
	build src ./theirs
	[[ ! -e theirs/.tmp-0123456789abcdef ]]
	echo precious >theirs/.tmp-precious
	build src ./theirs
	[[ $(cat theirs/.tmp-precious) == precious ]]
}

@test "a long path leaves room for the reason" {
	long=$(printf '/%0200d' 1 2 3)
	expect_error 1 "'./$(printf '%050d' 0).*\.\.\.: No such file or directory$" "$ASSETPACK" ls ".$long"
}

@test "a pack that cannot be written is said of the layout, and leaves nothing behind" {
	mkdir src
	echo x >src/file
	build src ./layout:v1
	cp layout/index.json before
	noise 4000000 >src/random
	# shellcheck disable=SC2016
	expect_error 1 "'./layout': pack could not be written: File too large" \
		bash -c 'trap "" XFSZ; ulimit -f 1000; exec "$0" "$@"' "$ASSETPACK" build --progress none src ./layout:v1
	cmp before layout/index.json
	[[ -z $(find layout -name '.tmp-*') ]]
}

@test "a tag that is missing is an error that lists those there are" {
	mkdir src
	build src ./layout:here
	for command in ls tree stat verify inspect; do
		expect_error 1 "here" "$ASSETPACK" "$command" ./layout:there
	done
	expect_error 1 "here" "$ASSETPACK" extract ./layout:there out
	[[ ! -e out ]]
}

@test "a layout inside its source is refused before anything is made" {
	mkdir -p src/sub
	expect_error 1 "inside" build src ./src/layout
	expect_error 1 "inside" build src ./src/sub/new/layout
	expect_error 1 "inside" build . ./layout
	[[ -z $(find src -name 'layout*') && ! -e layout ]]
}

@test "messages escape what a terminal would obey" {
	mkdir src
	build src ./layout
	expect_error 1 'no .bad\\033\[31m\\012name.' "$ASSETPACK" cat ./layout "$(printf 'bad\e[31m\nname')"
}
