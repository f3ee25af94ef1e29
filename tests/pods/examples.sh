#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The examples, run: podman and crun have the pods, compose and Nomad's containers as the files say, with the names that
# the files have. What Kubernetes would do with volumes of the driver's is done as kubelet does it, with the files'
# attributes. Of systemd's: systemd.sh.
# shellcheck disable=SC2119 # start_node without options
. "$(dirname "$0")/../support/mount_lib.sh"
. "$(dirname "$0")/../support/registry_mount.sh"
# shellcheck source=tests/pods/podman_lib.sh
. "$(dirname "$0")/podman_lib.sh"
. "$(dirname "$0")/driver_lib.sh"

command -v podman-compose >/dev/null || fail "no podman-compose: install the Debian package of that name"
examples=$SOURCE_ROOT/container/deploy/examples
expect_log 'was ended by signal 9'

note "the server and its assets, by the names of the examples"
start_registry
mkdir -p "$T/src" "$T/root/bin" "$T/root/usr/bin" "$T/lib/assetfs-mounts/game"
noise 3000000 >"$T/src/file"
(cd "$T/src" && sha256sum file >sums)
"$ASSETPACK" build "$T/src" "$T/layout:v1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
"$ASSETPACK" push --progress none "$T/layout:v1" "$REAL/game/assets:1.4.2" >"$T/push.log"
export ASSETFS_MIRRORS="registry.example.com=http://$REAL"
install "$(command -v busybox)" "$T/root/bin/busybox"
for applet in id sh sha256sum sleep; do
	ln -s busybox "$T/root/bin/$applet"
done
install -m 755 "$SOURCE_ROOT/tests/pods/game_server.sh" "$T/root/usr/bin/game-server"
tar -C "$T/root" -c . | pod import --quiet --change 'ENV PATH=/usr/bin:/bin' --change 'ENTRYPOINT ["/usr/bin/game-server"]' - registry.example.com/game/server:1.4.2 >"$T/import.log" 2>&1 ||
	fail "$(cat "$T/import.log")"
# This namespace is the host. What it has in /var/lib is the test's.
mount --bind "$T/lib" /var/lib
mount --make-shared /var/lib
start_node
"$ASSETFS" mount registry.example.com/game/assets:1.4.2 /var/lib/assetfs-mounts/game

# There is no network here, which compose would make one in.
mkdir "$T/bin"
cat >"$T/bin/podman" <<END
#!/bin/bash
[[ \$1 != network ]] || exit 0
arguments=()
while ((\$# > 0)); do
	case \$1 in
	--net | --network | --network-alias) shift ;;
	--net=* | --network=* | --network-alias=*) ;;
	run) arguments+=(run --network=none) ;;
	*) arguments+=("\$1") ;;
	esac
	shift
done
exec podman --root "$T/storage" --runroot "$T/run" --storage-driver vfs --log-level error "\${arguments[@]}"
END
chmod +x "$T/bin/podman"
compose() {
	(cd "$examples" && podman-compose --podman-path "$T/bin/podman" --project-name game "$@" >>"$T/compose.log" 2>&1)
}

note "compose: what Docker's makes of the file"
docker_compose=$(command -v docker-compose || echo /usr/libexec/docker/cli-plugins/docker-compose)
"$docker_compose" --file "$examples/compose.yaml" config >"$T/config" 2>"$T/compose.log" || fail "$(cat "$T/compose.log")"
/usr/bin/python3 - "$T/config" <<'END' || fail "$(cat "$T/config")"
import sys, yaml
with open(sys.argv[1], encoding="utf-8") as file:
    (server,) = yaml.safe_load(file)["services"].values()
(volume,) = server["volumes"]
assert (volume["source"], volume["target"]) == ("/var/lib/assetfs-mounts", "/assets")
assert volume["type"] == "bind" and volume["read_only"] and volume["bind"]["propagation"] == "rslave"
assert server["read_only"] and str(server["mem_limit"]) in ("256m", str(256 << 20)) and server["deploy"]["replicas"] == 4
END

note "pods, claims, Agones, OpenKruiseGame"
for example in pod:1 agones-fleet:2 openkruise-gameserverset:1 persistent-volume:1 hostpath-pod:1; do
	"$SOURCE_ROOT/tests/pods/example_pods.py" "$examples/${example%:*}.yaml" "$kubelet" "${example#*:}" >>"$T/pods.yaml"
