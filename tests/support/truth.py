#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
usage: truth.py SEED OPENS MOUNT=INDEX...

Open files of mounted images at random and work out from their indexes alone what the
daemon's counters must be (design.md, "Life of a fill"); ask $FSSTAT and compare, exactly.
No file may be above 16 MiB: those are filled in the background, whose order is not known.
"""
import ctypes
import json
import mmap
import os
import random
import sqlite3
import subprocess
import sys

PAGE = 4096


class Ranges:
    """A set of bytes."""

    def __init__(self):
        self.list = []

    def add(self, start, end):
        keep = [r for r in self.list if r[1] < start or r[0] > end]
        for s, e in (r for r in self.list if not (r[1] < start or r[0] > end)):
            start, end = min(start, s), max(end, e)
        self.list = sorted(keep + [(start, end)])

    def covers(self, start, end):
        return any(s <= start and end <= e for s, e in self.list)

    def bytes(self):
        return sum(e - s for s, e in self.list)


class Image:
    def __init__(self, mount, index):
        db = sqlite3.connect(f"file:{index}?immutable=1", uri=True)
        self.mount = mount
        self.opens = 0
        self.opened = set()  # paths
        self.size = dict(db.execute("SELECT hex(digest), size FROM content"))
        self.chunk = {}  # (digest, size) by id
        for chunk, digest, size in db.execute("SELECT chunk, hex(digest), size FROM chunk"):
            self.chunk[chunk] = (digest, size)
        self.extents = {}  # of a content
        self.of_chunk = {}  # of a chunk: (content, extent)
        for digest, *x in db.execute("""SELECT hex(digest), offset, length, chunk, chunk_offset
                FROM extent JOIN content USING (content) ORDER BY content, offset"""):
            self.extents.setdefault(digest, []).append(x)
            self.of_chunk.setdefault(x[2], []).append((digest, x))
        self.files = {}  # content, or None, by path
        names = {ino: (parent, name) for parent, name, ino in db.execute("SELECT parent, name, ino FROM entry")}
        for ino, mode, digest in db.execute("""SELECT ino, mode, hex(digest)
                FROM node LEFT JOIN content USING (content)"""):
            if mode >> 12 == 8:
                path = b""
                while ino in names and ino != 1:
                    ino, name = names[ino]
                    path = b"/" + name + path
                self.files[os.fsencode(mount) + path] = digest or None


class Model:
    def __init__(self):
        self.placed = {}  # Ranges of each content
        self.pieces = {}  # Ranges of each chunk's bytes that lie somewhere
        self.n = dict.fromkeys(
            "opens open_hits chunk_requests chunk_hits chunks_decompressed chunks_decompressed_again "
            "chunks_copied bytes_decompressed errors".split(), 0)

    def place(self, content, off, length):
        self.placed.setdefault(content, Ranges()).add(off, off + length)

    def covered(self, content, off, length):
        return content in self.placed and self.placed[content].covers(off, off + length)

    def lies(self, chunk, off, length):
        return chunk in self.pieces and self.pieces[chunk].covers(off, off + length)

    def decompress(self, image, content, x):
        off, length, chunk, chunk_off = x
        digest, size = image.chunk[chunk]
        self.n["chunks_decompressed"] += 1
        self.n["bytes_decompressed"] += size
        self.n["chunks_decompressed_again"] += digest in self.pieces
        pieces = self.pieces.setdefault(digest, Ranges())
        self.place(content, off, length)
        pieces.add(chunk_off, chunk_off + length)
        if length == size:
            return
        for other, (o, n, _, c) in image.of_chunk[chunk]:
            if not pieces.covers(c, c + n) and not self.covered(other, o, n):
                self.place(other, o, n)
                pieces.add(c, c + n)

    def fill(self, image, content):
        for x in image.extents[content]:
            off, length, chunk, chunk_off = x
            self.n["chunk_requests"] += 1
            if self.covered(content, off, length):
                self.n["chunk_hits"] += 1
            elif self.lies(image.chunk[chunk][0], chunk_off, length):
                self.n["chunk_hits"] += 1
                self.n["chunks_copied"] += 1
                self.place(content, off, length)
            else:
                self.decompress(image, content, x)

    def open(self, image, path):
        content = image.files[path]
        if content is None:
            return
        image.opens += 1
        image.opened.add(path)
        self.n["opens"] += 1
        if self.covered(content, 0, image.size[content]):
            self.n["open_hits"] += 1
        else:
            self.fill(image, content)

    def expected(self, images):
        want = {("cache", f"{name}_total"): n for name, n in self.n.items()}
        want[("latency", "open", "count")] = self.n["opens"]
        want[("latency", "chunk_fill", "count")] = self.n["chunks_decompressed"]
        want[("region", "objects")] = len(self.placed)
        private = sum(i.size[i.files[path]] for i in images for path in i.opened)
        want[("sharing", "bytes_if_private")] = private
        shared = {i.files[path]: i.size[i.files[path]] for i in images for path in i.opened}
        want[("sharing", "bytes_shared")] = sum(shared.values())
        for i, image in enumerate(images):
            want[("images", i, "opens_total")] = image.opens
            want[("images", i, "files")] = len(image.files)
            want[("images", i, "errors_total")] = 0
            want[("images", i, "resident_bytes")] = sum(
                r.bytes() for c, r in self.placed.items() if c in image.size)
        return want


def report():
    return json.loads(subprocess.run([os.environ["FSSTAT"], "--json"], check=True, capture_output=True).stdout)


def compare(model, images, after):
    got = report()
    order = {i.mount: i for i in images}
    got["images"].sort(key=lambda i: images.index(order[i["mountpoints"][0]]))
    for path, want in model.expected(images).items():
        value = got
        for key in path:
            value = value[key]
        if value != want:
            sys.exit(f"after {after} opens: {'.'.join(map(str, path))} is {value}, must be {want}")
    return got


def resident_pages(fd, size):
    """How many pages of the file mincore(2) finds in memory."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
    libc.mincore.argtypes = libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    n = (size + PAGE - 1) // PAGE
    vec = (ctypes.c_ubyte * n)()
    where = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
    if libc.mincore(where, size, vec) != 0:
        sys.exit(f"mincore: {os.strerror(ctypes.get_errno())}")
    libc.munmap(where, size)
    return sum(v & 1 for v in vec)


