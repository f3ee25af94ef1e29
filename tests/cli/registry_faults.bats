#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# A registry that breaks, stalls, refuses and lies: each fault is made by a stub in front of a real one.
# shellcheck disable=SC2154
load registry_lib

setup_file() {
	begin_with_stub
	push_game
}

setup() {
	be_nobody
	STUB=$BATS_FILE_TMPDIR/stub
	SRC=$BATS_FILE_TMPDIR/src
	HOST=127.0.0.1:$(<"$STUB/port")
	rm -f "$STUB/token" "$STUB/user"
	fault
	largest_pack
}

came_whole() {
	all_happened
	"$ASSETPACK" verify ./dst:r
	[[ $(digest_of dst r) == "$(digest_of "$SRC" r)" ]]
	[[ -z $(compgen -G "dst/blobs/sha256/.*-*") ]]
}

nothing_came() {
	all_happened
	[[ ! -e dst || $(<dst/index.json) == '{"schemaVersion":2,"manifests":[]}' ]]
	[[ ! -e dst/blobs/sha256/${pack#sha256:} ]]
}

@test "a connection that breaks goes on where it was" {
	fault "GET blobs/$pack reset 300000" "GET blobs/$pack reset 100000"
	pull "$HOST/game:r" ./dst:r
	came_whole
	[[ $(requests "GET .*$pack - -\$") == 1 ]]
	[[ $(requests "GET .*$pack - bytes=[1-9][0-9]*-$((pack_size - 1))\$") == 2 ]]
}

@test "a body that ends early goes on where it ended" {
	fault "GET blobs/$pack truncate 300000" "GET blobs/$pack unmeasured 200000"
	pull "$HOST/game:r" ./dst:r
	came_whole
	[[ $(requests "GET .*$pack - bytes=300000-$((pack_size - 1))\$") == 1 ]]
	[[ $(requests "GET .*$pack - bytes=500000-$((pack_size - 1))\$") == 1 ]]
}

@test "a transfer that stalls is given up and goes on" {
	fault "GET blobs/$pack stall 300000"
	# A busy machine stalls by itself.
	pull --timeout 1 --retries 100 "$HOST/game:r" ./dst:r
	came_whole
	(($(requests "GET .*$pack - bytes=300000-$((pack_size - 1))\$") >= 1))
}

@test "a pull that was ended early goes on where it was, also when the server ignores ranges" {
	fault "GET blobs/$pack reset 300000"
	expect_error 1 "'$HOST/game': blob '.*': the connection broke" pull --retries 0 "$HOST/game:r" ./dst:r
	nothing_came
	[[ -s dst/blobs/sha256/.part-${pack#sha256:} ]]
	cp -r dst again
	fault
	pull "$HOST/game:r" ./dst:r
	came_whole
	[[ $(requests "GET .*$pack - bytes=[1-9][0-9]*-$((pack_size - 1))\$") == 1 ]]
	rm -rf dst
	mv again dst
	fault "GET blobs/$pack norange"
	pull "$HOST/game:r" ./dst:r
	came_whole
}

@test "what has come of a blob and is damaged is read again" {
	fault "GET blobs/$pack reset 300000"
	expect_error 1 "broke" pull --retries 0 "$HOST/game:r" ./dst:r
	flip "dst/blobs/sha256/.part-${pack#sha256:}"
	fault
	pull "$HOST/game:r" ./dst:r
	came_whole
	fault "GET blobs/$pack reset 300000"
	expect_error 1 "broke" pull --retries 0 "$HOST/game:r" ./dst2:r
	run -0 "$ASSETPACK" gc ./dst2
	[[ -z $(compgen -G "dst2/blobs/sha256/.part-*") ]]
}

@test "who is told to come later comes later" {
	local start=$EPOCHREALTIME
	fault "GET blobs/$pack status 429 1" "GET manifests/r status 503" "GET manifests/sha256 status 500"
	pull "$HOST/game:r" ./dst:r
	came_whole
	((${EPOCHREALTIME/./} - ${start/./} >= 1000000))
	rm -rf dst
	fault "*GET manifests/r status 503"
	expect_error 1 "'$HOST/game': the registry answers with status 503" pull --retries 1 "$HOST/game:r" ./dst:r
	[[ $(requests "manifests/r") == 2 ]]
	fault "GET manifests/r status 429 86400"
	expect_error 1 "status 429" pull "$HOST/game:r" ./dst:r
}

@test "wrong bytes are never published" {
	fault "*GET blobs/$pack corrupt"
	expect_error 3 "'$HOST/game:r': damaged: blob '.*' has another digest" pull "$HOST/game:r" ./dst:r
	: >"$STUB/faults"
	nothing_came
	[[ -z $(compgen -G "dst/blobs/sha256/.*-*") ]]
	pull "$HOST/game:r" ./dst:r
	came_whole
	rm -rf dst
	fault "GET manifests/r corrupt"
	expect_error 3 "a manifest is damaged" pull "$HOST/game:r" ./dst:r
	fault "GET manifests/sha256 corrupt"
	expect_error 3 "a manifest is damaged" pull "$HOST/game:r" ./dst:r
	nothing_came
}

@test "a redirect leads elsewhere, without what opens the registry" {
	echo "first 1000" >"$STUB/token"
	fault "*GET front.*blobs/ redirect"
	pull "$HOST/game:r" ./dst:r
	: >"$STUB/faults"
	came_whole
	(($(requests "^elsewhere GET .*blobs/sha256:.*secret=1 - ") >= 3))
	[[ $(requests "^elsewhere .*(Bearer|Basic)") == 0 ]]
	(($(requests "^front GET .*blobs/.* Bearer") >= 3))
}

@test "an address that has expired is asked for again" {
	fault "*GET front.*blobs/ redirect" "GET elsewhere.*blobs/$pack status 403" "GET elsewhere.*blobs/$pack reset 300000" \
		"GET elsewhere.*blobs/$pack status 403"
	pull "$HOST/game:r" ./dst:r
	sed -i '/^\*/d' "$STUB/faults"
	came_whole
	[[ $(requests "^front GET .*blobs/$pack ") == 4 ]]
	rm -rf dst
	fault "*GET front.*blobs/ redirect" "*GET elsewhere status 403"
	expect_error 1 "where it redirects to, answers with status 403" pull --retries 1 "$HOST/game:r" ./dst:r
}

@test "a token is got, and another one when it has expired" {
	echo "first 3" >"$STUB/token"
	echo me:secret >"$STUB/user"
	mkdir .docker
	echo "{\"auths\":{\"$HOST\":{\"auth\":\"$(printf me:secret | base64)\"}}}" >.docker/config.json
	pull -j 1 "$HOST/game:r" ./dst:r
	came_whole
	[[ $(requests "GET /token.service=stub&scope=repository%3Agame%3Apull Basic") == 2 ]]
	echo "first 3" >"$STUB/token"
	push "$SRC:r" "$HOST/copy:r"
	(($(requests "GET /token.*scope=repository%3Acopy%3Apull%2Cpush") >= 1))
	echo "{\"auths\":{\"$HOST\":{\"identitytoken\":\"me:secret\"}}}" >.docker/config.json
	rm -rf dst
	fault
	pull "$HOST/game:r" ./dst:r
	came_whole
	[[ $(requests "POST /token") == 1 ]]
	rm -rf dst
	fault "GET front.*blobs/$pack status 403"
	pull "$HOST/game:r" ./dst:r
	came_whole
	[[ $(requests "POST /token") == 2 ]]
}

@test "a token server that fails is tried again; one that refuses is not" {
	echo "first 1000" >"$STUB/token"
	fault "GET /token status 503" "GET /token reset 0"
	pull "$HOST/game:r" ./dst:r
	came_whole
	fault "*GET /token status 500"
	expect_error 1 "'$HOST/game': .*its token server has answered with status 500" pull --retries 1 "$HOST/game:r" ./dst:r
	echo me:secret >"$STUB/user"
	fault
	expect_error 5 "'$HOST' wants credentials, and there are none: log in" pull "$HOST/game:r" ./dst:r
	[[ $(requests "GET /token") == 1 ]]
	mkdir .docker
	echo "{\"auths\":{\"$HOST\":{\"auth\":\"$(printf me:wrong | base64)\"}}}" >.docker/config.json
	expect_error 5 "credentials for '$HOST' are refused" pull "$HOST/game:r" ./dst:r
	fault "*GET manifests realm http://192.0.2.1/token"
	expect_error 1 "its token server has no https" pull "$HOST/game:r" ./dst:r
	fault "*GET manifests realm ftp://192.0.2.1/token"
	expect_error 5 "asks for no credentials that are known here" pull "$HOST/game:r" ./dst:r
}

@test "an upload that breaks begins anew, or goes on when it has parts" {
	fault "PUT front.*uploads.*${pack#sha256:} reset 300000" "POST front status 503" "PUT manifests/sha256 status 500" \
		"HEAD front status 502"
	push "$SRC:r" "$HOST/up1:r"
	all_happened
	pull "$HOST/up1:r" ./dst:r
	came_whole
	rm -rf dst
	fault "PATCH front.*uploads status 503" "PATCH front.*uploads reset 10000" "PUT front.*uploads status 500"
	push -j 1 --upload-chunk 100K "$SRC:r" "$HOST/up2:r"
	all_happened
	(($(requests "^front GET .*uploads") >= 2))
	pull "$HOST/up2:r" ./dst:r
	came_whole
}

@test "a push that fails leaves the tag as it was" {
	fault "*PUT front.*uploads status 403"
	expect_error 5 "'$HOST/up3': writing is refused to these credentials, or to nobody" push "$SRC:r" "$HOST/up3:r"
	fault
	expect_error 5 "no such image" pull "$HOST/up3:r" ./dst:r
	fault "*PUT front.*manifests/sha256 status 400"
	expect_error 1 "'$HOST/up3': writing: the registry answers with status 400" push "$SRC:r" "$HOST/up3:r"
	fault
	expect_error 5 "no such image" pull "$HOST/up3:r" ./dst:r
	nothing_came
}