done
while read -r _ _ name attributes; do
	publish "$name" "$attributes" || fail "$name: $(cat "$T/answer")"
	published+=("$name")
done < <(grep '^# publish ' "$T/pods.yaml")
check_eq "volumes" "${#published[@]}" 5
pod kube play --network none "$T/pods.yaml" >"$T/play.log" 2>&1 || fail "$(cat "$T/play.log")"

note "podman-compose, Nomad"
compose up --detach || fail "$(cat "$T/compose.log")"
mapfile -t arguments < <("$SOURCE_ROOT/tests/pods/nomad.py" "$examples/game.nomad.hcl")
((${#arguments[@]} >= 4)) || fail "what Nomad would run: ${arguments[*]}"
pod run --detach --name nomad --network none "${arguments[@]}" >"$T/play.log" 2>&1 || fail "$(cat "$T/play.log")"

mapfile -t containers < <(pod ps --all --filter ancestor=registry.example.com/game/server:1.4.2 --format '{{.Names}}' | sort)
check_eq "containers" "${containers[*]}" "fleet-0-server fleet-1-server game-0-server game-hostpath-0-server \
game-with-claim-0-server game_server_1 game_server_2 game_server_3 game_server_4 nomad set-0-server"

# times CONTAINER: how often it has read all
times() {
	grep -c ' read [0-9]*$' "${log[$1]}" || true
}
# read_more N: each container has, N times more than $before says
read_more() {
	local name
	for name in "${containers[@]}"; do
		(($(times "$name") >= ${before[$name]:-0} + $1)) || return 1
	done
}
declare -A before=() log=()
pod inspect --format '{{.Name}} {{.State.Pid}} {{.HostConfig.LogConfig.Path}} {{range .Mounts}}{{.Propagation}} {{.RW}}{{end}}' \
	"${containers[@]}" >"$T/inspected"
while read -r name _ path _; do
	log[$name]=$path
done <"$T/inspected"
note "all read"
wait_for read_more 1 || fail "not all read"
while read -r name pid path mounts; do
	grep -q 'Read-only file system$' "$path" || fail "$name could write: $(cat "$path")"
	[[ $name != game-0-server ]] || grep -q ' user 1000$' "$path" || fail "$name: $(cat "$path")"
	check_eq "$name: mounts" "$mounts" "rslave false"
	check_eq "$name: memory limit" "$(memory_limit_of "$pid")" $((256 << 20))
	charged=$(charged_to "$pid")
	((charged < 32 << 20)) || fail "$name is charged $charged bytes"
done <"$T/inspected"

note "what is mounted later is seen where the directory above is the volume"
mkdir /var/lib/assetfs-mounts/late
"$ASSETFS" mount registry.example.com/game/assets:1.4.2 /var/lib/assetfs-mounts/late
for name in game-hostpath-0-server game_server_1 nomad; do
	pod exec "$name" sh -c 'cd /assets/late && sha256sum -c sums' >"$T/answer" 2>&1 || fail "$name: $(cat "$T/answer")"
done

note "kill -9 of the daemon"
pid=$(daemon_pid)
kill -KILL "$pid"
wait_for next_daemon || fail "no other daemon"
for name in "${containers[@]}"; do
	before[$name]=$(times "$name")
done
wait_for read_more 2 || fail "not all read on"
check_eq "containers" "$(pod ps --filter ancestor=registry.example.com/game/server:1.4.2 --format '{{.Names}}' | wc -l)" "${#containers[@]}"
check_eq "sessions" "$("$ASSETFS" status --json | jq '.mounts | length')" 1

note "the end"
compose down || fail "$(cat "$T/compose.log")"
pod rm --force --time 10 nomad >/dev/null
pod kube down "$T/pods.yaml" >"$T/play.log" 2>&1 || fail "$(cat "$T/play.log")"
"$ASSETFS" umount /var/lib/assetfs-mounts/late
"$ASSETFS" umount /var/lib/assetfs-mounts/game
for name in "${published[@]}"; do
	unpublish "$name"
done
check_eq "mounts" "$(own_mounts)" ""
end_node
