# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Sourced: real asset trees, two versions each, from Debian packages. They are fetched by apt, from
# the mirror that apt is configured with, into lists and directories of their own: nothing
# is installed. A package that is there already is used again, whatever the suite holds by now.

: "${CACHE:=${XDG_CACHE_HOME:-${HOME:?}/.cache}/assetfs}"
ALL_SETS="stk wesnoth fgai oa wz bin 0ad"
ZEROAD_GIB=16 # of free disk, else 0ad is left out

# The suites of the two versions.
declare -A SET_SUITES=(
	[stk]="bookworm sid"
	[wesnoth]="trixie sid"
	[fgai]="trixie sid"
	[oa]="sid sid"
	[wz]="trixie sid"
	[bin]="bookworm sid"
	[0ad]="trixie sid"
)
# PACKAGE[:ARCH]; with an architecture, its tree goes into a directory of that name.
declare -A SET_PACKAGES=(
	[stk]=supertuxkart-data
	[wesnoth]="wesnoth-1.18-data wesnoth-1.18-music"
	[fgai]=flightgear-data-ai
	[oa]="openarena-data openarena-081-maps openarena-081-misc openarena-081-players
		openarena-081-players-mature openarena-081-textures openarena-085-data"
	[wz]=warzone2100-data
	[bin]="supertuxkart:amd64 supertuxkart:arm64"
	[0ad]=0ad-data
)
# What the second version has besides.
declare -A SET_ADDED=([oa]=openarena-088-data)
# The directory of the packages that is the tree.
declare -A SET_ROOT=(
	[stk]=usr/share/games/supertuxkart
	[wesnoth]=usr/share/games/wesnoth
	[fgai]=usr/share/games/flightgear
	[oa]=usr/share/games/openarena/baseoa
	[wz]=usr/share/games/warzone2100
	[bin]=usr/games
	[0ad]=usr/share/games/0ad
)

# choose_sets MEASUREMENT: into the array sets; $SETS chooses, but for arch
choose_sets() {
	local set
	case $1 in
	pack_peers | update) read -ra sets <<<"${SETS:-$ALL_SETS}" ;;
	rebuild | levels) read -ra sets <<<"${SETS:-stk wesnoth fgai}" ;;
	arch | push) sets=(stk bin) ;;
	*) sets=() ;;
	esac
	for set in "${sets[@]}"; do
		[[ -n ${SET_ROOT[$set]:-} ]] || {
			echo "sets.sh: no data set '$set'; there are: $ALL_SETS" >&2
			return 1
		}
	done
}

# set_packages SET VERSION
set_packages() {
	echo "${SET_PACKAGES[$1]}"
	(($2 == 1)) || echo "${SET_ADDED[$1]:-}"
}

# set_suite SET VERSION
set_suite() {
	cut -d ' ' -f "$2" <<<"${SET_SUITES[$1]}"
}

mirror() {
	local uri
	# shellcheck disable=SC2016
	uri=$(apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Label: Debian' 2>/dev/null | head -n 1)
	echo "${uri:-http://deb.debian.org/debian}"
}

# sets_apt TOOL ARGUMENT...: apt with the suites of the sets
sets_apt() {
	local tool=$1 dir=$CACHE/apt
	shift
	"$tool" -o Dir::Etc::SourceList="$dir/debian.sources" -o Dir::Etc::SourceParts=/dev/null \
		-o Dir::State="$dir" -o Dir::State::status=/dev/null -o Dir::Cache="$dir/cache" \
		-o APT::Sandbox::User=root -o APT::Architectures::=amd64 -o APT::Architectures::=arm64 -qq "$@"
}

# The lists of the suites, at most a day old.
update_lists() {
	local dir=$CACHE/apt keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	[[ -z $(find "$dir/updated" -mtime -1 2>/dev/null) ]] || return 0
	mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
	{
		printf '%s\n' "Types: deb" "URIs: $(mirror)" "Suites: bookworm trixie sid" "Components: main" \
			"Architectures: amd64 arm64"
		[[ ! -e $keyring ]] || echo "Signed-By: $keyring"
	} >"$dir/debian.sources"
	sets_apt apt-get update >&2
	touch "$dir/updated"
}

# cached_deb SUITE PACKAGE[:ARCH]: where it is, if it is there
cached_deb() {
	local deb arch='*'
	[[ $2 != *:* ]] || arch=${2#*:}
	# shellcheck disable=SC2231
	for deb in "$CACHE/debs/$1/${2%:*}"_*_$arch.deb; do
		[[ ! -e $deb ]] || echo "$deb"
	done | tail -n 1
}

# fetch_deb SUITE PACKAGE[:ARCH]: unless it is there
fetch_deb() {
	local dir=$CACHE/debs/$1
	[[ -z $(cached_deb "$@") ]] || return 0
	mkdir -p "$CACHE"
	(
		flock 9
		[[ -z $(cached_deb "$@") ]] || exit 0
		update_lists
		mkdir -p "$dir"
		work=$(mktemp -d "$dir/.fetch.XXXXXX")
		trap 'rm -rf "$work"' EXIT
		echo "downloading $2 from $1 to $dir" >&2
		cd "$work" || exit
		sets_apt apt-get download "$2/$1" >&2
		mv ./*.deb "$dir"
	) 9>"$CACHE/.lock"
	[[ -n $(cached_deb "$@") ]] || {
		echo "sets.sh: cannot download package $2 of $1" >&2
		return 1
	}
}

# fetch_set SET
fetch_set() {
	local version package
	for version in 1 2; do
		for package in $(set_packages "$1" $version); do
			fetch_deb "$(set_suite "$1" $version)" "$package" || return
		done
	done
}

# set_fits SET DIR: fails, with a line, when DIR's disk has no room for it
set_fits() {
	local free
	[[ $1 == 0ad ]] || return 0
	free=$(df --output=avail -B 1G "$2" | tail -n 1)
	((free >= ZEROAD_GIB)) || {
		echo "skip: 0ad needs $ZEROAD_GIB GiB of free disk, there are $((free))"
		return 1
	}
}

# unpack_set SET VERSION DIR: DIR, which is made, becomes the tree
unpack_set() {
	local package sub work=$3.unpacked
	mkdir "$work"
	for package in $(set_packages "$1" "$2"); do
		sub=.
		[[ $package != *:* ]] || sub=${package#*:}
		fetch_deb "$(set_suite "$1" "$2")" "$package" || return
		mkdir -p "$work/$sub"
		dpkg-deb -x "$(cached_deb "$(set_suite "$1" "$2")" "$package")" "$work/$sub" || return
	done
	if [[ ${SET_PACKAGES[$1]} == *:* ]]; then
		mkdir "$3"
		for sub in "$work"/*; do
			mv "$sub/${SET_ROOT[$1]}" "$3/${sub##*/}"
		done
	else
		mv "$work/${SET_ROOT[$1]}" "$3"
	fi
	rm -rf "$work"
}

# set_versions SET VERSION: the packages with their versions, for the records
set_versions() {
	local package
	for package in $(set_packages "$1" "$2"); do
		basename "$(cached_deb "$(set_suite "$1" "$2")" "$package")" .deb
	done | paste -sd ' '
}
