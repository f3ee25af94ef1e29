#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The pipelines of container/ci: what they run is taken from them and run here, with a directory
# for a registry, so that they cannot fall behind the program.
# shellcheck disable=SC2030,SC2031,SC2154
load lib

setup_file() {
	mkdir "$BATS_FILE_TMPDIR/bin"
	ln -s "$ASSETPACK" "$BATS_FILE_TMPDIR/bin/assetpack"
	cp "$SUPPORT/fake_skopeo.sh" "$BATS_FILE_TMPDIR/bin/skopeo"
	chmod +x "$BATS_FILE_TMPDIR/bin/skopeo"
	export PATH=$BATS_FILE_TMPDIR/bin:$PATH
}

# step FILE NAME: the block below each comment "step: NAME"
step() {
	awk -v name="$2" '
		function indent() { match($0, /^ */); return RLENGTH }
		inside && NF && indent() <= outer { inside = 0 }
		inside { print substr($0, outer + 3) }
		armed && /\|$/ { inside = 1; armed = 0; outer = indent() }
		$1 == "#" && $2 == "step:" && $3 == name && NF == 3 { armed = 1 }
	' "$SOURCE_ROOT/container/ci/$1"
}

# run_step FILE NAME: as CI does, in the repository
run_step() {
	step "$1" "$2" >"$T/step.sh"
	[[ -s $T/step.sh ]]
	(cd "$T/repository" && bash -e -u -o pipefail "$T/step.sh")
}

# A game's repository; the variables that a project sets, and those that CI sets.
make_repository() {
	mkdir -p repository/{assets,overlays/amd64,overlays/arm64,server,deploy} registry
	noise 300000 >repository/assets/common
	echo amd64 >repository/overlays/amd64/plugin
	echo arm64 >repository/overlays/arm64/plugin
	printf '#!/bin/sh\n[ -e "$1/common" ] && [ -e "$1/plugin" ]\n' >repository/server/test.sh
	printf '#!/bin/sh\ncp "$1" deployed\n' >repository/deploy/rollout.sh
	chmod +x repository/server/test.sh repository/deploy/rollout.sh
	git -C repository init -q
	git -C repository -c user.name=a -c user.email=a@example.com commit -q --allow-empty -m first
	export FAKE_REGISTRY=$T/registry HOME=$T
	export REGISTRY=registry.example.com/game MAX_UPDATE=700K COMMIT=c1 GITHUB_OUTPUT=$T/output
	export CI_COMMIT_BRANCH=main CI_DEFAULT_BRANCH=main CI_COMMIT_SHA=c1 CODEBUILD_RESOLVED_SOURCE_VERSION=c1
}

# What the artists' steps promise, after a first and a second build.
check_assets() {
	local digest
	digest=$(jq -r '.["containerimage.digest"]' repository/meta.json)
	[[ $digest == "$(cat registry/assets/tags/main)" && $digest == "$(cat registry/assets/tags/c1)" ]]
	"$ASSETPACK" verify ./repository/layout:main
	[[ $("$ASSETPACK" inspect --json ./repository/layout:main | jq -r '[.images[].platform] | join(" ")') == "linux/amd64 linux/arm64" ]]
	"$ASSETPACK" ls -l --platform linux/arm64 ./repository/layout:main plugin |
		grep -q "$(date -u -d "@$(git -C repository log -1 --format=%ct)" +%Y-%m-%d)"
}

# artists FILE STEP...: the artists' steps for a first build, a small change, and one that is too large
artists() {
	local file=$1 name
	shift
	for name in "$@"; do
		run_step "$file" "$name"
	done
	check_assets
	noise 100000 >repository/assets/new
	for name in "$@"; do
		run_step "$file" "$name"
	done
	check_assets
	[[ $(jq '.["assetpack.stats"].base' repository/meta.json) != null ]]
	(($(find repository/layout/blobs/sha256 -type f | wc -l) < 20))
	# A cache that is lost is made up for by the registry.
	rm -r repository/layout
	noise 900000 >repository/assets/huge
	run -4 run_step "$file" pack
	[[ $output == *" huge"*"above the limit of 700.0 KiB"* ]]
	rm repository/assets/huge
}

# devops FILE: the devops' steps, twice
devops() {
	local digest
	digest=$(cat registry/assets/tags/main)
	export ASSETS_DIGEST=$digest SERVER_DIGEST=sha256:5e
	for _ in first second; do
		rm -rf repository/release
		run_step "$1" check >out
		run_step "$1" release
		[[ $(cat repository/deployed) == "ASSETS=$REGISTRY/assets@$digest"$'\n'"SERVER=$REGISTRY/server@sha256:5e" ]]
		[[ $(cat registry/assets/tags/released) == "$digest" ]]
	done
	grep -q "update: blobs that the old image lacks" out
	export ASSETS_DIGEST=sha256:00
	run ! run_step "$1" check
}

@test "GitHub Actions" {
	make_repository
	artists github-actions.yml pack push clean
	[[ $(sort -u output | tail -n 1) == "digest="* ]]
	export ASSETS_DIGEST
	ASSETS_DIGEST=$(cat registry/assets/tags/main)
	run_step github-actions.yml test
	devops github-actions.yml
}

@test "GitLab CI" {
	make_repository
	artists gitlab-ci.yml pack output push clean
	[[ $(cat repository/assets.env) == "ASSETS_DIGEST=$(cat registry/assets/tags/main)" ]]
	# Other branches push nothing.
	cp registry/assets/tags/main before
	echo change >repository/assets/new
	run_step gitlab-ci.yml pack
	CI_COMMIT_BRANCH=topic run_step gitlab-ci.yml push
	cmp registry/assets/tags/main before
	export ASSETS_DIGEST
	ASSETS_DIGEST=$(cat registry/assets/tags/main)
	run_step gitlab-ci.yml test
	devops gitlab-ci.yml
}

@test "AWS CodeBuild" {
	make_repository
	artists buildspec.yml pack push output clean
	[[ $(jq -r .ImageURI repository/imageDetail.json) == "$REGISTRY/assets@$(cat registry/assets/tags/main)" ]]
	run_step buildspec-server.yml test
	devops buildspec-release.yml
}

@test "every line that names assetpack is one that is run here" {
	local file
	for file in github-actions gitlab-ci buildspec buildspec-server buildspec-release; do
		for name in pack push output clean test image check release; do
			step "$file.yml" "$name"
		done | grep -cE '^ *(assetpack|skopeo) ' >"$file.run" || true
		grep -vE '^ *#' "$SOURCE_ROOT/container/ci/$file.yml" | grep -cE '^ *(- |run: )?(assetpack|skopeo) ' >"$file.all" || true
		# skopeo login is the only one outside of a step
		logins=$(grep -cE 'skopeo login' "$SOURCE_ROOT/container/ci/$file.yml" || true)
		piped=$(grep -cE '[|] skopeo login' "$SOURCE_ROOT/container/ci/$file.yml" || true)
		[[ $(cat "$file.run") -gt 0 ]]
		[[ $(($(cat "$file.all") - logins + piped)) == "$(cat "$file.run")" ]]
	done
}

@test "the pipelines are YAML" {
	for file in "$SOURCE_ROOT"/container/ci/*.yml; do
		python3 -c 'import sys, yaml; yaml.safe_load(open(sys.argv[1]))' "$file"
	done
}
