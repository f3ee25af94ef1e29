# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# A real registry on this machine, with a stub in front that makes faults. Loaded by tests that talk to one.

# shellcheck disable=SC1091
load lib

# start_registry DIR [LINE]...: a registry of its own, with these lines of YAML in its configuration.
# Leaves its port in DIR/port and its storage in DIR/store.
start_registry() {
	local dir=$1
	shift
	mkdir -p "$dir"
	{
		echo "version: 0.1"
		echo "log: {level: info, accesslog: {disabled: true}}"
		echo "storage: {filesystem: {rootdirectory: $dir/store}, delete: {enabled: true}}"
		printf '%s\n' "$@"
	} >"$dir/config.yml"
	[[ $* == *http:* ]] || echo "http: {addr: '127.0.0.1:0'}" >>"$dir/config.yml"
	"$REGISTRY" serve "$dir/config.yml" >"$dir/out" 2>&1 3>&- &
	echo $! >>"$BATS_FILE_TMPDIR/pids"
	wait_until grep -q 'listening on' "$dir/out" || {
		cat "$dir/out" >&2
		return 1
	}
	sed -n 's/.*listening on 127.0.0.1:\([0-9]*\).*/\1/p' "$dir/out" >"$dir/port"
}

# start_stub PORT DIR: in front of the registry at PORT
start_stub() {
	mkdir -p "$2"
	: >"$2/faults"
	: >"$2/log"
	python3 "$SUPPORT/registry_stub.py" "$1" "$2" 3>&- &
	echo $! >>"$BATS_FILE_TMPDIR/pids"
	wait_until test -e "$2/port"
}

# wait_until COMMAND...: half a minute ends what hangs
wait_until() {
	local i
	for ((i = 0; i < 600; i++)); do
		"$@" && return
		sleep 0.05
	done
	return 1
}

# What a file ends with.
teardown_file() {
	local pid
	[[ -e $BATS_FILE_TMPDIR/pids ]] || return 0
	while read -r pid; do
		kill "$pid" 2>/dev/null || true
	done <"$BATS_FILE_TMPDIR/pids"
}

# What a file begins with, while HOME is still where packages are kept.
get_registry() {
	REGISTRY=$("$SUPPORT/fetch_package.sh" docker-registry)/usr/bin/docker-registry
	export REGISTRY
}

# As that, in the file's directory, with a registry in real/ and a stub in front of it in stub/.
begin_with_stub() {
	get_registry
	cd "$BATS_FILE_TMPDIR" || return 1
	start_registry "$PWD/real"
	start_stub "$(<real/port)" "$PWD/stub"
}

# push_game: an image of which a pack has 700 kB, ./src:r, goes to the registry in real/ as game:r.
push_game() {
	mkdir tree
	noise 700000 >tree/large
	seq 1 20000 >tree/text
	build tree ./src:r
	push ./src:r "127.0.0.1:$(<real/port)/game:r"
}

# Nothing of whoever runs the tests says who we are.
be_nobody() {
	begin
	unset REGISTRY_AUTH_FILE DOCKER_CONFIG XDG_RUNTIME_DIR SSL_CERT_FILE
	unset http_proxy https_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY
	export HOME=$T
}

# fault LINE...: the faults that are to come; the log begins anew
fault() {
	: >"$STUB/log"
	printf '%s\n' "$@" >"$STUB/faults"
}

# requests PATTERN: how many the stub has had since
requests() {
	grep -cE "$1" "$STUB/log" || true
}

# All faults that were asked for have happened.
all_happened() {
	! grep -q '^[^*]' "$STUB/faults" || {
		cat "$STUB/faults" "$STUB/log"
		return 1
	}
}

# copy OPTION... FROM TO: by another program
copy() {
	skopeo --insecure-policy copy -q --all --preserve-digests --src-tls-verify=false --dest-tls-verify=false "$@"
}

push() {
	"$ASSETPACK" push --progress none "$@"
}

pull() {
	"$ASSETPACK" pull --progress none "$@"
}

# digest_of LAYOUT TAG
digest_of() {
	jq -r --arg tag "$2" '.manifests[] | select(.annotations["org.opencontainers.image.ref.name"] == $tag).digest' "$1/index.json"
}

# layers LAYOUT TAG KIND: digests
layers() {
	"$ASSETPACK" inspect --json "./$1:$2" | jq -r --arg kind "$3" \
		'.images[].layers[] | select(.mediaType | contains("." + $kind + ".")).digest' | sort -u
}

# largest_pack: the largest pack of src:r, the layout in this file's directory: $pack, of $pack_size bytes
largest_pack() {
	pack=$(cd "$BATS_FILE_TMPDIR" && for name in $(layers src r pack); do
		echo "$(stat -c %s "src/blobs/sha256/${name#sha256:}") $name"
	done | sort -n | tail -n 1)
	# shellcheck disable=SC2034 # for those who call it
	pack_size=${pack% *}
	pack=${pack#* }
}

# stored DIR: bytes of all blobs in a registry's storage
stored() {
	find "$1/store" -path '*/v2/blobs/*' -name data -printf '%s\n' | awk '{ n += $1 } END { print n + 0 }'
}
