#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Run one test program and fail it if a sanitizer wrote a report.
#
# Criterion 2.4 judges a test before its worker process exits, so a
# LeakSanitizer report at exit leaves the test "passed" and the exit status 0.
set -eu
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
trap 'exit 143' INT TERM
export ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=1:strict_string_checks=1:log_path=$logs/asan"
export UBSAN_OPTIONS="${UBSAN_OPTIONS:-}:halt_on_error=1:print_stacktrace=1:log_path=$logs/ubsan"
status=0
"$@" || status=$?
for report in "$logs"/*; do
	[ -e "$report" ] || continue
	cat "$report" >&2
	status=99
done
exit "$status"
