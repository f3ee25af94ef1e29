#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The driver's help, version and manual page. All else is tests/pods/volumes.sh.
# shellcheck disable=SC2154
load lib

@test "the driver's help is on stdout and at most 80 columns wide" {
	run -0 --separate-stderr "$ASSETFS_CSI" --help
	[[ -z $stderr && $output == "Usage: assetfs-csi"* ]]
	[[ $(awk '{ if (length > n) n = length } END { print n }' <<<"$output") -le 80 ]]
	[[ $("$ASSETFS_CSI" --version) =~ ^assetfs-csi\ [0-9]+\.[0-9]+\.[0-9]+$ ]]
}

@test "the driver's manual page names every option and every attribute" {
	page=$SOURCE_ROOT/docs/man/assetfs-csi.8.scd
	for option in $("$ASSETFS_CSI" --help | grep -o -- '--[a-z-]*'); do
		grep -qF -- "*$option*" "$page"
	done
	sed -n 's/^	{ "\([a-z]*\)", set_.*/\1/p' "$SOURCE_ROOT/container/csi/volume.c" >attributes
	[[ $(wc -l <attributes) == 7 ]]
	while read -r attribute; do
		grep -qx -- "\*$attribute\*" "$page"
	done <attributes
}
