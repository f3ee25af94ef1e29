#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Pipelines of three owners for two architectures, first with the assets in two container images, then with assetpack. There are
# a base, code for each architecture, the assets, and what some of them are for one architecture alone. In turn
# everything is new, an artist replaces a hundredth of the files, a developer the code, devops the base.
#   before   A job for each architecture makes layers (tar, zstd -3), in the order base, assets, code. A layer above one that
#            has changed is made again, and files have the times of the job's checkout.
#   at best  As before, but layers depend on nothing below, and times are fixed, so that equal files give equal layers.
#   after    Layers of base and code as at best; one job packs the assets for both.
# Assets are those of supertuxkart in $ASSETS, else FILES MB that were made. What is counted: seconds of making layers and
# images, by the clock and of all processors; bytes that are new in the registry; bytes that a node of one architecture fetches that has what was before.
. "$(dirname "$0")/migrate_lib.sh"

: "${FILES:=$(small 12 300)}"
CODE=$(small 400000 24000000)
ARCHES="amd64 arm64"
assets=$T/assets
if [[ -z $SMALL && -d $ASSETS/usr/share/games ]]; then
	cp -r "$ASSETS/usr/share/games" "$assets"
else
	make_set "$assets" "$FILES"
fi
for arch in $ARCHES; do
	mkdir -p "$T/parts/base.$arch" "$T/parts/code.$arch" "$T/parts/overlay.$arch/for this architecture"
	noise $((CODE * 2)) >"$T/parts/base.$arch/libraries"
	noise "$CODE" >"$T/parts/code.$arch/server"
	noise $((CODE / 2)) >"$T/parts/overlay.$arch/for this architecture/atlas"
done

# layer NAME TIMES DIR: packs a layer into the registry of $way; its digest is that of the tag NAME then
layer() {
	local blobs=$T/$way/blobs digest
	tar -C "$3" --sort=name --owner=0 --group=0 --mtime="@$2" -c . | zstd -q -3 -T0 >"$blobs/new"
	digest=$(sha256sum "$blobs/new" | cut -d ' ' -f 1)
	mv "$blobs/new" "$blobs/$digest"
	echo "$digest" >"$T/$way/tags/$1"
}

# layers_of ARCH TIMES PART...: a job; without TIMES those of a checkout, which no other job has
checkouts=0
layers_of() {
	local arch=$1 times=$2 part dir
	shift 2
	if [[ -z $times ]]; then
		checkouts=$((checkouts + 1))
		times=$((1000000000 + 60 * checkouts))
	fi
	for part; do
		dir=$T/parts/$part.$arch
		[[ $part != assets ]] || dir=$assets
		layer "$part.$arch" "$times" "$dir"
	done
}

# jobs TIMES PART...: for each architecture
jobs() {
	local arch
	for arch in $ARCHES; do
		layers_of "$arch" "$@"
	done
}

pack_assets() {
	"$ASSETPACK" build --progress none -p linux/amd64="$T/parts/overlay.amd64" -p linux/arm64="$T/parts/overlay.arm64" "$assets" "$T/after/layout:main"
}

# What each owner's change has each way make.
run_before() {
	case $1 in
	everything | devops) jobs "" base assets overlay code ;;
	artist) jobs "" assets overlay code ;;
	developer) jobs "" code ;;
	esac
}

run_best() {
	case $1 in
	everything) jobs 0 base assets overlay code ;;
	artist) jobs 0 assets overlay ;;
	developer) jobs 0 code ;;
	devops) jobs 0 base ;;
	esac
}

run_after() {
	case $1 in
	everything) jobs 0 base code && pack_assets ;;
	artist) pack_assets ;;
	developer) jobs 0 code ;;
	devops) jobs 0 base ;;
	esac
}

# What the owner has done to the sources.
change() {
	local arch n=0 file size
	case $1 in
	artist)
		while read -r file; do
			size=$(stat -c %s "$file")
			((n++ % 100)) || noise "$size" >"$file"
		done < <(find "$assets" -type f -size +4k | sort)
		;;
	developer)
		for arch in $ARCHES; do
			noise "$CODE" >"$T/parts/code.$arch/server"
		done
		;;
	devops)
		for arch in $ARCHES; do
			noise $((CODE * 2)) >"$T/parts/base.$arch/libraries"
		done
		;;
	esac
}

