#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The five measurements of docs/migrating.md, one after the other.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
for name in sysv posix fork pipelines world; do
	"$here/migrate_$name.sh"
	echo
done
