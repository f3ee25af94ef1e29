#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Clocks that are hours apart, those of registries and this machine's: what is to be waited for is a span, and no date.
# shellcheck disable=SC2154
load registry_lib

# A registry with a stub, and two with TLS whose certificates are of another time.
setup_file() {
	local dir=$BATS_FILE_TMPDIR name
	begin_with_stub
	make_certificates
	for name in early late; do
		start_registry "$dir/$name" "http: {addr: '127.0.0.1:0', tls: {certificate: $dir/$name.pem, key: $dir/key.pem}}"
	done
	push_game
}

# Of this machine, by an authority of now: early.pem is valid from 2098, late.pem was so in 1998.
make_certificates() {
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=ca 2>/dev/null
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out csr.pem -subj /CN=registry 2>/dev/null
	: >index.txt
	printf '%s\n' '[ca]' 'default_ca = x' '[x]' 'database = index.txt' 'new_certs_dir = .' 'default_md = sha256' 'policy = p' \
		'rand_serial = yes' 'x509_extensions = e' 'unique_subject = no' '[p]' 'commonName = supplied' '[e]' \
		'subjectAltName = IP:127.0.0.1' >ca.conf
	sign early -startdate 20980101000000Z -enddate 20990101000000Z
	sign late -startdate 19980101000000Z -enddate 19990101000000Z
}

# sign NAME OPTION...
sign() {
	openssl ca -batch -notext -config ca.conf -cert ca.pem -keyfile ca.key -in csr.pem -out "$1.pem" "${@:2}" 2>/dev/null
}

setup() {
	be_nobody
	DIR=$BATS_FILE_TMPDIR
	STUB=$DIR/stub
	HOST=127.0.0.1:$(<"$STUB/port")
	rm -f "$STUB/token" "$STUB/skew"
	fault
}

@test "a token lives as long as it says, whenever it was issued" {
	local skew
	for skew in -36000 36000; do
		echo "$skew" >"$STUB/skew"
		echo "t$skew 1000" >"$STUB/token"
		fault
		pull "$HOST/game:r" "./dst$skew:r"
		[[ $(requests "GET /token") == 1 ]]
		"$ASSETPACK" verify "./dst$skew:r"
	done
}

@test "a registry that wants us back at a date means a span" {
	local skew
	for skew in -36000 36000; do
		echo "$skew" >"$STUB/skew"
		fault "GET blobs/ status 503 1" "GET manifests/ status 429 1"
		pull "$HOST/game:r" "./dst$skew:r"
		all_happened
		"$ASSETPACK" verify "./dst$skew:r"
	done
	# Which it does.
	echo 36000 >"$STUB/skew"
	fault "GET manifests/ status 503 1000"
	expect_error 1 "status 503" pull "$HOST/game:r" ./none:r
}

@test "a certificate of another time names the clock" {
	expect_error 1 "certificate.* is not valid yet; this machine's clock says 20[0-9-]* [0-9:]* UTC: is it right\$" \
		pull --ca-file "$DIR/ca.pem" "127.0.0.1:$(<"$DIR/early/port")/game:r" ./dst:r
	expect_error 1 "certificate.* has expired; this machine's clock says 20[0-9-]* " \
		pull --ca-file "$DIR/ca.pem" "127.0.0.1:$(<"$DIR/late/port")/game:r" ./dst:r
}
