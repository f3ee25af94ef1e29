#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The server of the examples, in tests: usage: game-server [--port=N] --assets=DIR
#
# It tries to write into DIR, and then reads all of it, again and again, and says so each time. DIR has a file "sums"
# about the others. For the tools of busybox, too.
assets='' n=0
for arg; do
	case $arg in
	--assets=/*) assets=${arg#*=} ;;
	--port=*) echo "port ${arg#*=}" ;;
	*)
		echo "game-server: unknown argument '$arg'" >&2
		exit 2
		;;
	esac
done
trap 'exit 0' TERM
cd "$assets" || exit 1
# A shell of its own: one ends when it cannot redirect.
sh -c ': >new' 2>&1 && echo "written"
echo "user $(id -u)"
while sha256sum -c sums >/dev/null 2>&1; do
	n=$((n + 1))
	echo "read $n"
	sleep 0.2
done
echo "wrong after $n"
exit 1
