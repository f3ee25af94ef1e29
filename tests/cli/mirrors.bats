#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# A registry with two mirrors: who is asked when, and what becomes of mirrors that lack, break, refuse and lie.
# shellcheck disable=SC2154
load registry_lib

# The registry and its mirrors are three stubs in front of one; the same image in all, and below cache/.
setup_file() {
	local dir=$BATS_FILE_TMPDIR name port
	get_registry
	start_registry "$dir/real"
	port=$(<"$dir/real/port")
	for name in registry first second; do
		start_stub "$port" "$dir/$name"
	done
	cd "$dir" || return 1
	push_game
	"$ASSETPACK" push --progress none ./src:r "127.0.0.1:$port/cache/game:r"
}

setup() {
	local name
	be_nobody
	DIR=$BATS_FILE_TMPDIR
	SRC=$DIR/src
	for name in second first registry; do
		STUB=$DIR/$name
		rm -f "$STUB/token" "$STUB/user"
		fault
	done
	HOST=127.0.0.1:$(<"$DIR/registry/port")
	FIRST=127.0.0.1:$(<"$DIR/first/port")
	SECOND=127.0.0.1:$(<"$DIR/second/port")
	MIRRORS=(--mirror "$HOST=http://$FIRST" --mirror "$HOST=http://$SECOND/")
	largest_pack
}

# at NAME FAULT...: of one of the three
at() {
	local STUB=$DIR/$1
	fault "${@:2}"
}

came_whole() {
	"$ASSETPACK" verify ./dst:r
	[[ $(digest_of dst r) == "$(digest_of "$SRC" r)" ]]
	[[ -z $(compgen -G "dst/blobs/sha256/.*-*") ]]
}

# asked NAME PATTERN: how often one of the three was
asked() {
	local STUB=$DIR/$1
	requests "$2"
}

@test "the first mirror is asked, and says what it has" {
	pull "${MIRRORS[@]}" "$HOST/game:r" ./dst:r
	came_whole
	(($(asked first "^front GET /v2/game/blobs/.*[?]ns=$HOST ") >= 2))
	[[ $(asked second game) == 0 && $(asked registry game) == 0 ]]
}

@test "what a mirror lacks comes from the next, without a word" {
	at first "GET blobs/$pack status 404" "GET manifests/r status 404"
	at second "GET blobs/$pack status 404"
	run -0 --separate-stderr "$ASSETPACK" pull --progress none "${MIRRORS[@]}" "$HOST/game:r" ./dst:r
	[[ -z $stderr ]]
	came_whole
	[[ $(asked second "manifests/r") == 1 && $(asked registry "manifests/r") == 0 ]]
	[[ $(asked registry "blobs/$pack - -\$") == 1 ]]
}

@test "a mirror that fails is passed over, and said to be" {
	run -0 --separate-stderr "$ASSETPACK" pull --progress plain --mirror "$HOST=http://127.0.0.1:1" "${MIRRORS[@]}" "$HOST/game:r" ./dst:r
	grep -q "mirror '127.0.0.1:1/game': the host cannot be reached; it is passed over" <<<"$stderr"
	came_whole
	(($(asked first .) > 0))
	rm -rf dst
	at first "*GET . status 503"
	at second "*GET . status 403"
	run -0 --separate-stderr "$ASSETPACK" pull -j 1 --progress json --retries 0 "${MIRRORS[@]}" "$HOST/game:r" ./dst:r
	jq -r 'select(.event == "info").message' <<<"$stderr" >notes
	# A line for each request: it is not asked for each blob, unless that takes minutes.
	[[ $(grep -c "^mirror '$FIRST/game': .*status 503; it is passed over" notes) == "$(asked first .)" ]]
	[[ $(grep -c "^mirror '$SECOND/game': .*refused.*; it is passed over" notes) == "$(asked second .)" ]]
	grep -q "^mirror '$SECOND/game': image 'r' is refused" notes
	came_whole
}

@test "a transfer goes on with the next mirror where the last one broke" {
	at first "*GET blobs/$pack reset 300000"
	pull --retries 0 "${MIRRORS[@]}" "$HOST/game:r" ./dst:r
	came_whole
	[[ $(asked second "blobs/$pack.* - bytes=[1-9][0-9]*-$((pack_size - 1))\$") == 1 ]]
	[[ $(asked registry game) == 0 ]]
}

