#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A machine that systemd has booted: the daemon's unit, and fstab and a server's unit as the examples have them. systemd
# is process 1 of namespaces of its own, and has the units that it needs for this and no others.
. "$(dirname "$0")/../support/mount_lib.sh"

: "${SOURCE_ROOT:?}" "${BUILD_ROOT:?}"
examples=$SOURCE_ROOT/container/deploy/examples/systemd
systemd=/lib/systemd/systemd
[[ -x $systemd && -d /lib/systemd/system ]] || fail "no systemd: install the Debian package of that name"
directory=$(sed -n 's|^/srv/images:v1  *\(/[^ ]*\) .*|\1|p' "$examples/fstab")
unit=$(systemd-escape --path --suffix=mount "$directory")

# What the machine has of its own: programs, units, /var/lib and /srv, /dev, and a journal that outlives it.
machine=$T/machine
mkdir -p "$machine"/{lib,srv,upper,work,local/bin,journal,units,generators,dev/shm,dev/pts} "$T/src"
STORE=$machine/lib/assetfs
export ASSETFS_STORE=$STORE
noise 3000000 >"$T/src/file"
(cd "$T/src" && sha256sum file >sums)
"$ASSETPACK" build "$T/src" "$machine/srv/images:v1" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
chunks=$("$ASSETPACK" inspect --json "$machine/srv/images:v1" | jq -er "$CHUNKS_OF_IMAGE")
install -m 755 "$ASSETFS" "${ASSETFS}d" "$machine/local/bin"
install -m 755 "$SOURCE_ROOT/tests/pods/game_server.sh" "$machine/local/bin/game-server"
echo 0123456789abcdef0123456789abcdef >"$machine/id"
cp "$examples/fstab" "$machine/fstab"
cp "$BUILD_ROOT/container/assetfs.service" "$examples/game@.service" "$machine/units"
ln -s /lib/systemd/system-generators/systemd-fstab-generator "$machine/generators"
for name in basic emergency final local-fs local-fs-pre multi-user network network-online network-pre paths poweroff remote-fs \
	remote-fs-pre rescue shutdown slices sockets swap sysinit timers umount; do
	cp -L "/lib/systemd/system/$name.target" "$machine/units"
done
cp -L /lib/systemd/system/systemd-{journald.service,journald.socket,journald-dev-log.socket,poweroff.service} "$machine/units"
# As `systemctl enable` would.
mkdir "$machine/units/multi-user.target.wants" "$machine/units/sysinit.target.wants"
ln -s ../assetfs.service "$machine/units/multi-user.target.wants"
ln -s "../game@.service" "$machine/units/multi-user.target.wants/game@7654.service"
ln -s ../systemd-journald.service "$machine/units/sysinit.target.wants"

cat >"$machine/boot" <<'END'
set -euo pipefail
machine=$1 systemd=$2
mount -t proc proc /proc
# systemd raises limits of the whole machine there.
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/machine
mount --bind "$machine" /run/machine
machine=/run/machine
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=1777 tmpfs /var/tmp
umount -l -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for name in null zero full random urandom tty fuse; do
	touch "$machine/dev/$name"
	mount --bind "/dev/$name" "$machine/dev/$name"
done
ln -s /proc/self/fd "$machine/dev/fd"
mount --bind "$machine/lib" /var/lib
mount --bind "$machine/srv" /srv
mount --bind "$machine/local" /usr/local
mount --bind "$machine/id" /etc/machine-id
mount --bind "$machine/fstab" /etc/fstab
mount -t tmpfs tmpfs /etc/systemd
mkdir -p /run/log/journal
mount --bind "$machine/journal" /run/log/journal
# As `meson install` with --prefix=/usr, or a link, has it: mount(8) looks nowhere else.
mount -t overlay overlay -o "lowerdir=/sbin,upperdir=$machine/upper,workdir=$machine/work" /sbin
ln -s /usr/local/bin/assetfs /sbin/mount.assetfs
mount --rbind "$machine/dev" /dev
exec env -i container=test PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin SYSTEMD_UNIT_PATH="$machine/units:/run/systemd/generator" \
	SYSTEMD_GENERATOR_PATH="$machine/generators" "$systemd" --system --unit=multi-user.target --show-status=0 --log-target=journal
