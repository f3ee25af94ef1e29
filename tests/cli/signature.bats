#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Signatures as cosign keeps them, made by openssl: what is signed passes, and nothing else.
# shellcheck disable=SC2154
load registry_lib

# An image, its digest, keys of all kinds; the same image in a registry.
setup_file() {
	begin_with_stub
	mkdir tree keys
	noise 300000 >tree/large
	"$ASSETPACK" build --progress none tree ./src:r >digest
	make_key ecdsa -algorithm EC -pkeyopt ec_paramgen_curve:P-256
	make_key other -algorithm EC -pkeyopt ec_paramgen_curve:P-256
	make_key rsa -algorithm RSA -pkeyopt rsa_keygen_bits:2048
	make_key ed25519 -algorithm ED25519
	make_key p384 -algorithm EC -pkeyopt ec_paramgen_curve:P-384
	make_key short -algorithm RSA -pkeyopt rsa_keygen_bits:1024
}

# make_key NAME OPTION...: of openssl
make_key() {
	openssl genpkey "${@:2}" -out "keys/$1.key" 2>/dev/null
	openssl pkey -in "keys/$1.key" -pubout -out "keys/$1.pub"
}

setup() {
	be_nobody
	KEYS=$BATS_FILE_TMPDIR/keys
	DIGEST=$(<"$BATS_FILE_TMPDIR/digest")
	HOST=127.0.0.1:$(<"$BATS_FILE_TMPDIR/real/port")
	REPO=$HOST/test/n$BATS_TEST_NUMBER
	cp -r "$BATS_FILE_TMPDIR/src" src
}

# sign KEY [DIGEST [EDIT [EDIT]]]: as sign.sh, in ./src
sign() {
	"$SUPPORT/sign.sh" "$KEYS/$1.key" "${2:-$DIGEST}" ./src "${@:3}"
}

verify() {
	"$ASSETPACK" verify "$@"
}

# accepts KEY IMAGE
accepts() {
	"$ASSETPACK" verify --verify-key "$KEYS/$1.pub" "${@:2}"
}

# refused PATTERN KEY: neither verify nor pull takes ./src:r; nothing is copied
refused() {
	expect_error 3 "$1" verify --verify-key "$KEYS/$2.pub" ./src:r
	expect_error 3 "$1" pull --verify-key "$KEYS/$2.pub" ./src:r ./dst:r
	[[ ! -e dst ]]
}

@test "what a key of each kind has signed passes" {
	local key
	for key in ecdsa rsa ed25519; do
		sign "$key"
		accepts "$key" ./src:r
		pull --verify-key "$KEYS/$key.pub" ./src:r "./$key:r"
		"$ASSETPACK" verify "./$key:r"
		refused "'./src': image ${DIGEST:0:19} is not signed by this key: a signature is not by the key '$KEYS/other.pub'" other
	done
}

@test "an image that is not signed is refused in one line" {
	refused "^assetpack: './src': image ${DIGEST:0:19} is not signed\$" ecdsa
	"$ASSETPACK" push --progress none ./src:r "$REPO:r"
	expect_error 3 "^assetpack: '$REPO': image ${DIGEST:0:19} is not signed\$" verify --verify-key "$KEYS/ecdsa.pub" "$REPO:r"
	expect_error 3 "'$REPO': image ${DIGEST:0:19} is not signed" pull --verify-key "$KEYS/ecdsa.pub" "$REPO:r" ./dst:r
	[[ ! -e dst ]]
	expect_error 5 "no such image 'none'" verify --verify-key "$KEYS/ecdsa.pub" "$REPO:none"
	expect_error 1 "cannot be reached" verify --retries 0 --verify-key "$KEYS/ecdsa.pub" 127.0.0.1:1/x:r
}

