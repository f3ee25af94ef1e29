#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# An index that is large enough to be packed in sections is used before it is unpacked: a first
# mount shows all of the tree, so do others meanwhile, and what is damaged of it fails alone.
. "$(dirname "$0")/../support/mount_lib.sh"

files=100000
image=$T/layout:latest
# A part of what looks for damage finds it.
expect_log "index .* is not whole|is damaged|section [0-9]+: damaged"

index_kept() {
	compgen -G "$STORE/indexes/*.sqlite" >/dev/null
}

nothing_unfinished() {
	! compgen -G "$STORE/indexes/.tmp-*" >/dev/null
}

# names DIR: of all files, in order
names() {
	(cd "$1" && find . -type f | LC_ALL=C sort | sha256sum)
}

"$BIG_IMAGE" "$T/layout" $files 0
blobs=$T/layout/blobs/sha256
manifest=$(jq -r '.manifests[0].digest | ltrimstr("sha256:")' "$blobs/$(jq -r '.manifests[0].digest | ltrimstr("sha256:")' "$T/layout/index.json")")
config=$blobs/$(jq -r '.config.digest | ltrimstr("sha256:")' "$blobs/$manifest")
index=$blobs/$(jq -r '.layers[0].digest | ltrimstr("sha256:")' "$blobs/$manifest")
sections=$(jq '.indexSections.sections | length' "$config")
((sections >= 16)) || fail "the index has $sections sections: too few for this test"

note "the image is valid, for readers of sections and others"
"$ASSETPACK" verify "$image" >/dev/null || fail "verify finds damage"
expected=$(awk -v n=$files 'BEGIN { for (i = 0; i < n; i++) printf "./%06d/%03d\n", i / 1000, i % 1000 }' | sha256sum)

note "a first mount, and one more of it at once"
# shellcheck disable=SC2119 # without options
start_daemon
mkdir "$T/two"
"$ASSETFS" mount "$image" "$MNT"
"$ASSETFS" mount "$image" "$T/two"
check_eq "names" "$(names "$MNT")" "$expected"
check_eq "names of the other mount" "$(names "$T/two")" "$expected"
for file in 000000/000 000042/999; do
	"$ASSETPACK" cat "$image" "$file" | cmp - "$MNT/$file" || fail "$file differs"
done
wait_for index_kept || fail "the index is not kept"
wait_for nothing_unfinished || fail "something unfinished stays"
"$ASSETFS" umount "$T/two"
"$ASSETFS" umount "$MNT"
wait_for no_mounts || fail "the image stays"

note "a daemon that ends while it unpacks leaves nothing that the next one trusts"
rm "$STORE"/indexes/*
"$ASSETFS" mount "$image" "$MNT"
"$ASSETFS" umount "$MNT"
stop_daemon
# shellcheck disable=SC2119 # without options
start_daemon
wait_for nothing_unfinished || fail "something unfinished stays"
"$ASSETFS" mount "$image" "$MNT"
check_eq "names" "$(names "$MNT")" "$expected"
wait_for index_kept || fail "the index is not kept"
"$ASSETFS" umount "$MNT"
wait_for no_mounts || fail "the image stays"

# damage SECTION: of the packed index
damage() {
	local at
	at=$(jq --argjson n "$1" '.indexSections | .offset + ([.sections[:$n][].size] | add // 0) + 100' "$config")
	printf 'damaged!' | dd of="$index" bs=1 seek="$at" conv=notrunc status=none
}

note "no mount without the first section"
rm "$STORE"/indexes/*
cp "$index" "$T/index"
chmod u+w "$index"
damage 0
"$ASSETFS" mount "$image" "$MNT" 2>"$T/err" && fail "mounted with a damaged index"
finds "section 0: damaged: its digest is another" "$T/err" || fail "the message is: $(cat "$T/err")"
check_eq "lines of the message" "$(wc -l <"$T/err")" 1
wait_for nothing_unfinished || fail "something unfinished stays"
cp "$T/index" "$index"

note "another damaged section fails alone"
mounted=
# A mount needs some of them.
for ((i = 1; i < sections; i++)); do
	damage $i
	! "$ASSETFS" mount "$image" "$MNT" 2>"$T/err" || {
		mounted=$i
		break
	}
	cp "$T/index" "$index"
done
[[ -n $mounted ]] || fail "every section is needed to mount: $(cat "$T/err")"
# It may be one that a listing needs.
names "$MNT" >"$T/out" 2>&1 || true
finished() {
	finds "is not whole" "$STORE/assetfs.log"
}
wait_for finished || fail "nothing in the log"
wait_for nothing_unfinished || fail "something unfinished stays"
index_kept && fail "a damaged index is kept"
"$ASSETPACK" verify "$image" >"$T/out" 2>&1 && fail "verify finds no damage"
"$ASSETFS" umount "$MNT"
wait_for no_mounts || fail "the image stays"

note "and is good again when the blob is"
cp "$T/index" "$index"
"$ASSETFS" mount "$image" "$MNT"
wait_for index_kept || fail "the index is not kept"
check_eq "names" "$(names "$MNT")" "$expected"
"$ASSETFS" umount "$MNT"
