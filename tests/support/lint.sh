#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: lint.sh BUILD_DIR
#
# Everything about the sources that a compiler does not say. Called by ./dev lint.
set -uo pipefail

build=$1
failed=0
mapfile -t c_files < <(git ls-files -co --exclude-standard '*.c' '*.h')
mapfile -t scripts < <(git ls-files -co --exclude-standard | while read -r f; do
	[[ -f $f ]] && head -n 1 "$f" | grep -qE '^#!.*\b(ba)?sh$' && echo "$f"
done)

# run NAME COMMAND...
run() {
	local name=$1
	shift
	if "$@"; then
		echo "ok      $name"
	else
		echo "FAILED  $name"
		failed=1
	fi
}

clang_version() {
	"$1" --version | sed -n 's/.*version \([0-9]*\).*/\1/p' | head -n 1
}

# Another version of the formatter wants other line breaks; Debian 12's is the judge.
format() {
	local version
	version=$(clang_version clang-format)
	if [[ $version != 14 ]]; then
		echo "note: clang-format is version $version, the project's is 14: not judged here"
		return 0
	fi
	clang-format --dry-run -Werror "${c_files[@]}" 2>&1 | sed -n 's/: error: .*//p' | cut -d : -f 1-2 | uniq
}

# One file a call: several in one confuse version 14 (bogus uninitialised va_list).
tidy_one() {
	local out
	out=$(clang-tidy --quiet -p "$1" "$2" 2>&1) && return
	grep -A 2 -E '(error|warning):' <<<"$out"
	return 1
}
export -f tidy_one

tidy() {
	local compiled
	compiled=$(jq -r '.[].file' "$build/compile_commands.json" | sort -u |
		while read -r f; do realpath --relative-to=. "$build/$f"; done |
		grep -Fx "$(printf '%s\n' "${c_files[@]}" | grep '\.c$')")
	xargs -d '\n' -P "$(nproc)" -n 1 bash -c 'tidy_one "$@"' tidy "$build" <<<"$compiled"
}

# Which room may include what (docs/design.md, "Rooms").
# forbid PATTERN ALLOWED FILE...: the include may stand only in files that match ALLOWED
forbid() {
	local pattern=$1 allowed=$2 found
	shift 2
	found=$(grep -nE "^#include [<\"]($pattern)[>\"]" "$@" /dev/null | grep -vE "^($allowed):" || true)
	[[ -z $found ]] || {
		echo "$found"
		return 1
	}
}

# Quoted includes: fs and packer see themselves, index and container/oci, fs container/control as well, index sees
# itself, index/base and container/oci only base and themselves, container/control only base, container/csi only
# base and container/control, container/signed index and container/oci; fs and packer see that one. Examples see only
# what lies beside them: they are for copying.
quoted_includes() {
	local file name room
	while IFS=: read -r file name; do
		room=${file%%/*}
		if [[ $file == container/examples/* ]]; then
			[[ -e ${file%/*}/$name ]] || echo "$file: includes '$name'"
			continue
		fi
		if [[ $name == oci/* ]]; then
			[[ $room != index && -e container/$name ]] || echo "$file: includes '$name'"
			continue
		fi
		if [[ $name == signed/* ]]; then
			[[ ($room == fs || $room == packer || $file == container/signed/*) && -e container/$name ]] || echo "$file: includes '$name'"
			continue
		fi
		if [[ $name == csi/* ]]; then
			[[ $file == container/csi/* && -e container/$name ]] || echo "$file: includes '$name'"
			continue
		fi
		if [[ -e container/control/$name ]]; then
			[[ $room == fs || $file == container/control/* || $file == container/csi/* ]] || echo "$file: includes '$name'"
			continue
		fi
		[[ $room != container || $name == base/* || ($file == container/signed/* && -e index/$name) ]] || echo "$file: includes '$name'"
		[[ ! -e ${file%/*}/$name && $name != *.inc ]] || continue
		[[ $file != index/base/* || $name == base/* ]] || echo "$file: includes '$name'"
		[[ -e $room/$name || -e index/$name ]] || echo "$file: includes '$name'"
	done < <(grep -HE '^#include "' "$@" | sed -E 's/#include "([^"]*)".*/\1/')
}

layers() {
	local r=0 rooms found
	forbid 'sqlite3\.h' 'index/index[a-z_]*\.[ch]|fs/store[a-z_]*\.c|tests/.*' "${c_files[@]}" || r=1
	forbid 'zstd[a-z_]*\.h' 'index/codec(_parts)?\.c|tests/.*' "${c_files[@]}" || r=1
	forbid 'curl/[a-z]*\.h' 'container/oci/.*|tests/.*' "${c_files[@]}" || r=1
	forbid '(fuse3?/)?fuse[a-z_]*\.h' 'fs/.*|tests/.*' "${c_files[@]}" || r=1
	forbid 'nghttp2/[a-z0-9]*\.h|protobuf-c/.*|[a-z]*\.pb-c\.h' 'container/csi/.*|tests/.*' "${c_files[@]}" || r=1
	forbid 'microhttpd\.h' 'fs/metrics\.c' "${c_files[@]}" || r=1
	mapfile -t rooms < <(printf '%s\n' "${c_files[@]}" | grep -E '^(container|fs|index|packer)/')
	found=$(quoted_includes "${rooms[@]}")
	[[ -z $found ]] || {
		echo "$found"
		r=1
	}
	return "$r"
}

lengths() {
	local r=0 f n
	for f in "${c_files[@]}" "${scripts[@]}"; do
		n=$(wc -l <"$f")
		((n <= 600)) || {
			echo "$f: $n lines, at most 600"
			r=1
		}
	done
	return "$r"
}

licences() {
	local r=0 f
	for f in "${c_files[@]}" "${scripts[@]}"; do
		head -n 2 "$f" | grep -q 'SPDX-License-Identifier: Apache-2.0' || {
			echo "$f: no SPDX-License-Identifier in the first two lines"
			r=1
		}
	done
	return "$r"
}

manuals() {
	local r=0 page out
	for page in docs/man/*.scd; do
		out=$(scdoc <"$page" | mandoc -Tlint -Werror 2>&1) || {
			echo "$page: $out"
			r=1
		}
	done
	return "$r"
}

# Relative links in the Markdown pages lead somewhere.
links() {
	local r=0 page target
	while IFS=: read -r page target; do
		[[ -e $(dirname "$page")/${target%%#*} ]] || {
			echo "$page: link to '$target' leads nowhere"
			r=1
		}
	done < <(grep -oE '\]\([^)#:]+(#[^)]*)?\)' ./*.md docs/*.md container/*/*.md container/*/*/*.md | sed -E 's/:\]\(/:/; s/\)$//')
	return "$r"
}

run "layers" layers
run "lengths" lengths
run "licences" licences
run "links" links
run "manual pages" manuals
run "shellcheck" shellcheck "${scripts[@]}"
run "clang-format" format
run "clang-tidy" tidy
exit "$failed"
