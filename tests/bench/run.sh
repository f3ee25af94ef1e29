#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: run.sh NAME...
#
# The measurements of these names, one after the other. Called by ./dev bench.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")

export SUPPORT=$here/../support RESULTS=$BUILD/bench.jsonl
for name in "$@"; do
	"$here/$name.sh"
	echo
done
echo "JSON lines of all runs: $RESULTS"
