#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Registries behind a proxy, as the environment says; the names of their hosts are known to the proxy alone.
# shellcheck disable=SC2154
load registry_lib

setup_file() {
	local dir=$BATS_FILE_TMPDIR
	get_registry
	cd "$dir" || return 1
	make_authority
	start_registry "$dir/plain"
	start_registry "$dir/tls" "http: {addr: '127.0.0.1:0', tls: {certificate: $dir/cert.pem, key: $dir/key.pem}}"
	mkdir proxy
	python3 "$SUPPORT/proxy.py" "$dir/proxy" 3>&- &
	echo $! >>"$dir/pids"
	wait_until test -e proxy/port
	mkdir tree
	noise 300000 >tree/large
	"$ASSETPACK" build --progress none tree ./src:r
	"$ASSETPACK" push --progress none ./src:r "127.0.0.1:$(<plain/port)/game:r"
	"$ASSETPACK" push --progress none --ca-file ca.pem ./src:r "127.0.0.1:$(<tls/port)/game:r"
}

# An authority, and what it says of registry.invalid.
make_authority() {
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=ca 2>/dev/null
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout other.key -out other.pem -days 2 -subj /CN=other 2>/dev/null
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out csr.pem -subj /CN=registry 2>/dev/null
	openssl x509 -req -in csr.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out cert.pem \
		-extfile <(echo subjectAltName=DNS:registry.invalid,IP:127.0.0.1) 2>/dev/null
}

setup() {
	be_nobody
	DIR=$BATS_FILE_TMPDIR
	SRC=$DIR/src
	rm -f "$DIR/proxy/user"
	: >"$DIR/proxy/log"
	PROXY=http://127.0.0.1:$(<"$DIR/proxy/port")
	PLAIN=registry.invalid:$(<"$DIR/plain/port")
	TLS=registry.invalid:$(<"$DIR/tls/port")
}

came_whole() {
	"$ASSETPACK" verify ./dst:r
	[[ $(digest_of dst r) == "$(digest_of "$SRC" r)" ]]
}

# asked PATTERN: how often the proxy was
asked() {
	grep -cE "$1" "$DIR/proxy/log" || true
}

@test "a registry with http is pulled from and pushed to through http_proxy" {
	http_proxy=$PROXY pull --plain-http "$PLAIN/game:r" ./dst:r
	came_whole
	(($(asked "^GET http://$PLAIN/v2/game/blobs/") >= 2))
	http_proxy=$PROXY push --plain-http "$SRC:r" "$PLAIN/copy:r"
	(($(asked "^PUT http://$PLAIN/v2/copy/") >= 2))
	rm -rf dst
	ALL_PROXY=$PROXY pull --plain-http "$PLAIN/copy:r" ./dst:r
	came_whole
}

@test "a registry with TLS is reached by CONNECT, and trusted by its own authority only" {
	HTTPS_PROXY=$PROXY pull --ca-file "$DIR/ca.pem" "$TLS/game:r" ./dst:r
	came_whole
	(($(asked "^CONNECT $TLS ") >= 1))
	[[ $(asked "^(GET|HEAD)") == 0 ]]
	https_proxy=$PROXY SSL_CERT_FILE=$DIR/ca.pem pull "$TLS/game:r" ./again:r
	https_proxy=$PROXY expect_error 1 "'$TLS/game': SSL certificate problem" pull "$TLS/game:r" ./none:r
	https_proxy=$PROXY SSL_CERT_FILE=$DIR/ca.pem expect_error 1 "certificate problem" pull --ca-file "$DIR/other.pem" "$TLS/game:r" ./none:r
	https_proxy=$PROXY expect_error 1 "certificate" pull --ca-file "$DIR/none.pem" "$TLS/game:r" ./none:r
	# Each has its own variable.
	http_proxy=$PROXY expect_error 1 "the name of the host is not known" pull --retries 0 --ca-file "$DIR/ca.pem" "$TLS/game:r" ./none:r
}

@test "no_proxy, and this machine, go without one" {
	http_proxy=$PROXY no_proxy=other,registry.invalid expect_error 1 "the name of the host is not known" \
		pull --retries 0 --plain-http "$PLAIN/game:r" ./dst:r
	http_proxy=$PROXY NO_PROXY='*' expect_error 1 "the name of the host is not known" \
		pull --retries 0 --plain-http "$PLAIN/game:r" ./dst:r
	ALL_PROXY=$PROXY http_proxy=$PROXY pull "127.0.0.1:${PLAIN#*:}/game:r" ./dst:r
	came_whole
	[[ ! -s $DIR/proxy/log ]]
	http_proxy=$PROXY NO_PROXY=other.invalid pull --plain-http "$PLAIN/game:r" ./dst2:r
	[[ -s $DIR/proxy/log ]]
}

@test "a mirror may be here and the registry behind the proxy, and the other way round" {
	http_proxy=$PROXY pull --plain-http --mirror "$PLAIN=http://127.0.0.1:${PLAIN#*:}" "$PLAIN/game:r" ./dst:r
	came_whole
	[[ ! -s $DIR/proxy/log ]]
	rm -rf dst
	http_proxy=$PROXY pull --mirror "127.0.0.1:${PLAIN#*:}=http://$PLAIN" "127.0.0.1:${PLAIN#*:}/game:r" ./dst:r
	came_whole
	(($(asked "^GET http://$PLAIN/v2/game/blobs/") >= 2))
}

@test "a proxy that wants a password, and one that is not there" {
	echo me:secret >"$DIR/proxy/user"
	http_proxy=${PROXY/\/\//\/\/me:secret@} pull --plain-http "$PLAIN/game:r" ./dst:r
	came_whole
	[[ $(asked " -\$") == 0 ]]
	https_proxy=${PROXY/\/\//\/\/me:secret@} pull --ca-file "$DIR/ca.pem" "$TLS/game:r" ./dst2:r
	http_proxy=$PROXY expect_error 1 "status 407" pull --retries 0 --plain-http "$PLAIN/game:r" ./dst3:r
	https_proxy=$PROXY expect_error 1 "'$TLS/game': the proxy answers with status 407" pull --retries 0 --ca-file "$DIR/ca.pem" "$TLS/game:r" ./dst3:r
	http_proxy=http://127.0.0.1:1 expect_error 1 "the host cannot be reached" pull --retries 0 --plain-http "$PLAIN/game:r" ./dst3:r
	http_proxy=http://proxy.invalid:1 expect_error 1 "the proxy is not known" pull --retries 0 --plain-http "$PLAIN/game:r" ./dst3:r
}
