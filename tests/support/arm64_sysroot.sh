#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: arm64_sysroot.sh DIR PACKAGE...
#
# Unpack the Debian packages, for arm64 and with all that they depend on, into DIR, unless they are there. apt has a state
# of its own for that: this machine's packages and architectures stay what they are.
set -euo pipefail

dir=$1
shift
stamp=$dir/.packages
if [[ -e $stamp && $(cat "$stamp") == "$*" ]]; then
	exit 0
fi
rm -rf "$dir"
mkdir -p "$dir"
state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
mkdir -p "$state"/{lists/partial,cache/archives/partial,etc}
touch "$state/status"

# The distribution's archive alone, whatever others this machine knows.
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
	[[ -e $file ]] || continue
	case $file in
	*.sources) awk -v RS= '/\n?URIs:[^\n]*\/debian/ { gsub(/\nArchitectures:[^\n]*/, ""); print $0 "\n" }' "$file" >>"$state/etc/debian.sources" ;;
	*.list) sed -nE 's/^deb +(\[[^]]*\] +)?([^ ]*\/debian.*)/deb \2/p' "$file" >>"$state/etc/debian.list" ;;
	esac
done
mkdir "$state/etc/parts"
mv "$state"/etc/debian.* "$state/etc/parts/"
options=(-qq -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o "Dir::State=$state" -o "Dir::State::Lists=$state/lists"
	-o "Dir::State::status=$state/status" -o "Dir::Cache=$state/cache" -o Dir::Etc::SourceList=/dev/null
	-o "Dir::Etc::SourceParts=$state/etc/parts" -o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Retries=3
	-o APT::Install-Recommends=false -o Debug::NoLocking=true)
# To download what would be installed on a machine that has nothing.
if ! apt-get "${options[@]}" -o APT::Update::Error-Mode=any update >&2 ||
	! apt-get "${options[@]}" -o Dpkg::Use-Pty=0 --download-only -y install "$@" </dev/null >&2; then
	echo "arm64_sysroot.sh: the libraries for arm64 could not be fetched from the distribution's archive" >&2
	exit 1
fi
for package in "$state"/cache/archives/*.deb; do
	dpkg-deb --fsys-tarfile "$package" | tar -C "$dir" -x --no-same-owner --exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' \
		--exclude='./usr/share/locale/*'
done
# From Debian 13 on libraries are below usr alone.
[[ -e $dir/lib ]] || ln -s usr/lib "$dir/lib"
# Links of libraries to absolute paths lead out of it.
find "$dir" -type l -lname '/*' | while read -r link; do
	ln -sfn "$dir$(readlink "$link")" "$link"
done
echo "$*" >"$stamp"
