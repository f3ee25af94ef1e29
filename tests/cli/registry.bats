#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Images go to a real registry and come back.
# shellcheck disable=SC2154
load registry_lib

setup_file() {
	get_registry
	start_registry "$BATS_FILE_TMPDIR/open"
}

setup() {
	be_nobody
	HOST=127.0.0.1:$(<"$BATS_FILE_TMPDIR/open/port")
	REPO=$HOST/test/n$BATS_TEST_NUMBER
}

# An image of some packs at ./src:r.
small_image() {
	mkdir -p t1
	noise 700000 >t1/large
	seq 1 20000 >t1/text
	build t1 ./src:r
}

# A release with deltas: a byte of every 500 is another.
change_image() {
	python3 -c 'b = bytearray(open("t1/large", "rb").read())
for i in range(0, len(b), 500): b[i] ^= 1
open("t1/large", "wb").write(b)'
	build t1 ./src:r
}

# same_image LAYOUT TAG TREE: it is whole, is ./src:r, and has the files of TREE
same_image() {
	"$ASSETPACK" verify "./$1:$2" 2>/dev/null
	[[ $(digest_of "$1" "$2") == "$(digest_of src r)" ]]
	rm -rf out
	"$ASSETPACK" extract "./$1:$2" out
	diff -r --no-dereference "$3" out
	[[ -z $(compgen -G "$1/.tmp-*") && -z $(compgen -G "$1/blobs/sha256/.*-*") ]]
}

@test "an image with a trace comes back with it" {
	mkdir t1
	noise 700000 >t1/large
	printf '%s\n' '# assetfs trace 1' '0 700000 large' >trace
	build --trace trace t1 ./src:r
	[[ -n $(layers src r trace) ]]
	push ./src:r "$REPO:r"
	pull "$REPO:r" ./dst:x
	same_image dst x t1
}

@test "an image comes back with the same digests and files" {
	make_tree t1
	build t1 ./src:r
	run -0 --separate-stderr "$ASSETPACK" push --progress plain ./src:r "$REPO:r"
	[[ $output == "$(digest_of src r)" ]]
	[[ $stderr == "assetpack: sent "*" to '$REPO:r': "[0-9]*" of "[0-9]*" blobs" ]]
	run -0 --separate-stderr "$ASSETPACK" pull --progress plain "$REPO:r" ./dst:x
	[[ $output == "$(digest_of src r)" ]]
	[[ $stderr == "assetpack: read "*" from '$REPO:r'" ]]
	same_image dst x t1
	pull "$REPO@$(digest_of src r)" ./dst:pinned
	same_image dst pinned t1
	run -0 --separate-stderr "$ASSETPACK" pull --progress json "$REPO:r" ./dst:x
	[[ $(jq -r 'select(.event == "done").read_bytes' <<<"$stderr") == 0 ]]
	run -0 --separate-stderr "$ASSETPACK" push --progress json ./src:r "$REPO:r"
	[[ $(jq -r 'select(.event == "done").sent' <<<"$stderr") == 0 ]]
}

