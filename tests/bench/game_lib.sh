# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# A real game server, Debian's supertuxkart, headless, for the measurements of starts. Sourced after bench_lib.sh, with GAME, the
# unpacked package, and ASSETS, that of its data. Sets $data.

data=$ASSETS/usr/share/games/supertuxkart
[[ -d $data/data ]] || fail "no game data in $data"
for lib in $(ldd "${GAME:?}/usr/games/supertuxkart" | awk '/not found/ { print $1 }'); do
	skip "$lib is missing; ./dev deps installs it"
done

# As in tests/mount/server.sh.
mkdir "$T/overlay"
mount -t tmpfs tmpfs "$T/overlay"
mkdir "$T/overlay/upper" "$T/overlay/work"
mount -t overlay -o "lowerdir=/usr/share,upperdir=$T/overlay/upper,workdir=$T/overlay/work" overlay /usr/share
mkdir -p /usr/share/games/supertuxkart

listening() {
	grep -q 'Listening has been started' "$T/home/log" 2>/dev/null
}

# serve_game DIR: in a mount and a network namespace of its own; returns when it listens
serve_game() {
	local end=$((SECONDS + PATIENCE))
	rm -rf "${T:?}/home"
	mkdir "$T/home"
	HOME=$T/home XDG_CONFIG_HOME=$T/home/config XDG_DATA_HOME=$T/home/data XDG_CACHE_HOME=$T/home/cache \
		unshare --mount --propagation private --net sh -c '
			ip link set lo up &&
			mount --bind "$1" /usr/share/games/supertuxkart && cd "$HOME" &&
			exec stdbuf -oL -eL "$2/usr/games/supertuxkart" --lan-server=bench --no-graphics --no-sound --log=nocolor
		' sh "$1" "$GAME" </dev/null >"$T/home/log" 2>&1 &
	game=$!
	until listening; do
		((SECONDS < end)) || fail "the server does not come to listen: $(tail -n 3 "$T/home/log")"
		sleep 0.01
	done
}

end_game() {
	kill -TERM "$game"
	wait "$game" || true
}

# Put away what the overlay has.
leave_game() {
	umount /usr/share
	umount "$T/overlay"
}