@test "what was signed with openssl and copied with skopeo passes in a registry" {
	local tag=${DIGEST/:/-}.sig
	sign ecdsa
	"$ASSETPACK" push --progress none ./src:r "$REPO:r"
	skopeo --insecure-policy copy -q --dest-tls-verify=false "oci:src:$tag" "docker://$REPO:$tag"
	run -0 --separate-stderr accepts ecdsa "$REPO:r"
	[[ $output == "$DIGEST" && -z $stderr ]]
	[[ $(accepts ecdsa "$REPO@$DIGEST") == "$DIGEST" ]]
	pull --verify-key "$KEYS/ecdsa.pub" "$REPO:r" ./dst:r
	"$ASSETPACK" verify ./dst:r
	expect_error 3 "'$REPO': image .* is not signed by this key" verify --verify-key "$KEYS/other.pub" "$REPO:r"
	expect_error 3 "is not signed by this key" pull --verify-key "$KEYS/other.pub" "$REPO:r" ./dst2:r
	[[ ! -e dst2 ]]
	# And back, beside the image.
	skopeo --insecure-policy copy -q --src-tls-verify=false "docker://$REPO:$tag" "oci:dst:$tag"
	accepts ecdsa ./dst:r
	"$ASSETPACK" gc ./dst
	accepts ecdsa ./dst:r
}

# bundle KEY [EDIT [EDIT]]: as sign_bundle.sh, and what refers to the image goes to $REPO, beside the image
bundle() {
	"$SUPPORT/sign_bundle.sh" "$KEYS/$1.key" "$DIGEST" ./src "${@:2}"
	skopeo --insecure-policy copy -q --all --dest-tls-verify=false "oci:src:${DIGEST/:/-}" "docker://$REPO:${DIGEST/:/-}"
}

# bundle_refused PATTERN: by the key ecdsa
bundle_refused() {
	expect_error 3 "'$REPO': image ${DIGEST:0:19} is not signed$1" verify --verify-key "$KEYS/ecdsa.pub" "$REPO:r"
}

@test "a bundle that refers to the image passes, of a key of each kind" {
	local key
	"$ASSETPACK" push --progress none ./src:r "$REPO:r"
	for key in ecdsa rsa ed25519; do
		bundle "$key"
		[[ $(accepts "$key" "$REPO:r") == "$DIGEST" ]]
		pull --verify-key "$KEYS/$key.pub" "$REPO:r" "./$key:r"
		expect_error 3 "is not signed by this key: a signature is not by the key" verify --verify-key "$KEYS/other.pub" "$REPO:r"
	done
}

@test "a bundle is found by the list of referrers" {
	local stub=$BATS_FILE_TMPDIR/stub index
	"$ASSETPACK" push --progress none ./src:r "$REPO:r"
	bundle ecdsa
	index=$(digest_of src "${DIGEST/:/-}")
	# The list of others, whose entries say less, and which names what cannot be followed, too.
	jq -c '.manifests |= [{mediaType: "x", digest: "none"}] + map(.artifactType = "application/vnd.oci.empty.v1+json")' \
		"$(blob_of src "$index")" >"$stub/referrers"
	# The tag is not looked at then.
	STUB=$stub fault "*GET manifests/${DIGEST/:/-}\$ status 500"
	[[ $(accepts ecdsa "127.0.0.1:$(<"$stub/port")/${REPO#*/}:r") == "$DIGEST" ]]
	grep -q "GET /v2/.*/referrers/$DIGEST " "$stub/log"
	echo '{"manifests":[]}' >"$stub/referrers"
	expect_error 3 "is not signed\$" verify --verify-key "$KEYS/ecdsa.pub" "127.0.0.1:$(<"$stub/port")/${REPO#*/}:r"
	rm "$stub/referrers"
}