END
# Its cgroups are below one of the test's.
mkdir "$T/cgroup"
mount -t cgroup2 cgroup2 "$T/cgroup"
group=$T/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)/${T##*/}
mkdir "$group"
no_group() {
	find "$group" -depth -type d -exec rmdir {} + 2>/dev/null
	[[ ! -d $group ]]
}
clean_up() {
	[[ -z ${machine_job:-} ]] || kill -KILL "$machine_job" 2>/dev/null
	wait_for no_group || echo "cgroups are left in $group" >&2
}
(echo "$BASHPID" >"$group/cgroup.procs" && exec \
	unshare --mount --propagation private --pid --fork --kill-child --cgroup --net --uts --ipc bash "$machine/boot" "$machine" "$systemd") \
	</dev/null >"$T/console" 2>&1 &
machine_job=$!
# on COMMAND...: on that machine
on() {
	env --unset=ASSETFS_STORE nsenter --target "$init" --mount --pid --cgroup --net --uts --ipc -- "$@"
}
journal() {
	journalctl --directory "$machine/journal" --quiet --no-pager "$@"
}
ended() {
	local status=$?
	set +e
	((status == 0)) || {
		cat "$T/console"
		journal --output short-monotonic --identifier systemd --identifier assetfs --identifier game-server --identifier mount
	} | grep -v ": read [0-9]*$" >&2
	(exit "$status")
	finish
}
trap ended EXIT
has_init() {
	init=$(pgrep -P "$machine_job" -x systemd)
}
wait_for has_init || fail "systemd does not start"
booted() {
	state=$(on systemctl is-system-running 2>/dev/null) || [[ $state == degraded ]]
}
# property NAME UNIT
property() {
	on systemctl show --property "$1" --value "$2"
}
said() {
	journal --output cat --unit game@7654.service >"$T/said"
	grep -q "$@" "$T/said"
}
reads_on() {
	local before
	before=$(journal --output cat --unit game@7654.service | grep -c '^read ') || true
	more() {
		(($(journal --output cat --unit game@7654.service | grep -c '^read ') >= before + 2))
	}
	wait_for more || fail "$1: the server does not read on"
	check_eq "$1: the server" "$(property MainPID game@7654.service)" "$server"
}
next_ready() {
	local now
	now=$(property MainPID assetfs.service)
	[[ $now != 0 && $now != "$pid" ]] && [[ $(property ActiveState assetfs.service) == active ]] && status_ok
}

note "boot"
wait_for booted || fail "not booted: $state"
check_eq "state, failed: $(on systemctl --failed --plain --no-legend)" "$state" running
check_eq "$unit" "$(property ActiveState "$unit")" active
check_eq "source" "$(on findmnt -n -o SOURCE,FSTYPE "$directory" | xargs)" "/srv/images:v1 fuse.assetfs"
check_eq "mount --all" "$(on mount --all --verbose 2>&1 | grep -c "$directory *: already mounted")" 1
wait_for said '^read 1$' || fail "the server does not read: $(cat "$T/said")"
said -i 'read-only file system' || fail "the server's write: $(cat "$T/said")"
said '^port 7654$' || fail "the server's port: $(cat "$T/said")"
! said '^user 0$' || fail "the server is root"
check_eq "memory limit" "$(property MemoryMax game@7654.service)" $((256 << 20))
server=$(property MainPID game@7654.service)

note "restart, kill -9, upgrade"
pid=$(property MainPID assetfs.service)
on systemctl restart assetfs.service
wait_for next_ready || fail "not restarted"
reads_on restart
pid=$(property MainPID assetfs.service)
on kill -KILL "$pid"
wait_for next_ready || fail "no other daemon"
reads_on "kill -9"
pid=$(property MainPID assetfs.service)
on assetfs upgrade >"$T/upgrade" || fail "upgrade: $(cat "$T/upgrade")"
wait_for next_ready || fail "no other daemon"
reads_on upgrade
check_eq "takeovers" "$(counter takeovers_total)" 3
# The region was kept with the mounts.
(($(counter chunks_decompressed_total) <= chunks)) || fail "$(counter chunks_decompressed_total) chunks decompressed, the image has $chunks"
check_eq "mounts" "$(on findmnt -n -o TARGET -t fuse.assetfs)" "$directory"

note "a daemon that does not start for a while, more often than systemd lets others"
mv "$machine/local/bin/assetfs" "$machine/local/bin/away"
pid=$(property MainPID assetfs.service)
before=$(property NRestarts assetfs.service)
on kill -KILL "$pid"
often() {
	(($(property NRestarts assetfs.service) >= before + 8))
}
wait_for often || fail "systemd has given up: $(property Result assetfs.service)"
mv "$machine/local/bin/away" "$machine/local/bin/assetfs"
wait_for next_ready || fail "no other daemon"
reads_on "many failures"

note "what the journal has"
check_eq "failed units" "$(on systemctl --failed --plain --no-legend)" ""
status=0
on assetfs mount /srv/images:none /mnt 2>"$T/refused" || status=$?
check_eq "status of a mount" "$status" 1
refused() {
	journal --unit assetfs.service --identifier assetfs --priority warning --output json >"$T/warnings"
	[[ -s $T/warnings ]]
}
wait_for refused || fail "no warning of: $(cat "$T/refused")"
check_eq "warnings" "$(jq -rs 'map("\(.PRIORITY) \(.MESSAGE)") | join("; ")' "$T/warnings" | sed 's/: .*//')" "4 assetfs"
jq -es 'length == 1 and (.[0].MESSAGE | contains("refused"))' "$T/warnings" >/dev/null || fail "$(cat "$T/warnings")"
journal --identifier systemd | grep -iE "fd.* to store|unknown (key|lvalue|section)|ordering cycle" && fail "systemd complains"

note "the mount goes and comes, and takes the server along"
on systemctl stop "$unit"
check_eq "server" "$(property ActiveState game@7654.service)" inactive
check_eq "mounts" "$(on findmnt -n -o TARGET -t fuse.assetfs || true)" ""
on systemctl start game@7654.service
check_eq "$unit" "$(property ActiveState "$unit")" active
server=$(property MainPID game@7654.service)
reads_on "mounted again"

note "shutdown"
on systemctl start --no-block --job-mode=replace-irreversibly poweroff.target
wait "$machine_job" || true # ends as if by a signal
check_eq "order" "$(journal --identifier systemd --output cat | grep -E '^(Stopped|Unmounted) ' | grep -oE 'game@7654|assetfs\.service|mounts-game' | tail -n 3 | xargs)" \
	"game@7654 mounts-game assetfs.service"
journal --identifier systemd --output cat | grep -E "$unit|assetfs.service" | grep -iE "failed unmounting|timed out|result 'timeout'" && fail "no clean end"
true
