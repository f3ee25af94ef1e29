#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Metrics over HTTP: judged by promtool, scraped by a real Prometheus; probes; bad requests.
if [[ -z ${ASSETFS_TEST_INSIDE:-} ]]; then
	# Unpacked, not installed: Debian's package would start a service. Outside of the namespaces:
	# the cache directory is locked while it is filled.
	PROMETHEUS=$("${SUPPORT:?}/fetch_package.sh" prometheus)/usr/bin || exit 1
	PROMTOOL=$PROMETHEUS/promtool
	# Debian 13 has it in a package of its own.
	[[ -e $PROMTOOL ]] || PROMTOOL=$("$SUPPORT/fetch_package.sh" promtool)/usr/bin/promtool || exit 1
	export PROMETHEUS PROMTOOL
fi
. "$(dirname "$0")/../support/mount_lib.sh"

src=$T/src
mkdir "$src"
noise 5000 >"$src/file"
"$ASSETPACK" build "$src" "$T/layout:v1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"

note "addresses that are none"
for address in '' 9809 127.0.0.1 127.0.0.1: 127.0.0.1:x 127.0.0.1:65536 localhost:1 '[::1:1' '::1:1' '[127.0.0.1]:1'; do
	expect_failure 2 "not valid" "$ASSETFS" serve --metrics "$address"
done

start_daemon --metrics 127.0.0.1:0
port=$(sed -n "s/.*metrics at .*, port \([0-9]*\)$/\1/p" "$STORE/assetfs.log")
"$ASSETFS" mount "$T/layout:v1" "$MNT"

# get PATH [HEADER]...: the answer, status line first, without carriage returns
get() {
	local path=$1 header
	shift
	exec {http}<>"/dev/tcp/127.0.0.1/$port"
	printf 'GET %s HTTP/1.1\r\nHost: test\r\nConnection: close\r\n' "$path" >&"$http"
	for header in "$@"; do
		printf '%s\r\n' "$header" >&"$http"
	done
	printf '\r\n' >&"$http"
	tr -d '\r' <&"$http"
	exec {http}>&-
}
body() {
	sed '1,/^$/d'
}

note "40 opens, the first of which fills the file"
for _ in {1..40}; do
	cmp "$src/file" "$MNT/file"
done
get /metrics >"$T/answer"
head -n 1 "$T/answer" | finds "^HTTP/1.1 200 " || fail "$(cat "$T/answer")"
grep -q "^Content-Type: text/plain; version=0.0.4" "$T/answer" || fail "$(head "$T/answer")"
body <"$T/answer" >"$T/metrics"
grep -qx "assetfs_opens_total 40" "$T/metrics" || fail "$(cat "$T/metrics")"
grep -qx "assetfs_open_hits_total 39" "$T/metrics" || fail "$(cat "$T/metrics")"
grep -qx "assetfs_open_seconds_count 40" "$T/metrics" || fail "$(cat "$T/metrics")"
digest=$("$FSSTAT" --json | jq -r '.images[0].digest')
platform=$("$FSSTAT" --json | jq -r '.images[0].platform')
grep -qxF "assetfs_image_files{image=\"$T/layout:v1\",digest=\"$digest\",platform=\"$platform\"} 1" "$T/metrics" ||
	fail "$(cat "$T/metrics")"
"$PROMTOOL" check metrics <"$T/metrics" >"$T/lint" 2>&1 || fail "promtool: $(cat "$T/lint")"
check_eq "promtool" "$(cat "$T/lint")" ""
"$FSSTAT" --prometheus >"$T/fsstat"
"$PROMTOOL" check metrics <"$T/fsstat" || fail "promtool does not like fsstat --prometheus"
check_eq "metrics of fsstat" "$(grep -v '^#' "$T/fsstat" | cut -d ' ' -f 1)" "$(grep -v '^#' "$T/metrics" | cut -d ' ' -f 1)"

note "OpenMetrics for who accepts it"
get /metrics 'Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5' >"$T/answer"
grep -q "^Content-Type: application/openmetrics-text; version=1.0.0" "$T/answer" || fail "$(head "$T/answer")"
check_eq "last line" "$(tail -n 1 "$T/answer")" "# EOF"

note "probes, and requests that are none"
healthy() {
	get /healthz 2>/dev/null | finds "^HTTP/1.1 200 "
}
wait_for healthy || fail "not healthy"
get /readyz | finds "^HTTP/1.1 200 " || fail "not ready"
get /nothing | finds "^HTTP/1.1 404 " || fail "no 404"
exec {http}<>"/dev/tcp/127.0.0.1/$port"
printf 'POST /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc' >&"$http"
grep -q "^HTTP/1.1 405 " <&"$http" || fail "no 405"
exec {http}<>"/dev/tcp/127.0.0.1/$port"
printf 'rubbish\r\n\r\n' >&"$http"
{
	head -c 100000 /dev/zero >&"$http" || true
	cat <&"$http" >/dev/null || true
} 2>/dev/null
exec {http}>&-
# Connections that say nothing, more than the server takes: it must answer again when they are gone.
for _ in {1..20}; do
	exec {http}<>"/dev/tcp/127.0.0.1/$port"
	silent+=("$http")
