#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: run_arm64.sh SYSROOT PROGRAM [ARGUMENT]...
#
# Run a program for arm64, and whatever programs for arm64 it starts, with the libraries in SYSROOT. Which interpreter the
# kernel takes for them is said in a user namespace of its own (Linux 6.7): the machine learns nothing of it.
set -euo pipefail

if [[ ${1:-} != --inside ]]; then
	export QEMU_LD_PREFIX=$1
	shift
	exec unshare --user --map-root-user --mount "$0" --inside "$@"
fi
shift
emulator=$(command -v qemu-aarch64-static || command -v qemu-aarch64)
mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc || {
	echo "run_arm64.sh: needs Linux 6.7, which has binfmt_misc in user namespaces" >&2
	exit 1
}
# The first 20 bytes of ELF, 64 bits, little endian: a program or shared object (0xfe masks the difference) for machine 0xb7.
# F: the interpreter is opened now, so that it is found in every root.
magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
printf '%s' ":aarch64:M::$magic:$mask:$emulator:F" >/proc/sys/fs/binfmt_misc/register
exec "$@"
