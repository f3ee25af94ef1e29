#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: fuzz.sh BUILD_DIR SECONDS
#
# Run every fuzz target of a libFuzzer build for SECONDS, as many at once as there
# are processors. What they find new stays in BUILD_DIR/corpus; what breaks them
# stays in BUILD_DIR/crashes and belongs into tests/fuzz/corpus once it is fixed.
set -euo pipefail

build=$1
export seconds=$2 build
mkdir -p "$build/crashes"

fuzz_one() {
	local target=$1 name corpus dict=()
	name=$(basename "$target")
	corpus=$build/corpus/$name
	mkdir -p "$corpus"
	[[ ! -e tests/fuzz/dict/$name.dict ]] || dict=("-dict=tests/fuzz/dict/$name.dict")
	if "$target" -max_total_time="$seconds" -print_final_stats=1 -artifact_prefix="$build/crashes/$name-" \
		"${dict[@]}" "$corpus" "tests/fuzz/corpus/$name" >"$build/$name.log" 2>&1; then
		echo "ok      $name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$build/$name.log") runs"
	else
		echo "FAILED  $name:"
		tail -n 40 "$build/$name.log"
		return 1
	fi
}
export -f fuzz_one

find "$build/tests/fuzz" -maxdepth 1 -type f -name 'fuzz_*' -executable -print0 | sort -z |
	xargs -0 -r -P "$(nproc)" -n 1 bash -c 'fuzz_one "$1"' fuzz
[[ -n $(ls -d "$build"/corpus/* 2>/dev/null) ]] || {
	echo "fuzz.sh: no targets in $build/tests/fuzz" >&2
	exit 1
}
