#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: fetch.sh MEASUREMENT...
#
# Download what the measurements need and the cache directory lacks: data sets, and peers that
# this system's release has not. Called by ./dev bench, as the user whose cache it is.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=sets.sh
. "$here/sets.sh"
# shellcheck source=peers.sh
. "$here/peers.sh"

for name in "$@"; do
	choose_sets "$name"
	for set in "${sets[@]}"; do
		! set_fits "$set" "${TMPDIR:-/var/tmp}" || fetch_set "$set"
	done
	[[ $name != pack_peers && $name != update ]] || fetch_peers
done