@test "a bundle that is changed, of another image, or no signature does not pass" {
	local zeros
	zeros=$(printf '%064d' 0)
	"$ASSETPACK" push --progress none ./src:r "$REPO:r"
	bundle ecdsa "sed -i s/${DIGEST#sha256:}/$zeros/ statement"
	bundle_refused " by this key: a signature is of another image"
	# A list of materials, say, which the same key has signed.
	bundle ecdsa "sed -i s,cosign/sign,cosign/attest, statement"
	bundle_refused " by this key: a statement is not one of a container's signature"
	bundle ecdsa "echo x >statement"
	bundle_refused " by this key: a statement is not a JSON object"
	bundle ecdsa true 'sed -i "s/\"payload\":\"eyJ/\"payload\":\"eyK/" bundle'
	bundle_refused " by this key: a signature is not by the key"
	bundle ecdsa true 'sed -i s/in-toto+json/other+json/ bundle'
	bundle_refused " by this key: a bundle has no statement"
	bundle ecdsa true 'sed -i "s/\"sig\":\"/\"sig\":\"!/" bundle'
	bundle_refused " by this key: a signature is not base64"
	bundle ecdsa true 'sed -i "s/\"payload\":\"/\"payload\":\"!/" bundle'
	bundle_refused " by this key: a statement is not base64"
	bundle ecdsa true 'sed -i "s/\"signatures\":.*/\"signatures\":[]}}/" bundle'
	bundle_refused " by this key: a signature is not by the key"
	bundle ecdsa true 'echo nonsense >bundle'
	bundle_refused " by this key: a bundle has no statement"
	bundle ecdsa true 'type=text/plain'
	bundle_refused "\$"
	# One at the tag of signatures is as good.
	sign ecdsa
	skopeo --insecure-policy copy -q --dest-tls-verify=false "oci:src:${DIGEST/:/-}.sig" "docker://$REPO:${DIGEST/:/-}.sig"
	[[ $(accepts ecdsa "$REPO:r") == "$DIGEST" ]]
}

