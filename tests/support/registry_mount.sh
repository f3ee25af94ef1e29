# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# A registry on this machine, with a stub in front that makes faults, for tests that mount. Sourced
# after mount_lib.sh. Sets HOST, what images in it are named by; REAL, the same without the stub; and STUB,
# the stub's directory.

export HOST REAL
STUB=$T/stub
registry=$("$SUPPORT/fetch_package.sh" docker-registry)/usr/bin/docker-registry
# Nothing of whoever runs the tests says who we are.
unset REGISTRY_AUTH_FILE DOCKER_CONFIG XDG_RUNTIME_DIR SSL_CERT_FILE
unset http_proxy https_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY
export HOME=$T

start_registry() {
	mkdir "$T/real"
	cat >"$T/real/config.yml" <<-END
		version: 0.1
		log: {level: info, accesslog: {disabled: true}}
		storage: {filesystem: {rootdirectory: $T/real/store}, delete: {enabled: true}}
		http: {addr: '127.0.0.1:0'}
	END
	"$registry" serve "$T/real/config.yml" >"$T/real/out" 2>&1 &
	wait_for grep -q 'listening on' "$T/real/out" || fail "the registry does not start: $(cat "$T/real/out")"
	REAL=127.0.0.1:$(sed -n 's/.*listening on 127.0.0.1:\([0-9]*\).*/\1/p' "$T/real/out")
	mkdir "$STUB"
	: >"$STUB/faults"
	: >"$STUB/log"
	: >"$STUB/sent"
	start_stub
	HOST=127.0.0.1:$(<"$STUB/port")
}

# start_stub [PORT]
start_stub() {
	rm -f "$STUB/port"
	python3 "$SUPPORT/registry_stub.py" "${REAL#*:}" "$STUB" "$@" &
	stub=$!
	wait_for test -e "$STUB/port" || fail "the stub does not start"
}

# The registry is gone, and comes back where it was.
registry_down() {
	kill "$stub"
	wait "$stub" || true
}

registry_up() {
	start_stub "${HOST#*:}"
}

# fault LINE...: the faults that are to come
fault() {
	printf '%s\n' "$@" >"$STUB/faults"
}

no_faults() {
	: >"$STUB/faults"
}

# Bytes of blobs that were sent since the last forget_sent.
sent_bytes() {
	awk '$2 ~ "/blobs/" { n += $1 } END { print n + 0 }' "$STUB/sent"
}

forget_sent() {
	: >"$STUB/sent"
}
