#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# A build that is killed leaves the image that was there, and no trouble for the next one.
# shellcheck disable=SC2154
load lib

# Two trees with much in common. In ./base the image of ./old as 'keep' and 'v1', in $want the
# digest that ./new has once it is built to v1 there, in $time the microseconds that this takes.
make_base() {
	local start
	mkdir old
	for i in {1..4}; do
		noise 6000000 >"old/large-$i"
	done
	for i in {1..500}; do
		echo "$i" >"old/small-$i"
	done
	cp -r old new
	noise 6000000 >new/large-1
	cat <(head -c 3000000 old/large-2) <(echo inserted) <(tail -c 3000000 old/large-2) >new/large-2
	mv new/large-3 new/moved
	rm new/small-7
	for i in {100..300}; do
		echo "again $i" >"new/small-$i"
	done
	old=$(build old ./base:keep)
	build old ./base:v1
	cp -r base clean
	start=${EPOCHREALTIME/./}
	want=$(build new ./clean:v1)
	time=$((${EPOCHREALTIME/./} - start))
}

# A second build, which SIGKILL ends after $1 microseconds unless it is done by then.
build_for() {
	timeout -s KILL "$(($1 / 1000000)).$(printf %06d $(($1 % 1000000)))" \
		"$ASSETPACK" build --progress none new ./layout:v1 >digest
}

# After a build onto ./layout that ended with status $1.
judge() {
	local now
	now=$("$ASSETPACK" inspect --json ./layout:v1 | jq -r .digest)
	"$ASSETPACK" verify ./layout:keep
	[[ $("$ASSETPACK" inspect --json ./layout:keep | jq -r .digest) == "$old" ]]
	if (($1 == 0)); then
		[[ $now == "$want" && $(<digest) == "$want" ]]
	else
		[[ $1 == 137 ]]
		[[ $now == "$old" || $now == "$want" ]]
	fi
	# Until the tag is switched, each build finds what those before it have left.
	[[ $now == "$want" ]] || return 0
	"$ASSETPACK" verify ./layout:v1
	rm -rf layout
	cp -r base layout
}

@test "SIGKILL at 50 random times leaves the earlier image whole" {
	# Under sanitizers all takes ten times as long.
	: "${KILLS:=$([[ -z ${ASAN_OPTIONS:-} ]] && echo 50 || echo 15)}"
	make_base
	: "${SEED:=$RANDOM}"
	RANDOM=$SEED
	echo "SEED=$SEED"
	cp -r base layout
	killed=0
	for ((i = 0; i < 4 * KILLS && killed < KILLS; i++)); do
		delay=$((time * RANDOM / 32768))
		status=0
		build_for "$delay" || status=$?
		echo "$i: status $status after $delay of $time microseconds"
		judge "$status"
		# How long a build takes depends on what else this machine does.
		if ((status == 0)); then
			time=$((time * 9 / 10))
		else
			time=$((time * 21 / 20))
			killed=$((killed + 1))
		fi
	done
	((killed == KILLS))
	[[ $(build new ./layout:v1) == "$want" ]]
	"$ASSETPACK" verify ./layout:v1
	"$ASSETPACK" verify ./layout:keep
	"$ASSETPACK" extract ./layout:v1 out
	diff -r new out
	[[ -z $(find layout -name '.tmp-*') ]]
}

@test "builds into one layout wait for each other" {
	for i in 1 2 3; do
		mkdir "src$i"
		noise 3000000 >"src$i/file"
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