@test "signing as the documents show works" {
	mkdir bin
	cp -r src images
	printf '#!/bin/sh\nexec "%s" "$@"\n' "$ASSETPACK" >bin/assetpack
	printf '#!/bin/sh\nshift\nexec "%s" --insecure-policy copy -q --dest-tls-verify=false "$@"\n' "$(command -v skopeo)" >bin/skopeo
	chmod +x bin/*
	sed -n '/^openssl genpkey/,/^```/p' "$SOURCE_ROOT/docs/operations.md" | sed '$d' |
		sed "s,registry.example/game/assets:1.4,$REPO:1.4,; s,registry.example/game/assets,$REPO,; s,./images:1.4,./images:r," >commands
	PATH=$T/bin:$PATH bash -e commands
	[[ $("$ASSETPACK" verify --verify-key release.pub "$REPO:1.4") == "$DIGEST" ]]
	expect_error 3 "not signed by this key" verify --verify-key "$KEYS/ecdsa.pub" "$REPO:1.4"
}

@test "a changed byte of payload, signature or key does not pass" {
	sign ecdsa "$DIGEST" 'sed -i s/null/true/ payload'
	refused "a signature is not by the key" ecdsa
	sign ecdsa "$DIGEST" 'openssl base64 -d -A -in signature >raw; printf "\\$(printf %o $(($(od -An -tu1 -j20 -N1 raw) ^ 1)))" | dd of=raw bs=1 seek=20 conv=notrunc status=none; openssl base64 -A -in raw -out signature'
	refused "a signature is not by the key" ecdsa
	sign ecdsa "$DIGEST" 'printf "no base64!!!" >signature'
	refused "a signature is not base64" ecdsa
	sign rsa "$DIGEST" 'echo >>payload'
	refused "a signature is not by the key" rsa
	sign ed25519 "$DIGEST" 'sed -i s/example/Example/ payload'
	refused "a signature is not by the key" ed25519
}

@test "a signature of another image does not pass for this one" {
	local other
	other=sha256:$(printf '%064d' 7)
	sign ecdsa "$DIGEST" "sed s/${DIGEST#sha256:}/${other#sha256:}/ payload >p; mv p payload; openssl dgst -sha256 -sign $KEYS/ecdsa.key payload | openssl base64 -A >signature"
	refused "a signature is of another image, ${other:0:19}" ecdsa
	sign ecdsa "$DIGEST" "sed 's/cosign container/other container/' payload >p; mv p payload; openssl dgst -sha256 -sign $KEYS/ecdsa.key payload | openssl base64 -A >signature"
	refused "a payload is not one of a container's signature" ecdsa
	sign ecdsa "$DIGEST" "echo signed >payload; openssl dgst -sha256 -sign $KEYS/ecdsa.key payload | openssl base64 -A >signature"
	refused "a payload is not a JSON object" ecdsa
	sign ecdsa "$DIGEST" "sed 's/docker-manifest-digest/digest/' payload >p; mv p payload; openssl dgst -sha256 -sign $KEYS/ecdsa.key payload | openssl base64 -A >signature"
	refused "a payload names no image" ecdsa
	# The tag is moved: the new image is not the one that was signed.
	sign ecdsa
	echo more >tree-more
	mkdir tree
	mv tree-more tree
	"$ASSETPACK" build --progress none tree ./src:r
	refused "is not signed\$" ecdsa
}

@test "a payload that is not what its digest says, or not there, does not pass" {
	sign ecdsa "$DIGEST" true 'sed -i "s/sha256:[0-9a-f]*/sha256:$(printf "%064d" 1)/" layer'
	refused "is not signed by this key: './src': blob 000000000000 is missing" ecdsa
	sign ecdsa "$DIGEST" true 'payload=$(blob payload); printf "x%.0s" $(seq "$(stat -c %s payload)") >"$layout/blobs/sha256/${payload#sha256:}"'
	refused "is not signed by this key: './src': blob .* is damaged: its digest is another" ecdsa
	sign ecdsa "$DIGEST" true 'sed -i "s/\"size\":[0-9]*/\"size\":2000000/" layer'
	refused "a payload is larger than" ecdsa
	sign ecdsa "$DIGEST" true 'sed -i "s/\"size\":[0-9]*/\"size\":-1/" layer'
	refused "a manifest of signatures is damaged" ecdsa
	sign ecdsa "$DIGEST" true 'sed -i "s/simplesigning/other/" layer'
	refused "is not signed\$" ecdsa
	sign ecdsa "$DIGEST" true 'echo "\"" >layer'
	refused "a manifest of signatures is damaged" ecdsa
}

@test "one good signature among others is enough" {
	sign other
	sign ecdsa "$DIGEST" true "jq -c .layers[0] <\$layout/blobs/sha256/\$(jq -r '.manifests[-1].digest' \$layout/index.json | cut -d : -f 2) >first; echo \"\$(<first),\$(<layer)\" >both; mv both layer"
	accepts ecdsa ./src:r
	accepts other ./src:r
	refused "is not signed by this key" rsa
}

@test "keys that are none" {
	local key
	sign ecdsa
	for key in p384 short; do
		expect_error 1 "key '$KEYS/$key.pub' is not one of ECDSA P-256, RSA from 2048 bits, Ed25519" verify --verify-key "$KEYS/$key.pub" ./src:r
	done
	expect_error 1 "'$KEYS/ecdsa.key' is not a public key in PEM" verify --verify-key "$KEYS/ecdsa.key" ./src:r
	sed 4d "$KEYS/ecdsa.pub" | sed 2s/A/B/ >bad.pub
	expect_error 1 "'bad.pub' is not a public key in PEM" pull --verify-key bad.pub ./src:r ./dst:r
	expect_error 1 "key 'none.pub': No such file or directory" verify --verify-key none.pub ./src:r
	: >empty.pub
	expect_error 1 "'empty.pub' is not a public key in PEM" verify --verify-key empty.pub ./src:r
	expect_error 2 "is no path" verify registry.invalid/a:r
	expect_error 2 "begins with no host" verify --verify-key "$KEYS/ecdsa.pub" assets/a:r
}