@test "what platforms share is stored once; a new release sends what is new" {
	local before dir=$BATS_FILE_TMPDIR/open sent new
	mkdir common amd64 arm64
	noise 2000000 >common/shared
	echo amd64 >amd64/program
	echo arm64 >arm64/program
	build -p linux/amd64=amd64 -p linux/arm64=arm64 common ./src:r
	before=$(stored "$dir")
	push ./src:r "$REPO:r"
	(($(stored "$dir") - before == $(cat src/blobs/sha256/* | wc -c)))
	(($(stored "$dir") - before < 2100000))
	before=$(stored "$dir")
	find src/blobs -type f | sort >blobs.old
	noise 100000 >common/new
	build -p linux/amd64=amd64 -p linux/arm64=arm64 common ./src:r
	new=$(find src/blobs -type f | sort | comm -13 blobs.old - | xargs cat | wc -c)
	run -0 --separate-stderr "$ASSETPACK" push --progress json ./src:r "$REPO:r"
	sent=$(jq -r 'select(.event == "done").sent_bytes' <<<"$stderr")
	((sent == new))
	(($(stored "$dir") - before == new))
	pull --platform linux/arm64 "$REPO:r" ./dst:r
	"$ASSETPACK" verify --platform linux/arm64 ./dst:r
}

@test "an update is pulled by its deltas" {
	small_image
	push ./src:r "$REPO:r"
	pull "$REPO:r" ./dst:r
	change_image
	push ./src:r "$REPO:r"
	run -0 --separate-stderr "$ASSETPACK" pull --progress json "$REPO:r" ./dst:r
	(($(jq -r 'select(.event == "done").rebuilt_bytes' <<<"$stderr") > 690000))
	(($(jq -r 'select(.event == "done").read_bytes' <<<"$stderr") < 60000))
	same_image dst r t1
	# The delta that was not of use again is not there to be pushed, but the registry has it.
	push ./dst:r "$REPO:again"
}

@test "an image without its deltas is not pushed where they are not" {
	small_image
	change_image
	[[ -n $(layers src r delta) ]]
	pull ./src:r ./dst:r
	expect_error 1 "'./dst': delta .* is missing: pull the image with --deltas first" push ./dst:r "$REPO:r"
	pull --deltas ./src:r ./dst:r
	push ./dst:r "$REPO:r"
}

@test "blobs of another repository are mounted; small requests make the same blobs" {
	small_image
	push ./src:r "$REPO:r"
	run -0 --separate-stderr "$ASSETPACK" push --progress json --mount-from "${REPO#*/}" ./src:r "$REPO/other:r"
	[[ $(jq -r 'select(.event == "done") | "\(.sent) \(.mounted == .blobs)"' <<<"$stderr") == "0 true" ]]
	small_image
	push --upload-chunk 100K ./src:r "$REPO/third:r"
	pull -j 1 "$REPO/third:r" ./dst:r
	same_image dst r t1
}

@test "skopeo carries images there and back with the same digests" {
	local other
	small_image
	mkdir amd64 arm64
	echo amd64 >amd64/program
	echo arm64 >arm64/program
	build -p linux/amd64=amd64 -p linux/arm64=arm64 t1 ./src:r
	push ./src:r "$REPO:r"
	copy "docker://$REPO:r" oci:dst:r
	[[ $(digest_of dst r) == "$(digest_of src r)" ]]
	"$ASSETPACK" verify ./dst:r
	# Skopeo 1.18 wants to annotate the index when it knows the blobs in another repository of the registry.
	start_registry "$T/other"
	other=127.0.0.1:$(<"$T/other/port")/back:r
	copy "oci:dst:r" "docker://$other"
	pull "$other" ./back:r
	[[ $(digest_of back r) == "$(digest_of src r)" ]]
	"$ASSETPACK" verify ./back:r
}

@test "what is not there, and what cannot be reached, is said in one line" {
	small_image
	expect_error 5 "'$REPO/none': no such image 'r'" pull "$REPO/none:r" ./dst
	expect_error 1 "'127.0.0.1:1/x': the host cannot be reached" pull --retries 1 127.0.0.1:1/x:r ./dst
	expect_error 1 "'none.invalid/x': the name of the host is not known" pull --retries 0 none.invalid/x:r ./dst
	expect_error 1 "no image tagged" push ./src:none "$REPO:r"
	[[ ! -e dst ]]
	mkdir other
	skopeo --insecure-policy copy -q --dest-tls-verify=false dir:other "docker://$REPO:other" 2>/dev/null || true
	flip "$(blob_of src "$(layers src r pack | head -n 1)")"
	expect_error 3 "'./src': blob .* is damaged" push ./src:r "$REPO:r"
	expect_error 5 "no such image" pull "$REPO:r" ./dst
}

@test "command lines that are wrong" {
	small_image
	for to in assets assets:r host/assets:r 127.0.0.1/Assets:r 127.0.0.1/a:.x "docker://$REPO:r" "127.0.0.1:0/x:r" \
		"$REPO:r@sha256:12" ./dst "$REPO/:r" 127.0.0.1:123456/x; do
		expect_error 2 . push ./src:r "$to"
	done
	expect_error 2 "has a digest" push ./src:r "$REPO@$(digest_of src r)"
	expect_error 2 "begins with no host" pull assets/base:1 ./dst
	expect_error 2 "without a scheme" pull "docker://$REPO:r" ./dst
	expect_error 2 "jobs '0'" push -j 0 ./src:r "$REPO:r"
	expect_error 2 "retries 'x'" pull --retries x "$REPO:r" ./dst
	expect_error 2 "timeout '0'" pull --timeout 0 "$REPO:r" ./dst
	expect_error 2 "is not a size" push --upload-chunk x ./src:r "$REPO:r"
	expect_error 2 "is no repository" push --mount-from A ./src:r "$REPO:r"
	[[ ! -e dst ]]
}

@test "passwords come from where docker and podman keep them" {
	local dir=$T/locked host
	perl -e 'print "me:", crypt("secret", q($2b$05$abcdefghijklmnopqrstuu)), "\n"' >htpasswd
	start_registry "$dir" "auth: {htpasswd: {realm: test, path: $T/htpasswd}}"
	host=127.0.0.1:$(<"$dir/port")
	small_image
	expect_error 5 "'$host' wants credentials, and there are none: log in" push ./src:r "$host/a/b:r"
	config() {
		jq -n --arg host "$1" --arg auth "$(printf %s "$2" | base64)" '{auths: {($host): {auth: $auth}}}'
	}
	mkdir -p .docker docker run/containers
	config "$host" me:secret >.docker/config.json
	push ./src:r "$host/a/b:r"
	rm .docker/config.json
	config "$host/a" me:secret >run/containers/auth.json
	XDG_RUNTIME_DIR=$T/run pull "$host/a/b:r" ./d1:r
	expect_error 5 "wants credentials" pull "$host/a/b:r" ./d2:r
	config "https://$host/v1/" me:secret >docker/config.json
	DOCKER_CONFIG=$T/docker pull "$host/a/b:r" ./d2:r
	config "$host" me:wrong >wrong.json
	REGISTRY_AUTH_FILE=$T/wrong.json expect_error 5 "refused" pull "$host/a/b:r" ./d3:r
	REGISTRY_AUTH_FILE=$T/docker/config.json pull "$host/a/b:r" ./d3:r
	echo '{"auths":{"' >broken.json
	REGISTRY_AUTH_FILE=$T/broken.json expect_error 1 "broken.json': not a JSON object" pull "$host/a/b:r" ./d4:r
	same_image d3 r t1
}

@test "credential helpers are asked" {
	local dir=$T/locked host
	perl -e 'print "me:", crypt("secret", q($2b$05$abcdefghijklmnopqrstuu)), "\n"' >htpasswd
	start_registry "$dir" "auth: {htpasswd: {realm: test, path: $T/htpasswd}}"
	host=127.0.0.1:$(<"$dir/port")
	small_image
	mkdir bin .docker
	helper() {
		printf '#!/bin/sh\n%s\n' "$1" >bin/docker-credential-test
		chmod +x bin/docker-credential-test
	}
	export PATH=$T/bin:$PATH
	echo "{\"credHelpers\":{\"$host\":\"test\"}}" >.docker/config.json
	helper "[ \"\$1 \$(cat)\" = 'get $host' ] && echo '{\"Username\":\"me\",\"Secret\":\"secret\"}'"
	push ./src:r "$host/a/b:r"
	echo '{"credsStore":"test"}' >.docker/config.json
	pull "$host/a/b:r" ./d1:r
	same_image d1 r t1
	helper "echo 'credentials not found in native keychain'; exit 1"
	expect_error 5 "wants credentials, and there are none" pull "$host/a/b:r" ./d2:r
	helper "exit 1"
	expect_error 1 "credential helper 'docker-credential-test' failed" pull "$host/a/b:r" ./d2:r
	helper "echo nonsense"
	expect_error 1 "gave an answer without a secret" pull "$host/a/b:r" ./d2:r
	echo '{"credsStore":"none"}' >.docker/config.json
	expect_error 1 "'docker-credential-none' could not be run: No such file" pull "$host/a/b:r" ./d2:r
	echo '{"credsStore":"../x"}' >.docker/config.json
	expect_error 1 "the name of a credential helper is none" pull "$host/a/b:r" ./d2:r
}

@test "a registry with TLS is trusted by its own authority only" {
	local dir=$T/tls host
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=ca 2>/dev/null
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out csr.pem -subj /CN=registry 2>/dev/null
	openssl x509 -req -in csr.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out cert.pem \
		-extfile <(echo subjectAltName=IP:127.0.0.1) 2>/dev/null
	start_registry "$dir" "http: {addr: '127.0.0.1:0', tls: {certificate: $T/cert.pem, key: $T/key.pem}}"
	host=127.0.0.1:$(<"$dir/port")
	small_image
	expect_error 1 "'$host/a': SSL certificate problem" push ./src:r "$host/a:r"
	push --ca-file ca.pem ./src:r "$host/a:r"
	SSL_CERT_FILE=$T/ca.pem pull "$host/a:r" ./dst:r
	same_image dst r t1
	expect_error 1 . pull --retries 0 --plain-http "$host/a:r" ./dst:r
}
