#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Random asset trees, each a function of its seed.

usage: random_tree.py make SEED DIR         make a tree in the new directory DIR
       random_tree.py edit SEED DIR         change it as people do between releases
       random_tree.py overlay BASE OVER TO  make TO: BASE with OVER laid over it, as
                                            'assetpack build -p' has it
       random_tree.py list [--times] DIR    one line for each name, with all that an image keeps:
                                            type, mode, size, digest, target, other names
"""

import hashlib
import io
import os
import random
import shutil
import stat
import struct
import sys
import tarfile
import zipfile
import zlib

CHUNK = 64 << 10  # the default target; sizes lie around it and its fractions and multiples
BORDERS = (0, 1, 2, 4095, 4096, 4097, CHUNK // 4, CHUNK - 1, CHUNK, CHUNK + 1, 4 * CHUNK, 4 * CHUNK + 1, 16 * CHUNK)
WORDS = [b"texture ", b"sound ", b"0.0 ", b"1.0 ", b"vertex ", b"\n", b"  ", b"material_", b"\t{ ", b"}\n"]
NAMES = ["a", "b", "B", "data.bin", "index.html", "level 1", "тест", "日本語", "-rf", "new\nline", "x" * 255,
         b"caf\xe9", b"\x01\x7f", ".hidden", "...", "file.png", "pak0.pk3", "all.tar", "%s%n", "'\"\\"]
MODES = (0o644, 0o644, 0o644, 0o600, 0o755, 0o444, 0o777, 0o664)
DIR_MODES = (0o755, 0o755, 0o700, 0o775, 0o1777)


class Tree:
    """A directory that is changed at random. Paths are bytes."""

    def __init__(self, rng, top):
        self.rng = rng
        self.top = os.fsencode(top)

    def walk(self):
        """Yield (path, lstat) of all below the top, in an order that is always the same."""
        todo = [self.top]
        while todo:
            path = todo.pop()
            for name in sorted(os.listdir(path)):
                sub = os.path.join(path, name)
                st = os.lstat(sub)
                if stat.S_ISDIR(st.st_mode):
                    todo.append(sub)
                yield sub, st

    def all(self, kind):
        return [path for path, st in self.walk() if kind(st.st_mode)]

    def files(self):
        return self.all(stat.S_ISREG)

    def some_dir(self):
        return self.rng.choice([self.top] + self.all(stat.S_ISDIR))

    def free_path(self):
        """A path that is not taken, in some directory."""
        parent = self.some_dir()
        while True:
            name = self.rng.choice(NAMES + [f"file-{self.rng.randrange(1000)}"] * 20)
            path = os.path.join(parent, os.fsencode(name))
            if not os.path.lexists(path):
                return path

    # Bytes

    def size(self):
        near = max(0, self.rng.choice(BORDERS) + self.rng.randint(-2, 2))
        small = int(self.rng.expovariate(1 / 5000))
        return self.rng.choice((near, small, small, small, self.rng.randrange(300_000)))

    def text(self, size):
        return b"".join(self.rng.choices(WORDS, k=size // 6 + 1))[:size].ljust(size, b".")

    def noise(self, size):
        return self.rng.randbytes(size)

    def zeros(self, size):
        """Holes between some bytes."""
        data = bytearray(size)
        for _ in range(self.rng.randrange(3)):
            if size:
                data[self.rng.randrange(size)] = self.rng.randrange(256)
        return bytes(data)

    def png(self, size):
        def chunk(kind, data):
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

        text = chunk(b"tEXt", b"Comment\0" + self.text(self.rng.randrange(500)))
        pixels = chunk(b"IDAT", self.noise(size))
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", bytes(13)) + text + pixels + chunk(b"IEND", b"")

    def members(self):
        files = [path for path in self.files() if os.path.getsize(path) < 400_000]
        return self.rng.sample(files, min(len(files), self.rng.randrange(1, 8)))

    def zip(self, _size):
        out = io.BytesIO()
        method = self.rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
        with zipfile.ZipFile(out, "w", method) as pak:
            for i, path in enumerate(self.members()):
                pak.writestr(zipfile.ZipInfo(f"dir/{i}"), read(path), method)
        return out.getvalue()

    def tar(self, _size):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as pak:
            for i, path in enumerate(self.members()):
                data = read(path)
                info = tarfile.TarInfo(f"dir/{i}")
                info.size = len(data)
                pak.addfile(info, io.BytesIO(data))
        return out.getvalue()

    def copy(self, size):
        """Bytes that another file has, all or some of them."""
        files = self.files()
        if not files:
            return self.noise(size)
        data = read(self.rng.choice(files))
        return data if self.rng.random() < 0.6 else data[: self.rng.randrange(len(data) + 1)]

    def broken(self, size):
        """What begins like a format and goes on as something else."""
        start = self.rng.choice((self.png(100), self.zip(0), self.tar(0)))
        return start[: self.rng.randrange(len(start))] + self.noise(size)

    def some_bytes(self):
        makers = (self.text, self.text, self.noise, self.noise, self.zeros, self.png, self.zip, self.tar, self.copy,
                  self.copy, self.broken)
        return self.rng.choice(makers)(self.size())

    # Files

    def write(self, path, data):
        with open(path, "wb") as file:
            if data and data.count(0) == len(data) and self.rng.random() < 0.5:
                file.truncate(len(data))  # a hole
            else:
                file.write(data)
        os.chmod(path, self.rng.choice(MODES))
        self.touch(path)

    def touch(self, path):
        ns = self.rng.randrange(0, 2_000_000_000) * 1_000_000_000 + self.rng.randrange(1_000_000_000)
        os.utime(path, ns=(ns, ns), follow_symlinks=False)

    def add_file(self):
        self.write(self.free_path(), self.some_bytes())

    def add_dir(self):
        path = self.free_path()
        os.mkdir(path)
        os.chmod(path, self.rng.choice(DIR_MODES))

    def add_link(self):
        path = self.free_path()
        os.symlink(self.rng.choice((b"a", b"../b", b"/nowhere", b"x" * 300, b"file-1", b"\xff\n")), path)
        self.touch(path)

    def add_name(self):
        """Another name for a file or a symbolic link."""
        files = self.files() + self.all(stat.S_ISLNK)
        if files:
            os.link(self.rng.choice(files), self.free_path(), follow_symlinks=False)

    # Edits of what is there

    def rewrite(self, path, data):
        """In place: other names see it, too."""
        mode = stat.S_IMODE(os.lstat(path).st_mode)
        os.chmod(path, 0o600)
        with open(path, "wb") as file:
            file.write(data)
        os.chmod(path, mode)

    def edit_bytes(self):
        files = self.files()
        if not files:
            return
        path = self.rng.choice(files)
        before = os.lstat(path)
        data = read(path)
        at = self.rng.randrange(len(data) + 1)
        count = self.rng.choice((1, 3, 100, 5000))
        new = self.noise(count)
        how = self.rng.choice(("insert", "delete", "overwrite", "append", "cut", "unseen"))
        if how == "insert":
            data = data[:at] + new + data[at:]
        elif how == "delete":
            data = data[:at] + data[at + count:]
        elif how == "append":
            data += new
        elif how == "cut":
            data = data[:at]
        else:
            data = (data[:at] + new + data[at + count:])[: len(data)]
        self.rewrite(path, data)
        if how == "unseen":  # size and time are as they were
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        elif self.rng.random() < 0.8:
            self.touch(path)

    def swap(self):
        """Two files change places."""
        files = self.files()
        if len(files) > 1:
            one, two = self.rng.sample(files, 2)
            spare = self.free_path()
            os.rename(one, spare)
            os.rename(two, one)
            os.rename(spare, two)

    def replace(self):
        """A new file, or something else, by the old name."""
        paths = self.files()
        if not paths:
            return
        path = self.rng.choice(paths)
        os.unlink(path)
        kind = self.rng.random()
        if kind < 0.7:
            self.write(path, self.some_bytes())
        elif kind < 0.85:
            os.mkdir(path)
        else:
            os.symlink(b"elsewhere", path)
            self.touch(path)

    def rename(self):
        paths = self.files() + self.all(stat.S_ISDIR) + self.all(stat.S_ISLNK)
        if not paths:
            return
        path = self.rng.choice(paths)
        to = self.free_path()
        if not to.startswith(path + b"/"):
            os.rename(path, to)

    def remove(self):
        paths = self.files() + self.all(stat.S_ISDIR) + self.all(stat.S_ISLNK)
        if paths:
            erase(self.rng.choice(paths))

    def chmod(self):
        files = self.files()
        if files:
            os.chmod(self.rng.choice(files), self.rng.choice(MODES))

    def touch_one(self):
        files = self.files()
        if files:
            self.touch(self.rng.choice(files))

    def settle(self):
        """Times of directories, which every change below them sets."""
        for path in sorted(self.all(stat.S_ISDIR), reverse=True):
            self.touch(path)
        self.touch(self.top)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def erase(path):
    if stat.S_ISDIR(os.lstat(path).st_mode):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def make(seed, top):
    rng = random.Random(f"make {seed}")
    os.mkdir(top)
    tree = Tree(rng, top)
    for _ in range(rng.choice((0, 3, 20, 40, 60, 60, 90, 90))):
        rng.choices((tree.add_file, tree.add_dir, tree.add_link, tree.add_name), weights=(14, 4, 1, 2))[0]()
    tree.settle()


def edit(seed, top):
    rng = random.Random(f"edit {seed}")
    tree = Tree(rng, top)
    changes = (tree.edit_bytes, tree.add_file, tree.add_dir, tree.add_link, tree.add_name, tree.swap, tree.replace,
               tree.rename, tree.remove, tree.chmod, tree.touch_one)
    for _ in range(rng.choice((0, 1, 5, 20, 40))):
        rng.choices(changes, weights=(12, 4, 1, 1, 2, 2, 2, 3, 2, 1, 2))[0]()
    tree.settle()


def lay_over(over, to, written):
    """Lay directory @over over directory @to; @written has the first place of each file of several names."""
    for name in sorted(os.listdir(over)):
        source, target = os.path.join(over, name), os.path.join(to, name)
        st = os.lstat(source)
        is_dir = stat.S_ISDIR(st.st_mode)
        if os.path.lexists(target) and not (is_dir and stat.S_ISDIR(os.lstat(target).st_mode)):
            erase(target)
        if not is_dir:
            if st.st_ino in written:
                os.link(written[st.st_ino], target, follow_symlinks=False)
            else:
                shutil.copy2(source, target, follow_symlinks=False)
                written[st.st_ino] = target
            continue
        is_new = not os.path.lexists(target)
        if is_new:
            os.mkdir(target)
        times = st if is_new else os.lstat(target)
        lay_over(source, target, written)
        if is_new:
            os.chmod(target, stat.S_IMODE(st.st_mode))
        os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))


def overlay(base, over, to):
    st = os.lstat(base)
    os.mkdir(to)
    lay_over(os.fsencode(base), os.fsencode(to), {})
    lay_over(os.fsencode(over), os.fsencode(to), {})
    os.chmod(to, stat.S_IMODE(st.st_mode))
    os.utime(to, ns=(st.st_atime_ns, st.st_mtime_ns))


def show(top, times):
    names = {}
    lines = []
    tree = Tree(None, top)
    entries = sorted(tree.walk(), key=lambda entry: entry[0])
    for path, st in entries:
        names.setdefault(st.st_ino, os.path.relpath(path, tree.top))
    for path, st in [(tree.top, os.lstat(top))] + entries:
        line = [repr(os.path.relpath(path, tree.top)), oct(st.st_mode)]
        if times:
            line.append(str(st.st_mtime_ns))
        if stat.S_ISDIR(st.st_mode):
            lines.append(" ".join(line))
            continue
        line += [f"{st.st_nlink} names, first {names[st.st_ino]!r}"]
        if stat.S_ISLNK(st.st_mode):
            line.append(f"-> {os.readlink(path)!r}")
        else:
            line.append(f"{st.st_size} {hashlib.sha256(read(path)).hexdigest()}")
        lines.append(" ".join(line))
    print("\n".join(lines))


def main(args):
    if len(args) == 3 and args[0] in ("make", "edit"):
        {"make": make, "edit": edit}[args[0]](args[1], args[2])
    elif len(args) == 4 and args[0] == "overlay":
        overlay(*args[1:])
    elif len(args) >= 2 and args[0] == "list":
        show(args[-1], "--times" in args)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
