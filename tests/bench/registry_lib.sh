# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Sourced by measurements with a registry, Debian's docker-registry, on this machine: before bench_lib.sh, for outside of the
# namespaces the cache directory is locked while it is filled, and after it, for the functions.

if [[ -z ${ASSETFS_TEST_INSIDE:-} ]]; then
	REGISTRY=$(XDG_CACHE_HOME=${CACHE%/*} "${SUPPORT:?}/fetch_package.sh" docker-registry)/usr/bin/docker-registry || exit 1
	export REGISTRY
fi

# start_registry: at $real; its storage is in $T/real/store
start_registry() {
	mkdir -p "$T/real/store"
	cat >"$T/real/config.yml" <<-END
		version: 0.1
		log: {level: info, accesslog: {disabled: true}}
		storage: {filesystem: {rootdirectory: $T/real/store}}
		http: {addr: '127.0.0.1:0'}
	END
	"$REGISTRY" serve "$T/real/config.yml" >"$T/real/out" 2>&1 &
	registry=$!
	wait_for grep -qs 'listening on' "$T/real/out" || fail "$(cat "$T/real/out")"
	real=127.0.0.1:$(sed -n 's/.*listening on 127.0.0.1:\([0-9]*\).*/\1/p' "$T/real/out")
}

# stop_registry: and remove what it has
stop_registry() {
	kill "$registry"
	wait "$registry" || true
	rm -r "$T/real"
}

# far_link MBIT RTT: a link to the registry, at $far; far_link_ends ends it
far_link() {
	rm -f "$T/link"
	python3 "$SUPPORT/far_link.py" "${real#*:}" "$1" "$2" "$T/link" &
	link=$!
	wait_for test -e "$T/link" || fail "no link"
	far=127.0.0.1:$(<"$T/link")
}

far_link_ends() {
	kill "$link"
	wait "$link" || true
}

# stored: bytes of all blobs in the registry's storage
stored() {
	find "$T/real/store" -path '*/v2/blobs/*' -name data -printf '%s\n' | awk '{ n += $1 } END { printf "%.0f\n", n }'
}
