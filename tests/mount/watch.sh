#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# fsstat --watch in a real terminal, tmux's: what it shows, keys, sizes, and how it leaves.
. "$(dirname "$0")/../support/mount_lib.sh"

src=$T/src
mkdir "$src"
noise 3000000 >"$src/one"
noise 2000000 >"$src/two"
for tag in alpha beta; do
	cp "$src/one" "$src/of-$tag"
	echo "$tag" >>"$src/of-$tag"
	"$ASSETPACK" build "$src" "$T/layout:$tag" >"$T/build.log" 2>&1 || fail "build: $(cat "$T/build.log")"
done
mkdir "$T/beta"
"$ASSETFS" mount "$T/layout:alpha" "$MNT"
"$ASSETFS" mount "$T/layout:beta" "$T/beta"
cmp "$src/one" "$MNT/one"

terminals=0
terminal() {
	TERM=xterm tmux -f /dev/null -u -S "$T/tmux.$terminals" "$@"
}
# screen: what the terminal shows; shows REGEX...: whether lines of it match each
screen() {
	terminal capture-pane -p -t 0
}
shows() {
	local pattern
	screen >"$T/screen"
	for pattern in "$@"; do
		grep -qE -- "$pattern" "$T/screen" || return 1
	done
}
# start COLUMNS ROWS COMMAND: in a shell that says how the terminal is afterwards
start() {
	terminal kill-server 2>/dev/null || true
	# Another server: the old one may not have ended yet.
	terminals=$((terminals + 1))
	rm -f "$T/after"
	terminal new-session -d -x "$1" -y "$2" "stty -g >'$T/tty.before'; $3; echo \$? >'$T/status'; stty -g >'$T/tty.after'; echo after; touch '$T/after'; sleep 600"
}
# left STATUS: it has ended with this status, and the terminal is as it was
left() {
	wait_for test -e "$T/after" || fail "it does not end: $(screen)"
	wait_for shows '^after' || fail "the terminal is not given back: $(screen)"
	check_eq "exit status" "$(cat "$T/status")" "$1"
	cmp "$T/tty.before" "$T/tty.after" || fail "the terminal's modes have changed"
	! shows 'RESIDENT' || fail "what was shown stays: $(screen)"
}

note "80 columns"
start 80 24 "LC_ALL=C.UTF-8 '$FSSTAT' --watch=0.2"
wait_for shows '^assetfs .* up .* every 0.2 s .*by opens' '^region +\[#' '^opens .*/s' 'users: 1;' 'SIZE +RESIDENT' ':alpha' ':beta' ||
	fail "not shown: $(screen)"
check_eq "lines beyond 80 columns" "$(awk 'length > 80' "$T/screen")" ""
note "rates and the line of hits, while files are opened"
active() {
	cmp "$src/one" "$MNT/one"
	shows '^opens +[1-9][0-9.]* /s +hits 100.0 % +.*█'
}
wait_for active || fail "no rate: $(screen)"
cat "$T/screen"
note "sorting"
images() {
	screen | grep -oE ':(alpha|beta)' | tr -d '\n'
}
sorted() {
	[[ $(images) == "$1" ]]
}
wait_for sorted :alpha:beta || fail "not by opens: $(screen)"
terminal send-keys -t 0 b
wait_for shows 'by size' || fail "not by size: $(screen)"
wait_for sorted :beta:alpha || fail "not by size: $(screen)"
terminal send-keys -t 0 n
wait_for sorted :alpha:beta || fail "not by name: $(screen)"
terminal send-keys -t 0 r
wait_for shows 'by resident' || fail "not by resident: $(screen)"
note "a small window, and a large one"
terminal resize-window -t 0 -x 40 -y 6
small() {
	screen >"$T/screen"
	[[ $(wc -l <"$T/screen") == 6 ]] && head -n 1 "$T/screen" | finds '^assetfs' && ! grep -q RESIDENT "$T/screen"
}
wait_for small || fail "40 x 6: $(screen)"
terminal resize-window -t 0 -x 200 -y 50
wait_for shows 'RESIDENT' ':beta \(any\)' || fail "200 x 50: $(screen)"
note "q ends it"
terminal send-keys -t 0 q
left 0

note "signals end it"
for signal in INT TERM HUP; do
	start 80 24 "'$FSSTAT' --watch=0.2"
	wait_for shows RESIDENT || fail "not shown: $(screen)"
	kill "-$signal" "$(pgrep -x fsstat)"
	left 0
done

note "without UTF-8"
start 80 24 "LC_ALL=C '$FSSTAT' --watch=0.2"
ascii() {
	cmp "$src/one" "$MNT/one"
	shows '^opens .*hits 100.0 % +.*#'
}
wait_for ascii || fail "no line of hits: $(screen)"
if LC_ALL=C grep -q '[^ -~]' "$T/screen"; then
	fail "not ASCII: $(screen)"
fi
terminal send-keys -t 0 q
left 0

note "a dumb terminal, and none: blocks of plain text"
start 80 24 "TERM=dumb '$FSSTAT' --watch=0.2"
blocks() {
	[[ $(screen | grep -c RESIDENT) -ge 2 ]]
}
wait_for blocks || fail "no blocks: $(screen)"
terminal kill-server
# head leaves, which ends it.
"$FSSTAT" --watch=0.1 | head -n 40 >"$T/plain" || true
(($(grep -c RESIDENT "$T/plain") >= 2)) || fail "no blocks: $(cat "$T/plain")"
! grep -q $'\033' "$T/plain" || fail "escapes in a pipe"

note "a daemon that ends, and one that comes"
start 80 24 "'$FSSTAT' --watch=0.2"
wait_for shows ':beta' || fail "not shown: $(screen)"
"$ASSETFS" umount "$T/beta"
"$ASSETFS" umount "$MNT"
wait_for shows '^! no daemon serves' || fail "not said: $(screen)"
"$ASSETFS" mount "$T/layout:alpha" "$MNT"
came_back() {
	shows ':alpha' && ! shows '^!'
}
wait_for came_back || fail "not seen: $(screen)"
terminal send-keys -t 0 q
left 0
terminal kill-server
for wrong in 0 -1 x 4000; do
	expect_failure 2 "no interval" "$FSSTAT" "--watch=$wrong"
done
"$ASSETFS" umount "$MNT"
