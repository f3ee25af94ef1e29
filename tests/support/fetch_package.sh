#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: fetch_package.sh PACKAGE
#
# Unpack a Debian package, without installing it, into the cache directory, and
# print where. A copy that is there and complete is used again.
set -euo pipefail

package=$1
cache=${XDG_CACHE_HOME:-${HOME:?}/.cache}/assetfs
mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9

candidate() {
	apt-cache policy "$package" | awk '/Candidate:/ && $2 != "(none)" { print $2 }'
}

complete() {
	local marker
	for marker in "$cache/$package"_*/.complete; do
		[[ ! -e $marker ]] || dirname "$marker"
	done | sort -V | tail -n 1
}

dir=$(complete)
if [[ -z $dir ]]; then
	version=$(candidate)
	if [[ -z $version ]]; then
		echo "fetch_package.sh: apt knows no package '$package'; run apt-get update" >&2
		exit 1
	fi
	dir=$cache/${package}_${version//[:\/]/_}
	rm -rf "$dir"
	mkdir "$dir"
	echo "downloading $package $version to $cache" >&2
	(cd "$dir" && apt-get -o APT::Sandbox::User=root download "$package=$version" >&2)
	dpkg-deb -x "$dir"/*.deb "$dir/tree"
	rm "$dir"/*.deb
	touch "$dir/.complete"
fi
echo "$dir/tree"