# fetched WAY: bytes that the node of amd64 lacks of what the tags of a way name, and has from then on
fetched() {
	local sum=0 tag digest
	touch "$T/$1/node"
	for tag in base assets overlay code; do
		[[ -e $T/$1/tags/$tag.amd64 ]] || continue
		digest=$(cat "$T/$1/tags/$tag.amd64")
		grep -q "$digest" "$T/$1/node" && continue
		echo "$digest" >>"$T/$1/node"
		sum=$((sum + $(stat -c %s "$T/$1/blobs/$digest")))
	done
	if [[ -d $T/$1/layout ]]; then
		"$ASSETPACK" pull --progress plain --platform linux/amd64 "$T/$1/layout:main" "$T/$1/pulled:main" >"$T/out" 2>"$T/pull.log"
		# "assetpack: read 6.1 KiB from …"
		sum=$((sum + $(sed -nE 's/.*read ([0-9.]+) ([KMGT]?)i?(B|bytes) from.*/\1\2/p' "$T/pull.log" | numfmt --from=iec)))
	fi
	echo "$sum"
}

registry_bytes() {
	du -sb "$T/$1" --exclude=pulled --exclude=node --exclude=tags | cut -f 1
}

declare -A took work new fetch
TIMEFORMAT='%R %U %S'
warm_up "$assets" "$T/parts"
for way in before best after; do
	mkdir "$T/$way"
	# A test does not wait for disks.
	[[ -z $SMALL ]] || mount -t tmpfs tmpfs "$T/$way"
	mkdir "$T/$way/blobs" "$T/$way/tags"
done
owners="everything artist developer devops"
for owner in $owners; do
	change "$owner"
	[[ -n $SMALL ]] || sync -f "$T"
	for way in before best after; do
		had=$(registry_bytes $way)
		# In this shell, which counts the checkouts.
		{ time "run_$way" "$owner" >"$T/out" 2>&1; } 2>"$T/took" || fail "$(cat "$T/out")"
		read -r took["$owner.$way"] work["$owner.$way"] < <(awk '{ print $1, $2 + $3 }' "$T/took")
		new[$owner.$way]=$(($(registry_bytes $way) - had))
		fetch[$owner.$way]=$(fetched $way)
	done
done

# The order that the page speaks of; bytes, not times.
((${new[everything.after]} < ${new[everything.before]} * 2 / 3)) || fail "the first images are no smaller"
((${new[artist.after]} < ${new[artist.best]} / 5)) || fail "an artist's change costs the registry ${new[artist.after]} bytes"
((${fetch[artist.after]} < ${fetch[artist.best]} / 5)) || fail "an artist's change costs a node ${fetch[artist.after]} bytes"
((${fetch[developer.after]} == ${fetch[developer.best]})) || fail "a developer's change costs a node ${fetch[developer.after]} bytes"
((${fetch[devops.after]} < ${fetch[devops.before]})) || fail "a new base costs a node ${fetch[devops.after]} bytes"
"$ASSETPACK" extract --platform linux/amd64 "$T/after/pulled:main" "$T/extracted" >"$T/out" 2>&1 || fail "$(cat "$T/out")"
cp -r "$T/parts/overlay.amd64/." "$assets"
diff -r --no-dereference "$assets" "$T/extracted" || fail "the node has other assets"

rm -r "$assets/for this architecture"
echo "Two architectures: $(mb "$(dir_bytes "$assets")") MB of assets in $(find "$assets" -type f | wc -l) files, and for each $(mb $((CODE / 2))) MB of assets, $(mb "$CODE") MB of code, a base of $(mb $((CODE * 2))) MB"
printf '%-10s | %-22s | %-22s | %-22s | %-22s\n' "" "seconds" "processor seconds" "MB new in the registry" "MB that a node fetches"
printf '%-10s' "changed"
for i in 1 2 3 4; do
	printf ' | %6s %8s %6s' before "at best" after
done
echo
for owner in $owners; do
	printf '%-10s' "$owner"
	printf ' | %6.1f %8.1f %6.1f' "${took[$owner.before]}" "${took[$owner.best]}" "${took[$owner.after]}" \
		"${work[$owner.before]}" "${work[$owner.best]}" "${work[$owner.after]}" \
		"$(mb "${new[$owner.before]}")" "$(mb "${new[$owner.best]}")" "$(mb "${new[$owner.after]}")" \
		"$(mb "${fetch[$owner.before]}")" "$(mb "${fetch[$owner.best]}")" "$(mb "${fetch[$owner.after]}")"
	echo
	for way in before best after; do
		record migrate_pipelines --arg change "$owner" --arg way "$way" --argjson s "${took[$owner.$way]}" --argjson cpu "${work[$owner.$way]}" --argjson new "${new[$owner.$way]}" \
			--argjson fetch "${fetch[$owner.$way]}" '{change: $change, way: $way, seconds: $s, processor_seconds: $cpu, registry_bytes: $new, node_bytes: $fetch}'
	done
done
