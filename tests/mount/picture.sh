#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The picture of fsstat --watch in docs/: three images, two of them releases of one game, with readers
# at work, in tmux's terminal. PICTURE=FILE keeps it.
. "$(dirname "$0")/../support/mount_lib.sh"

# game NAME FILE MIB...: files of a game
game() {
	local dir=$T/$1
	mkdir -p "$dir"
	shift
	while (($# > 0)); do
		noise $(($2 * 1048576)) >"$dir/$1"
		shift 2
	done
}
game arena maps.pak 24 models.pak 18 sounds.pak 6
cp -r "$T/arena" "$T/arena2"
noise 2000000 >>"$T/arena2/sounds.pak"
game rally tracks.pak 20 cars.pak 9

# Names as on a node: this mount namespace is the test's own.
mount -t tmpfs none /srv
mkdir /srv/images
for image in arena:v1 arena2:v2 rally:v5; do
	"$ASSETPACK" build --progress none "$T/${image%:*}" "/srv/images/${image/arena2/arena}" >/dev/null
done
start_daemon --region-size 256M
for image in arena:v1 arena:v2 rally:v5; do
	mkdir "$T/$image"
	"$ASSETFS" mount --platform linux/amd64 "/srv/images/$image" "$T/$image"
done

terminal() {
	TERM=xterm tmux -f /dev/null -u -S "$T/tmux" "$@"
}
screen() {
	terminal capture-pane -e -p -t 0 >"$T/screen"
}
# A container's reader. It rests now and then, so that the lines of history have a shape.
reader() {
	local round=0 file
	while [[ ! -e $T/stop ]]; do
		for file in "$T/$1"/*; do
			head -c 1 "$file" >/dev/null
			sleep 0.0$((round % 7 + 1))
		done
		round=$((round + 1))
	done
}
export -f reader

note "readers at work"
terminal new-session -d -x 100 -y 15 "LC_ALL=C.UTF-8 TZ=UTC '$FSSTAT' --watch=0.2"
readers=()
for image in arena:v1 rally:v5 arena:v1 arena:v2 rally:v5; do
	sleep 1
	unshare --mount --propagation private bash -c 'reader "$1"' bash "$image" &
	readers+=($!)
done
alive() {
	screen
	# Bytes, three for each column of a history that has no gaps.
	grep -q '^opens  *[1-9]' "$T/screen" && grep -qE '^fill .*[▁-█]{120}' "$T/screen" && [[ $(grep -cE ' +[1-9][0-9.]* +0  /srv/images' "$T/screen") == 3 ]]
}
wait_for alive || fail "not shown: $(cat "$T/screen")"
touch "$T/stop"
wait "${readers[@]}"
terminal kill-server

note "the picture is XML and has the text"
"$SUPPORT/screen_svg.py" "fsstat --watch" <"$T/screen" >"$T/watch.svg"
texts() {
	python3 -c 'import sys, xml.etree.ElementTree as tree
for text in tree.parse(sys.argv[1]).iter("{http://www.w3.org/2000/svg}text"): print(text.text)' "$T/watch.svg"
}
check_eq "text of the picture" "$(texts | sed 's/ *$//')" "$(grep . "$T/screen" | sed 's/ *$//')"
[[ -z ${PICTURE:-} ]] || cp "$T/watch.svg" "$PICTURE"

note "colours and faces"
printf '\033[1;31mred\033[0m plain \033[38;5;46;4mgreen\033[0;7mback\033[m <&>\n' | "$SUPPORT/screen_svg.py" colours >"$T/watch.svg"
check_eq "text" "$(texts | tr -d '\n')" "red plain greenback <&>"
for attribute in 'fill="#bf616a" font-weight="bold">red' 'fill="#00ff00" text-decoration="underline">green' 'fill="#1d2129">back' '<rect x="[0-9.]*" y="[0-9]*" width="33.6"'; do
	grep -q "$attribute" "$T/watch.svg" || fail "no $attribute in $(cat "$T/watch.svg")"
done

for image in arena:v1 arena:v2 rally:v5; do
	"$ASSETFS" umount "$T/$image"
done
stop_daemon
