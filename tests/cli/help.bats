#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Help, version, progress: what goes where, and how wide.
# shellcheck disable=SC2154
load lib

@test "help is on stdout and at most 80 columns wide" {
	for command in "" build ls tree cat extract stat verify inspect diff pull push gc; do
		# shellcheck disable=SC2086
		run -0 --separate-stderr "$ASSETPACK" $command --help
		[[ -z $stderr && $output == "Usage: assetpack"* ]]
		[[ $(awk '{ if (length > n) n = length } END { print n }' <<<"$output") -le 80 ]]
	done
	[[ $("$ASSETPACK" -h) == "$("$ASSETPACK" --help)" ]]
}

@test "help lists every command, and every command has help" {
	for command in $("$ASSETPACK" --help | sed -n 's/^  \([a-z]*\) .*/\1/p'); do
		[[ $("$ASSETPACK" "$command" -h) == "Usage: assetpack $command "* ]]
	done
	[[ $("$ASSETPACK" --help | grep -c '^  [a-z]') == 12 ]]
}

@test "version" {
	[[ $("$ASSETPACK" --version) =~ ^assetpack\ [0-9]+\.[0-9]+\.[0-9]+$ ]]
}

@test "the digest alone is on stdout, the summary on stderr" {
	make_tree src
	run -0 --separate-stderr "$ASSETPACK" build src ./layout
	[[ $output =~ ^sha256:[0-9a-f]{64}$ ]]
	[[ $stderr == *"files, "*"unique "*"image "*" MB/s"* ]]
	[[ $stderr == *"image index $output"* ]]
	[[ $(grep -vc '^assetpack: ' <<<"$stderr") == 0 ]]
	run -0 --separate-stderr "$ASSETPACK" build --progress none src ./layout
	[[ -z $stderr ]]
}

@test "the bar is for terminals only" {
	mkdir src
	noise 60000000 >src/large
	TERM=xterm run -0 script -qec "$ASSETPACK build --level 12 -j 1 src ./a" /dev/null
	[[ $output == *$'\r\e[K'*'% ['*']'*' left'* ]]
	TERM=dumb run -0 script -qec "$ASSETPACK build --level 12 -j 1 src ./b" /dev/null
	[[ $output != *$'\e'* ]]
	TERM=xterm run -0 --separate-stderr "$ASSETPACK" build src ./c
	[[ $stderr != *$'\e'* ]]
}

@test "the manual page names every option" {
	page=$SOURCE_ROOT/docs/man/assetpack.1.scd
	for command in build ls tree cat extract stat verify inspect diff pull push gc; do
		grep -q "\*assetpack $command\*" "$page"
		for option in $("$ASSETPACK" "$command" --help | grep -o -- '--[a-z-]*'); do
			grep -qF -- "*$option*" "$page"
		done
	done
}
