# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Test data. Needs T, the test's own directory, except in setup_file of bats.

# noise BYTES: bytes that do not compress, to standard output: other ones for each call,
# the same ones in each run, so that what a test sees today it sees tomorrow.
noise() {
	local calls=${T:-$BATS_FILE_TMPDIR}/.noise n
	n=$(($(cat "$calls" 2>/dev/null || echo 0) + 1))
	echo "$n" >"$calls"
	head -c "$1" /dev/zero |
		openssl enc -aes-128-ctr -K 000102030405060708090a0b0c0d0e0f -iv "$(printf '%016x%016x' "$n" 0)"
}
