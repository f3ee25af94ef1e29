#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What a push costs: the assets of a game for two architectures with its programs for each, then the next release of all, counted
# at the registry's storage against the bytes of the image's blobs, each once, and against what the build says that is to be uploaded of the update.
LIMIT=3600
# shellcheck source=registry_lib.sh
. "$(dirname "$0")/registry_lib.sh"
. "$(dirname "$0")/bench_lib.sh"
. "$(dirname "$0")/sets.sh"

GOAL=1.01

# build VERSION TAG OPTION...
build() {
	"$ASSETPACK" build --progress none --metadata-file "$T/metadata.json" "${@:3}" -p linux/amd64="$T/programs$1/amd64" \
		-p linux/arm64="$T/programs$1/arm64" "$T/shared$1" "$T/layout:$2" >"$T/out" 2>&1 || fail "build: $(tail -n 3 "$T/out")"
}

# push TAG: pushed has what the registry's storage grew by
push() {
	local before
	before=$(stored)
	"$ASSETPACK" push --progress none "$T/layout:$1" "$real/game:$1" >"$T/out"
	pushed=$(($(stored) - before))
}

# line WHAT BYTES OF
line() {
	local r
	r=$(ratio "$2" "$3" 4)
	printf '%-44s %13s %13s %8s %6s %4s\n' "$1" "$2" "$3" "$r" "$GOAL" "$(within "$r" "$GOAL")"
	record push --arg what "$1" --arg old "$(set_versions stk 1) $(set_versions bin 1)" --arg new "$(set_versions stk 2) $(set_versions bin 2)" \
		--argjson p "$2" --argjson o "$3" '{what: $what, old: $old, new: $new, pushed: $p, of: $o, ratio: ($p / $o)}'
}

stat_of() {
	jq -er ".\"assetpack.stats\".$1" "$T/metadata.json"
}

for version in 1 2; do
	unpack_set stk $version "$T/shared$version"
	unpack_set bin $version "$T/programs$version"
done
echo "Bytes that pushes add to the registry's storage"
printf '%-44s %13s %13s %8s %6s %4s\n' push stored "goal is for" ratio goal met
start_registry
build 1 1
cp -r "$T/layout" "$T/kept"
push 1
line "two platforms, to each blob once" "$pushed" \
	"$(image_blobs "$T/layout:1" | sort -u -k 2,2 | awk '{ n += $3 } END { printf "%.0f", n }')"
separate=$(stat_of 'platforms | map(.stored_bytes) | add')
echo "                                             (an image for each: $separate)"
build 2 2 --from "$T/layout:1" --no-deltas
push 2
line "next release, no deltas, to the update" "$pushed" "$(stat_of upload_bytes)"
stop_registry
rm -r "$T/layout"
mv "$T/kept" "$T/layout"
start_registry
push 1
build 2 2 --from "$T/layout:1"
push 2
line "next release, deltas too, to the update" "$pushed" "$(stat_of upload_bytes)"
stop_registry