@test "a mirror that lies is passed over, and what it gave is not kept" {
	at first "*GET blobs/$pack corrupt"
	at second "GET blobs/$pack corrupt"
	run -0 --separate-stderr "$ASSETPACK" pull -j 1 --progress plain "${MIRRORS[@]}" "$HOST/game:r" ./dst:r
	[[ $(grep -c "mirror '$FIRST/game': blob .* comes with other bytes; it is passed over" <<<"$stderr") == 1 ]]
	[[ $(grep -c "mirror '$SECOND/game': blob .* comes with other bytes; it is passed over" <<<"$stderr") == 1 ]]
	came_whole
	[[ $(asked registry "blobs/$pack - -\$") == 1 ]]
	rm -rf dst
	at first "*GET manifests/ corrupt"
	pull "${MIRRORS[@]}" "$HOST/game:r" ./dst:r
	came_whole
	rm -rf dst
	at first "*GET blobs/$pack corrupt"
	at registry "*GET blobs/$pack corrupt"
	run -3 pull --mirror "$HOST=http://$FIRST" "$HOST/game:r" ./dst:r
	[[ ${lines[-1]} == "assetpack: '$HOST/game:r': damaged: blob '"*"' has another digest" ]]
	[[ ! -e dst/blobs/sha256/${pack#sha256:} ]]
}

@test "a lie in the end of a delta does not keep the update from coming" {
	local delta
	mkdir tree
	cp "$DIR"/tree/* tree
	"$ASSETPACK" build --progress none tree ./new:r
	python3 -c 'b = bytearray(open("tree/large", "rb").read())
for i in range(0, len(b), 500): b[i] ^= 1
open("tree/large", "wb").write(b)'
	pull ./new:r ./dst:r
	"$ASSETPACK" build --progress none tree ./new:r
	delta=$(layers new r delta)
	push ./new:r "127.0.0.1:$(<"$DIR/real/port")/update:r"
	at first "*GET blobs/$delta corrupt"
	run -0 --separate-stderr "$ASSETPACK" pull --progress json "${MIRRORS[@]}" "$HOST/update:r" ./dst:r
	(($(jq -r 'select(.event == "done").rebuilt_bytes' <<<"$stderr") > 600000))
	"$ASSETPACK" verify ./dst:r
}

@test "a mirror is enough where the registry is out of reach" {
	run -0 --separate-stderr "$ASSETPACK" pull --progress none --retries 0 --mirror "registry.invalid=http://$FIRST" registry.invalid/game:r ./dst:r
	[[ -z $stderr ]]
	came_whole
	at first "*GET manifests/r status 404"
	expect_error 1 "'registry.invalid/game': the name of the host is not known" \
		pull --retries 0 --mirror "registry.invalid=http://$FIRST" registry.invalid/game:r ./dst2:r
}

@test "a mirror that failed is asked again when nobody else is left" {
	at first "GET blobs/$pack status 500"
	at registry "*GET . status 502"
	pull --retries 0 -j 1 --mirror "$HOST=http://$FIRST" "$HOST/game:r" ./dst:r
	came_whole
}

@test "who we are to the registry is not shown to mirrors, nor the other way round" {
	echo "first 1000" >"$DIR/registry/token"
	echo me:secret >"$DIR/registry/user"
	echo "first 1000" >"$DIR/second/token"
	echo you:hidden >"$DIR/second/user"
	mkdir .docker
	jq -n --arg host "$HOST" --arg mirror "$SECOND" --arg auth "$(printf me:secret | base64)" --arg other "$(printf you:hidden | base64)" \
		'{auths: {($host): {auth: $auth}, ($mirror): {auth: $other}}}' >.docker/config.json
	at first "GET blobs/$pack status 404"
	pull "${MIRRORS[@]}" "$HOST/game:r" ./dst:r
	came_whole
	[[ $(asked first "Bearer|Basic") == 0 ]]
	[[ $(asked second "/token.*scope=repository%3Agame%3Apull Basic") == 1 ]]
	[[ $(asked second "blobs/$pack.* Bearer") == 1 ]]
	[[ $(asked registry game) == 0 ]]
	echo you:other >"$DIR/second/user"
	rm -rf dst
	run -0 --separate-stderr "$ASSETPACK" pull --progress plain --mirror "$HOST=http://$SECOND" "$HOST/game:r" ./dst:r
	[[ $(grep -c "mirror '$SECOND/game': credentials for '$SECOND' are refused.*; it is passed over" <<<"$stderr") == 1 ]]
	came_whole
	[[ $(asked registry "/token.*scope=repository%3Agame%3Apull Basic") == 1 ]]
	[[ $(asked second "Bearer") == 1 ]]
}

@test "mirrors are those of the host, also from the environment, and may keep images elsewhere" {
	pull --mirror "other.example=http://$FIRST" "$HOST/game:r" ./dst:r
	[[ $(asked first game) == 0 ]]
	rm -rf dst
	ASSETFS_MIRRORS="other.example=http://$SECOND  *=http://$FIRST/cache/" pull "$HOST/game:r" ./dst:r
	came_whole
	(($(asked first "/v2/cache/game/manifests/r[?]ns=$HOST ") == 1))
	at registry
	ASSETFS_MIRRORS="$HOST=http://$FIRST" push "$SRC:r" "$HOST/copy:r"
	ASSETFS_MIRRORS="$HOST=http://$FIRST" push "$SRC:r" "$HOST/copy:r"
	[[ $(asked first "/copy/") == 0 ]]
}

@test "mirrors that are none" {
	local bad
	for bad in x "=http://$FIRST" "$HOST=$FIRST" "$HOST=ftp://$FIRST" "$HOST=http://" "$HOST=http://mirror" "$HOST=http://$FIRST/a?b" \
		"$HOST=http://a:b@$FIRST" "$HOST=http://$FIRST/A" "$HOST=http://$FIRST/a:b"; do
		expect_error 2 "mirror '" pull --mirror "$bad" "$HOST/game:r" ./dst:r
	done
	ASSETFS_MIRRORS=x expect_error 1 "ASSETFS_MIRRORS: mirror 'x' is not HOST=URL" pull "$HOST/game:r" ./dst:r
	[[ ! -e dst ]]
}