def check_resident(model, images):
    """With every file opened, and so filled, the region holds each content once."""
    pages = {}
    for image in images:
        for path, content in sorted(image.files.items()):
            fd = os.open(path, os.O_RDONLY)
            model.open(image, path)
            if content:
                pages[content] = resident_pages(fd, image.size[content])
            os.close(fd)
    got = compare(model, images, "all")
    for image in images:
        for content in image.size:
            want = (image.size[content] + PAGE - 1) // PAGE
            if got["passthrough"] and pages[content] != want:
                sys.exit(f"mincore finds {pages[content]} pages of {content}, must be {want}")
    used = got["region"]["used_bytes"]
    if got["passthrough"] and used != sum(pages.values()) * PAGE:
        sys.exit(f"the region uses {used} bytes, mincore finds {sum(pages.values()) * PAGE}")


def main():
    random.seed(int(sys.argv[1]))
    images = [Image(*arg.split("=")) for arg in sys.argv[3:]]
    model = Model()
    compare(model, images, 0)
    # First what one release has of the other's: that is copied.
    order = [(image, os.fsencode(image.mount) + b"/dir/large.2") for image in images]
    for i in range(1, int(sys.argv[2]) + 1):
        image = random.choice(images)
        image, path = order.pop(0) if order else (image, random.choice(sorted(image.files)))
        with open(path, "rb") as f:
            model.open(image, path)
            f.seek(random.randrange(1 << 20))
            f.read(random.randrange(1 << 18))  # reads count nothing
        if i % 20 == 0:
            compare(model, images, i)
    check_resident(model, images)
    print(json.dumps(model.n))
    if min(v for k, v in model.n.items() if k not in ("errors", "chunks_decompressed_again")) == 0:
        sys.exit("a counter was never put to the test")


main()
