#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# A build that is killed leaves the image that was there, and no trouble for the next one.
# shellcheck disable=SC2154
load lib

@test "SIGKILL at any time leaves the old image whole" {
	mkdir old new
	echo old >old/file
	for i in {1..6}; do
		head -c 8000000 /dev/urandom >"new/large-$i"
	done
	for i in {1..500}; do
		echo "$i" >"new/small-$i"
	done
	old=$(build old ./layout:v1)
	new=$(build new ./elsewhere)
	killed=0
	for delay in 0.005 0.01 0.02 0.03 0.05 0.08 0.12 0.18 0.25; do
		build new ./layout:v1 >/dev/null &
		sleep "$delay"
		kill -KILL $! 2>/dev/null || true
		wait $! || killed=$((killed + 1))
		got=$("$ASSETPACK" inspect --json ./layout:v1 | jq -r .digest)
		"$ASSETPACK" verify ./layout:v1
		# Once the tag is switched, the new image is whole.
		[[ $got != "$new" ]] || break
		[[ $got == "$old" ]]
	done
	((killed > 0))
	[[ $(build new ./layout:v1) == "$new" ]]
	"$ASSETPACK" verify ./layout:v1
	"$ASSETPACK" extract ./layout:v1 out
	diff -r new out
	[[ -z $(find layout -name '.tmp-*') ]]
}

@test "builds into one layout wait for each other" {
	for i in 1 2 3; do
		mkdir "src$i"
		head -c 3000000 /dev/urandom >"src$i/file"
	done
	pids=()
	for i in 1 2 3; do
		build "src$i" "./layout:v$i" &
		pids+=($!)
	done
	for pid in "${pids[@]}"; do
		wait "$pid"
	done
	[[ $(jq '.manifests | length' layout/index.json) == 3 ]]
	for i in 1 2 3; do
		"$ASSETPACK" verify "./layout:v$i"
		"$ASSETPACK" cat "./layout:v$i" file | cmp - "src$i/file"
	done
}
