#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Constant eviction: a region of a quarter of the working set; for $MINUTES, 16 processes open, read
# and map random files of three images (two are releases of one game) and compare every block that
# they see with digests of the sources. The daemon's own memory and its descriptors must not
# grow: medians of the last third of the time against those of the first, after a warm-up.
# $BUILD may be a build with sanitizers; these keep what was freed, so that growth is not judged then.
: "${MINUTES:=30}"
LIMIT=$((MINUTES * 60 + 1800))
. "$(dirname "$0")/bench_lib.sh"

: "${PROCESSES:=16}" "${SEED:=1}"
CHURN=$BUILD/tests/churn
GROWTH=1.05   # of anonymous memory; and 1 MiB, for what samples differ by
! ldd "$ASSETFS" | grep -qE 'lib[at]san' || GROWTH=1000
FDS=16        # descriptors that more or fewer open requests explain
IMAGES="a b c"

# Every N-th file of directory $2 gets another middle.
change_files() {
	local file i=0
	while IFS= read -r file; do
		((++i % $1)) || head -c 16 /dev/urandom |
			dd of="$file" bs=16 seek=$(($(stat -c %s "$file") / 32)) conv=notrunc status=none
	done < <(find "$2" -type f -size +1k | LC_ALL=C sort)
}

rss_anon_kib() {
	awk '/^RssAnon/ { print $2 }' "/proc/$daemon/status"
}

n_fds() {
	find "/proc/$daemon/fd" -mindepth 1 -maxdepth 1 | wc -l
}

# Sample until the file $T/stop is there.
sample() {
	while [[ ! -e $T/stop ]]; do
		echo "$SECONDS $(rss_anon_kib) $(n_fds)" >>"$T/samples"
		sleep 1
	done
}

# third N COLUMN: the median of a column in a third of the samples; a tenth of all is warm-up
third() {
	local words
	mapfile -t words < <(awk -v n="$1" -v c="$2" '{ v[NR] = $c } END {
		skip = int(NR / 10); rest = NR - skip
		for (i = skip + int(rest * (n - 1) / 3) + 1; i <= skip + int(rest * n / 3); i++) print v[i] }' "$T/samples")
	median "${words[@]}"
}

cp -r "$ASSETS" "$T/a"
cp -r "$T/a" "$T/b"
change_files 20 "$T/b"
mkdir "$T/c"
"$MAKE_TREE" tree "$T/c" 5000
"$MAKE_TREE" file "$T/c/large" $((200 << 20))
mkdir "$T/c/medium"
for i in {1..40}; do
	head -c $((i * 100000)) /dev/urandom >"$T/c/medium/$i"
done
trees=()
for image in $IMAGES; do
	"$ASSETPACK" build --progress none "$T/$image" "$T/layout:$image" >"$T/build.log" 2>&1
	mkdir "$T/mnt.$image"
	trees+=("$T/$image" "$T/mnt.$image")
done
set_bytes=$(find "$T/a" "$T/b" "$T/c" -type f -size +0 -exec sha256sum {} + | awk '{ print $1, substr($0, 67) }' |
	sort -u -k 1,1 | cut -d ' ' -f 2- | tr '\n' '\0' | xargs -0 stat -c %s | awk '{ s += $1 } END { printf "%.0f\n", s }')
region=$((set_bytes / 4))

start_daemon --region-size "$region"
for image in $IMAGES; do
	"$ASSETFS" mount "$T/layout:$image" "$T/mnt.$image"
done
sample &
sampler=$!
echo "Eviction: $MINUTES minutes, $PROCESSES processes, working set of $(mb "$set_bytes") MB, region of $(mb "$region") MB"
"$CHURN" --processes "$PROCESSES" --seconds $((MINUTES * 60)) --seed "$SEED" --progress 60 "${trees[@]}" 2>&1 |
	tee "$T/churn" | while IFS= read -r line; do
	echo "$line; evictions $("$FSSTAT" --json | jq '.region.evictions_total // 0'), RssAnon $(rss_anon_kib) KiB, $(n_fds) descriptors"
done
wrong=${PIPESTATUS[0]}
touch "$T/stop"
wait "$sampler"
stats=$("$FSSTAT" --json)
first=$(third 1 2)
last=$(third 3 2)
first_fds=$(third 1 3)
last_fds=$(third 3 3)
met=$(awk -v w="$wrong" -v a="$first" -v b="$last" -v g=$GROWTH -v c="$first_fds" -v d="$last_fds" -v f=$FDS \
	-v e="$(jq '.region.evictions_total // 0' <<<"$stats")" -v x="$(jq '[.images[].errors_total] | add' <<<"$stats")" \
	'BEGIN { print (w == 0 && e > 0 && x == 0 && b <= a * g + 1024 && d <= c + f ? "yes" : "NO") }')
echo "RssAnon, median of the first third $first KiB, of the last $last KiB; descriptors $first_fds, $last_fds; met: $met"
record eviction --argjson minutes "$MINUTES" --argjson processes "$PROCESSES" --argjson set "$set_bytes" --argjson region "$region" \
	--argjson wrong "$wrong" --arg churn "$(tail -n 1 "$T/churn")" --argjson first "$first" --argjson last "$last" \
	--argjson ffd "$first_fds" --argjson lfd "$last_fds" --argjson stats "$stats" --arg met "$met" \
	'{minutes: $minutes, processes: $processes, working_set_bytes: $set, region_bytes: $region, churn_status: $wrong, churn: $churn,
		rss_anon_kib: {first_third: $first, last_third: $last}, descriptors: {first_third: $ffd, last_third: $lfd},
		region: $stats.region, cache: $stats.cache, errors: ([$stats.images[].errors_total] | add), met: $met}'
((wrong == 0)) || fail "$(tail -n 3 "$T/churn")"
for image in $IMAGES; do
	"$ASSETFS" umount "$T/mnt.$image"
done
