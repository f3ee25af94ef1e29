-- The index of an image, format version 1. Normative text: docs/format.md §4.
--
-- Compiled into the programs as it stands here: writers run it, readers compare
-- the text of every table in a foreign file with it (format.md §4.1). Rows are
-- inserted in primary key order, so that pages are full and a build repeats
-- byte for byte.

-- Facts about the whole image. Keys: format.md §4.2.
CREATE TABLE meta (
  key TEXT NOT NULL PRIMARY KEY,
  value ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- Packs that hold this image's chunks.
CREATE TABLE pack (
  pack INTEGER NOT NULL PRIMARY KEY, -- from 1, in order of the manifest's layers
  digest BLOB NOT NULL,              -- SHA-256 of the blob, 32 bytes
  size INTEGER NOT NULL              -- of the blob, bytes
) STRICT;

-- Chunks: one zstd frame in a pack.
CREATE TABLE chunk (
  chunk INTEGER NOT NULL PRIMARY KEY, -- from 1, in order of pack and offset
  digest BLOB NOT NULL,               -- SHA-256 of the plain bytes, 32 bytes
  pack INTEGER NOT NULL,
  frame_offset INTEGER NOT NULL,      -- of the frame in the pack
  frame_size INTEGER NOT NULL,        -- compressed bytes
  size INTEGER NOT NULL               -- plain bytes, 1 to 4 MiB
) STRICT;

-- Contents: the bytes of one or more equal regular files. Empty files have none.
CREATE TABLE content (
  content INTEGER NOT NULL PRIMARY KEY, -- from 1
  digest BLOB NOT NULL,                 -- SHA-256 of all bytes, 32 bytes
  size INTEGER NOT NULL                 -- bytes, at least 1
) STRICT;
CREATE UNIQUE INDEX content_digest ON content (digest);

-- Where a content's bytes are. Bytes that no extent covers are zero.
CREATE TABLE extent (
  content INTEGER NOT NULL,
  offset INTEGER NOT NULL,       -- in the content
  length INTEGER NOT NULL,       -- at least 1
  chunk INTEGER NOT NULL,
  chunk_offset INTEGER NOT NULL, -- in the chunk's plain bytes
  PRIMARY KEY (content, offset)
) STRICT, WITHOUT ROWID;
CREATE INDEX extent_chunk ON extent (chunk);

-- Files, directories and symbolic links. Row 1 is the root directory.
CREATE TABLE node (
  ino INTEGER NOT NULL PRIMARY KEY, -- the inode number that stat(2) shows
  mode INTEGER NOT NULL,            -- type and permissions as in st_mode
  nlink INTEGER NOT NULL,           -- as in st_nlink
  uid INTEGER NOT NULL,
  gid INTEGER NOT NULL,
  mtime_s INTEGER NOT NULL,         -- seconds since 1970-01-01 UTC
  mtime_ns INTEGER NOT NULL,        -- 0 to 999999999
  size INTEGER NOT NULL,            -- regular file: bytes; link: length of target; directory: number of entries
  content INTEGER,                  -- regular file with size > 0, else NULL
  target BLOB                       -- symbolic link, else NULL
) STRICT;

-- Names. A hard link is a second entry with the same ino.
CREATE TABLE entry (
  parent INTEGER NOT NULL,
  name BLOB NOT NULL,   -- 1 to 255 bytes, no '/' and no NUL, not '.' or '..'
  ino INTEGER NOT NULL,
  seq INTEGER NOT NULL, -- place in the directory: 1, 2, 3... in order of name bytes
  PRIMARY KEY (parent, name)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX entry_seq ON entry (parent, seq);

-- Extended attributes; only builds that were asked to keep them have rows.
CREATE TABLE xattr (
  ino INTEGER NOT NULL,
  name BLOB NOT NULL,
  value BLOB NOT NULL,
  PRIMARY KEY (ino, name)
) STRICT, WITHOUT ROWID;