done
for http in "${silent[@]}"; do
	exec {http}>&-
done
wait_for healthy || fail "not healthy after bad requests"

note "a mount that hangs does not keep the metrics from answering"
connection=$(own_connections)
[[ -n $connection ]] || fail "no connection"
echo 1 >"/sys/fs/fuse/connections/$connection/abort"
get /metrics | finds -x "assetfs_opens_total 40" || fail "no metrics without the mount"
umount -l "$MNT"
"$ASSETFS" mount "$T/layout:v1" "$MNT"

note "a port that is taken"
mkdir "$T/other"
expect_failure 1 "metrics cannot be served at '127.0.0.1:$port': Address already in use" \
	"$ASSETFS" serve --store "$T/other" --metrics "127.0.0.1:$port"

note "every name in rules and dashboard is one that there is"
monitoring=$SOURCE_ROOT/container/deploy/monitoring
names() {
	grep -oE '\bassetfs_[a-z0-9_]+' "$@" | sort -u
}
# A kernel before 6.7 does not tell of huge pages.
{
	get /metrics | body
	"$FSSTAT" --json | jq -r 'select(.region.huge_bytes == null) | "assetfs_region_huge_bytes"'
} | names >"$T/names"
for file in "$monitoring/assetfs.rules.yml" "$monitoring/assetfs-dashboard.json"; do
	unknown=$(names "$file" | comm -23 - "$T/names")
	check_eq "${file##*/}: unknown metrics" "$unknown" ""
	(($(names "$file" | wc -l) > 5)) || fail "$file names no metrics"
done
jq -e '[.panels[].targets[].expr] | length > 10' "$monitoring/assetfs-dashboard.json" >/dev/null || fail "the dashboard has no queries"

note "rules"
cp "$monitoring/assetfs.rules.yml" "$SOURCE_ROOT/tests/monitoring/rules_test.yml" "$T/"
"$PROMTOOL" check rules "$T/assetfs.rules.yml" || fail "rules"
"$PROMTOOL" test rules "$T/rules_test.yml" || fail "rules do not do what their test says"

note "a real Prometheus scrapes the daemon and answers queries"
cat >"$T/prometheus.yml" <<END
global:
  scrape_interval: 2s
rule_files: [$T/assetfs.rules.yml]
scrape_configs:
  - job_name: assetfs
    static_configs:
      - targets: ['127.0.0.1:$port']
END
"$PROMTOOL" check config "$T/prometheus.yml" >/dev/null || fail "configuration"
# It cannot be asked to find a port that is free: try some.
for _ in {1..20}; do
	web=$((20000 + RANDOM % 10000))
	"$PROMETHEUS/prometheus" --config.file="$T/prometheus.yml" --storage.tsdb.path="$T/tsdb" \
		--web.listen-address="127.0.0.1:$web" --log.level=warn >"$T/prometheus.log" 2>&1 &
	prometheus=$!
	answers() {
		! kill -0 "$prometheus" 2>/dev/null || (exec 3<>"/dev/tcp/127.0.0.1/$web") 2>/dev/null
	}
	wait_for answers || fail "Prometheus does not answer: $(cat "$T/prometheus.log")"
	kill -0 "$prometheus" 2>/dev/null && break
done
kill -0 "$prometheus" || fail "Prometheus does not run: $(cat "$T/prometheus.log")"
query() {
	"$PROMTOOL" query instant -o json "http://127.0.0.1:$web" "$1" 2>/dev/null
}
scraped() {
	[[ $(query 'assetfs_open_hits_total / assetfs_opens_total' | jq -r '.[0].value[1]') == 0.975 ]]
}
wait_for scraped || fail "Prometheus does not know the hit rate: $(query assetfs_opens_total; cat "$T/prometheus.log")"
up() {
	[[ $(query 'up{job="assetfs"}' | jq -r '.[0].value[1]') == 1 ]]
}
wait_for up || fail "not up"
check_eq "queries of the dashboard that fail" "$(jq -r '.panels[].targets[].expr' "$monitoring/assetfs-dashboard.json" |
	sed 's/\$job\|\$instance\|\$image/.*/g' | while read -r expr; do
	query "$expr" >/dev/null || echo "$expr"
done)" ""
kill "$prometheus"
wait "$prometheus" || true
"$ASSETFS" umount "$MNT"
