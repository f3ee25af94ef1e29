/* SPDX-License-Identifier: Apache-2.0 */
/* index: every rule of format.md §4 that a database breaks is met where it matters. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include <sqlite3.h>

#include "index.h"
#include "sample.h"

static char dir[SAMPLE_PATH_MAX];
static char path[SAMPLE_PATH_MAX]; /* of the sample's index */

static void make_index(void)
{
	struct err err = ERR_INIT;

	sample_dir(dir);
	cr_assert_eq(sample_index(sample_path(dir, "index.sqlite", path), &err), 0, "%s", err.msg);
}

static void remove_index(void)
{
	sample_dir_remove(dir);
}

TestSuite(lies, .init = make_index, .fini = remove_index);

static struct index *open_index(void)
{
	struct index *idx = NULL;
	struct err err = ERR_INIT;

	cr_assert_eq(index_open(path, &idx, &err), 0, "%s", err.msg);
	return idx;
}

static int skip_chunk(void *arg, const struct chunk *chunk)
{
	(void)arg;
	return chunk->size > 0 ? 0 : 1;
}

static int skip_content(void *arg, const struct content *content)
{
	(void)arg;
	return content->size > 0 ? 0 : 1;
}

static int skip_extent(void *arg, const struct content *content, const struct extent *extent)
{
	(void)arg;
	return extent->content == content->id ? 0 : 1;
}

/* Change the index with @sql, as nobody should. */
static void tamper(const char *sql)
{
	sqlite3 *db = NULL;
	char *msg = NULL;

	cr_assert_eq(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
	cr_assert_eq(sqlite3_exec(db, sql, NULL, NULL, &msg), SQLITE_OK, "%s: %s", sql, msg);
	sqlite3_free(msg);
	cr_assert_eq(sqlite3_close(db), SQLITE_OK);
}

enum access {
	AT_OPEN,
	AT_NODE,
	AT_LOOKUP, /* of "a.txt" in the root, whatever the id */
	AT_LIST,
	AT_PARENT,
	AT_TARGET,
	AT_CONTENT,
	AT_EXTENTS, /* of a content of SAMPLE_DEEP bytes */
	AT_CHUNK_EXTENTS,
	AT_EACH_CHUNK,
	AT_EACH_CONTENT,
	AT_XATTR_NAMES,
	AT_XATTR, /* user.a */
};

static int skip_entry(void *arg, const struct dir_entry *entry)
{
	(void)arg;
	return entry->name_len <= FORMAT_NAME_MAX ? 0 : 1;
}

static int skip_extents(void *arg, const struct content *content, struct extent *extents,
                        uint32_t n)
{
	(void)arg;
	(void)extents;
	return content->size >= 1 && n <= content->size ? 0 : 1;
}

/* Access contents and chunks. */
static int access_content(struct index *idx, enum access access, uint64_t id, struct err *err)
{
	CLEANUP(free) struct extent *e = NULL;
	struct content c = { .id = id, .size = SAMPLE_DEEP };
	uint32_t n;

	if (access == AT_CONTENT)
		return index_content(idx, id, &c, err);
	if (access == AT_EXTENTS) {
		int r = index_extents(idx, &c, &e, &n, err);

		cr_expect(r == 0 || index_each_extents(idx, skip_extents, NULL, NULL) == r,
		          "a scan refuses what a look-up refuses");
		return r;
	}
	if (access == AT_CHUNK_EXTENTS)
		return index_chunk_extents(idx, id, skip_extent, NULL, err);
	if (access == AT_EACH_CHUNK)
		return index_each_chunk(idx, skip_chunk, NULL, err);
	return index_each_content(idx, skip_content, NULL, err);
}

static int access_node(struct index *idx, enum access access, uint64_t id, struct err *err)
{
	char target[FORMAT_TARGET_MAX + 1];
	CLEANUP(free) char *names = NULL;
	CLEANUP(free) void *value = NULL;
	struct node node;
	uint64_t parent;
	size_t len;

	if (access == AT_NODE)
		return index_node(idx, id, &node, err);
	if (access == AT_LOOKUP)
		return index_lookup(idx, 1, "a.txt", 5, &node, err);
	if (access == AT_LIST)
		return index_list(idx, id, 0, skip_entry, NULL, err);
	if (access == AT_PARENT)
		return index_parent(idx, id, &parent, err);
	if (access == AT_TARGET)
		return index_target(idx, id, target, err);
	if (access == AT_XATTR_NAMES)
		return index_xattr_names(idx, id, &names, &len, err);
	return index_xattr(idx, id, "user.a", &value, &len, err);
}

struct lie {
	char sql[120];
	enum access access;
	uint64_t id;
};

static void expect_met(const struct lie *lie, int code)
{
	CLEANUP(index_close) struct index *idx = NULL;
	struct err err = ERR_INIT;
	int r = index_open(path, &idx, &err);

	if (lie->access != AT_OPEN) {
		cr_assert_eq(r, 0, "%s: %s", lie->sql, err.msg);
		r = lie->access >= AT_CONTENT && lie->access <= AT_EACH_CONTENT
		            ? access_content(idx, lie->access, lie->id, &err)
		            : access_node(idx, lie->access, lie->id, &err);
	} else {
		cr_expect_null(idx);
		cr_expect_not_null(strstr(err.msg, "index.sqlite"), "%s", err.msg);
	}
	cr_expect_eq(r, code, "%s: %d '%s'", lie->sql, r, err.msg);
	cr_expect_neq(err.msg[0], '\0', "%s", lie->sql);
	cr_expect_null(strchr(err.msg, '\n'), "%s", err.msg);
}

ParameterizedTestParameters(lies, are_met)
{
	static struct lie lies[] = {
		/* pack */
		{ "UPDATE pack SET pack = 3 WHERE pack = 2", AT_OPEN, 0 },
		{ "UPDATE pack SET pack = 0 WHERE pack = 1", AT_OPEN, 0 },
		{ "UPDATE pack SET digest = x'11'", AT_OPEN, 0 },
		{ "UPDATE pack SET size = 25", AT_OPEN, 0 },
		{ "UPDATE pack SET size = -1000", AT_OPEN, 0 },
		/* chunk */
		{ "UPDATE chunk SET size = 0 WHERE chunk = 3", AT_EXTENTS, 2 },
		{ "UPDATE chunk SET size = 4194305 WHERE chunk = 3", AT_EACH_CHUNK, 0 },
		{ "UPDATE chunk SET size = 4294967296 + 15 WHERE chunk = 1", AT_EACH_CHUNK, 0 },
		{ "UPDATE chunk SET frame_size = 0 WHERE chunk = 2", AT_EACH_CHUNK, 0 },
		{ "UPDATE chunk SET frame_size = 4210689 WHERE chunk = 2", AT_EXTENTS, 2 },
		{ "UPDATE chunk SET pack = 0 WHERE chunk = 1", AT_CHUNK_EXTENTS, 1 },
		{ "UPDATE chunk SET pack = 3 WHERE chunk = 1", AT_EACH_CHUNK, 0 },
		{ "UPDATE chunk SET pack = 4294967297 WHERE chunk = 1", AT_EACH_CHUNK, 0 },
		{ "UPDATE chunk SET frame_offset = 901 WHERE chunk = 2", AT_EXTENTS, 2 },
		{ "UPDATE chunk SET frame_offset = -1 WHERE chunk = 2", AT_EXTENTS, 2 },
		{ "UPDATE chunk SET frame_offset = 9223372036854775807 WHERE chunk = 2", AT_EXTENTS,
		  2 },
		{ "UPDATE chunk SET frame_size = 1001, frame_offset = 0 WHERE chunk = 2",
		  AT_EXTENTS, 2 },
		{ "UPDATE chunk SET digest = x'' WHERE chunk = 1", AT_CHUNK_EXTENTS, 1 },
		{ "UPDATE chunk SET chunk = -1 WHERE chunk = 1", AT_EACH_CHUNK, 0 },
		/* content */
		{ "UPDATE content SET size = 0 WHERE content = 1", AT_CONTENT, 1 },
		{ "UPDATE content SET size = -10 WHERE content = 1", AT_CHUNK_EXTENTS, 1 },
		{ "UPDATE content SET size = 1125899906842625 WHERE content = 1", AT_EACH_CONTENT,
		  0 },
		{ "UPDATE content SET digest = zeroblob(33) WHERE content = 1", AT_CONTENT, 1 },
		{ "DELETE FROM content WHERE content = 1", AT_CONTENT, 1 },
		{ "DELETE FROM content WHERE content = 1", AT_NODE, 2 },
		{ "DELETE FROM content WHERE content = 1", AT_CHUNK_EXTENTS, 1 },
		/* extent */
		{ "UPDATE extent SET length = 0 WHERE content = 2", AT_EXTENTS, 2 },
		{ "UPDATE extent SET length = -1 WHERE content = 2", AT_EXTENTS, 2 },
		{ "UPDATE extent SET length = 1201 WHERE content = 2 AND offset > 0", AT_EXTENTS,
		  2 },
		{ "UPDATE extent SET length = 4294967297 WHERE content = 2", AT_EXTENTS, 2 },
		{ "UPDATE extent SET offset = 1801 WHERE content = 2 AND offset > 0", AT_EXTENTS,
		  2 },
		{ "UPDATE extent SET offset = -1 WHERE content = 2 AND offset = 0", AT_EXTENTS, 2 },
		{ "UPDATE extent SET offset = 3000 WHERE content = 2 AND offset > 0", AT_EXTENTS,
		  2 },
		{ "UPDATE extent SET offset = 999 WHERE content = 2 AND offset > 0", AT_EXTENTS,
		  2 },
		{ "UPDATE extent SET chunk_offset = 1 WHERE content = 2", AT_EXTENTS, 2 },
		{ "UPDATE extent SET chunk_offset = -1 WHERE content = 2", AT_EXTENTS, 2 },
		{ "UPDATE extent SET chunk_offset = 11 WHERE content = 3", AT_CHUNK_EXTENTS, 1 },
		{ "UPDATE extent SET length = 1201 WHERE content = 2 AND offset > 0",
		  AT_CHUNK_EXTENTS, 3 },
		{ "UPDATE extent SET offset = 1801 WHERE content = 2 AND offset > 0",
		  AT_CHUNK_EXTENTS, 3 },
		{ "UPDATE extent SET chunk = 2, length = 9, offset = 999 WHERE offset = 1800",
		  AT_CHUNK_EXTENTS, 2 },
		{ "UPDATE extent SET chunk = 99 WHERE content = 2", AT_EXTENTS, 2 },
		/* node */
		{ "UPDATE node SET mode = 8630 WHERE ino = 2", AT_NODE, 2 },          /* device */
		{ "UPDATE node SET mode = mode | 2048 WHERE ino = 2", AT_LOOKUP, 0 }, /* setuid */
		{ "UPDATE node SET mode = mode | 1024 WHERE ino = 2", AT_LIST, 1 },   /* setgid */
		{ "UPDATE node SET mode = mode | 4294967296 WHERE ino = 2", AT_NODE, 2 },
		{ "UPDATE node SET mode = 33188 WHERE ino = 1", AT_OPEN, 0 },
		{ "DELETE FROM node WHERE ino = 1", AT_OPEN, 0 },
		{ "UPDATE node SET nlink = 0 WHERE ino = 2", AT_NODE, 2 },
		{ "UPDATE node SET nlink = 1 WHERE ino = 3", AT_NODE, 3 },
		{ "UPDATE node SET uid = -1 WHERE ino = 2", AT_NODE, 2 },
		{ "UPDATE node SET gid = 4294967296 WHERE ino = 2", AT_NODE, 2 },
		{ "UPDATE node SET mtime_ns = 1000000000 WHERE ino = 2", AT_NODE, 2 },
		{ "UPDATE node SET size = 11 WHERE ino = 2", AT_NODE, 2 },
		{ "UPDATE node SET size = -1 WHERE ino = 4", AT_NODE, 4 },
		{ "UPDATE node SET size = 1 WHERE ino = 4", AT_NODE, 4 },
		{ "UPDATE node SET content = NULL WHERE ino = 2", AT_LIST, 1 },
		{ "UPDATE node SET content = 1 WHERE ino = 3", AT_NODE, 3 },
		{ "UPDATE node SET content = 99 WHERE ino = 2", AT_LOOKUP, 0 },
		{ "UPDATE node SET content = 1 WHERE ino = 4", AT_NODE, 4 },
		{ "UPDATE node SET target = x'78' WHERE ino = 2", AT_NODE, 2 },
		{ "UPDATE node SET target = NULL WHERE ino = 5", AT_TARGET, 5 },
		{ "UPDATE node SET target = x'', size = 0 WHERE ino = 5", AT_TARGET, 5 },
		{ "UPDATE node SET target = x'7800', size = 2 WHERE ino = 5", AT_TARGET, 5 },
		{ "UPDATE node SET size = 9 WHERE ino = 5", AT_TARGET, 5 },
		{ "UPDATE node SET target = zeroblob(4096), size = 4096 WHERE ino = 5", AT_NODE,
		  5 },
		{ "UPDATE node SET target = zeroblob(3000000) WHERE ino = 5", AT_NODE, 5 },
		/* entry */
		{ "UPDATE entry SET name = x'2e' WHERE seq = 1 AND parent = 1", AT_LIST, 1 },
		{ "UPDATE entry SET name = x'2e2e' WHERE seq = 1 AND parent = 1", AT_LIST, 1 },
		{ "UPDATE entry SET name = x'' WHERE seq = 1 AND parent = 1", AT_LIST, 1 },
		{ "UPDATE entry SET name = x'612f' WHERE seq = 1 AND parent = 1", AT_LIST, 1 },
		{ "UPDATE entry SET name = x'6100' WHERE seq = 1 AND parent = 1", AT_LIST, 1 },
		{ "UPDATE entry SET name = x'7a7a' WHERE seq = 1 AND parent = 1", AT_LIST, 1 },
		{ "UPDATE entry SET name = CAST(name || x'6e' AS BLOB) WHERE ino = 8", AT_LIST, 3 },
		{ "UPDATE entry SET seq = 0 WHERE ino = 2 AND seq = 1", AT_LIST, 1 },
		{ "UPDATE entry SET seq = 7 WHERE ino = 6", AT_LIST, 1 },
		{ "UPDATE entry SET seq = -7 WHERE ino = 3", AT_LIST, 1 },
		{ "UPDATE entry SET ino = 99 WHERE name = x'612e747874'", AT_LOOKUP, 0 },
		{ "UPDATE entry SET ino = 99 WHERE seq = 1 AND parent = 1", AT_LIST, 1 },
		{ "UPDATE entry SET ino = 1 WHERE ino = 8", AT_LIST, 3 },
		{ "UPDATE entry SET ino = 3 WHERE ino = 8", AT_PARENT, 8 },
		{ "UPDATE entry SET ino = 8 WHERE ino = 3", AT_PARENT, 8 },
		/* xattr */
		{ "UPDATE xattr SET name = x'757365722e' WHERE name = x'757365722e61'",
		  AT_XATTR_NAMES, 2 },
		{ "UPDATE xattr SET name = x'747275737465642e61' WHERE name = x'757365722e61'",
		  AT_XATTR_NAMES, 2 },
		{ "UPDATE xattr SET name = CAST(name || x'00' AS BLOB) WHERE name = x'757365722e61'",
		  AT_XATTR_NAMES, 2 },
		{ "UPDATE xattr SET name = CAST(name || zeroblob(250) AS BLOB)", AT_XATTR_NAMES,
		  2 },
		{ "UPDATE xattr SET value = zeroblob(65537)", AT_XATTR, 2 },
		/* meta */
		{ "DELETE FROM meta WHERE key = 'chunks'", AT_OPEN, 0 },
		{ "DELETE FROM meta WHERE key = 'incompat'", AT_OPEN, 0 },
		{ "UPDATE meta SET value = 'many' WHERE key = 'nodes'", AT_OPEN, 0 },
		{ "UPDATE meta SET value = -1 WHERE key = 'bytes'", AT_OPEN, 0 },
		{ "UPDATE meta SET value = 1 << 40 WHERE key = 'nodes'", AT_OPEN, 0 },
		/* database */
		{ "CREATE VIEW v AS SELECT * FROM node", AT_OPEN, 0 },
		{ "CREATE TRIGGER t AFTER DELETE ON node BEGIN SELECT 1; END", AT_OPEN, 0 },
		{ "DROP INDEX entry_seq", AT_OPEN, 0 },
		{ "DROP INDEX entry_seq; CREATE INDEX entry_seq ON entry (parent, seq)", AT_OPEN,
		  0 },
		{ "DROP TABLE xattr", AT_OPEN, 0 },
		{ "ALTER TABLE node ADD COLUMN extra INTEGER", AT_OPEN, 0 },
		{ "DROP TABLE xattr; CREATE VIEW xattr AS SELECT * FROM node", AT_OPEN, 0 },
		{ "PRAGMA application_id = 7", AT_OPEN, 0 },
		{ "PRAGMA journal_mode = WAL", AT_OPEN, 0 },
	};

	return cr_make_param_array(struct lie, lies, sizeof(lies) / sizeof(lies[0]));
}

ParameterizedTest(const struct lie *lie, lies, are_met)
{
	tamper(lie->sql);
	expect_met(lie, -EBADMSG);
}

/* STRICT guards writing only: take it off, write, and put it back. */
ParameterizedTestParameters(lies, of_type_are_met)
{
	static struct lie lies[] = {
		{ "UPDATE node SET mode = 'x' WHERE ino = 2", AT_NODE, 2 },
		{ "UPDATE node SET nlink = NULL WHERE ino = 2", AT_NODE, 2 },
		{ "UPDATE node SET mtime_s = 1.5 WHERE ino = 2", AT_LIST, 1 },
		{ "UPDATE node SET size = x'0a' WHERE ino = 2", AT_LOOKUP, 0 },
		{ "UPDATE node SET target = 'd/deep.bin' WHERE ino = 5", AT_TARGET, 5 },
		{ "UPDATE content SET size = 'ten' WHERE content = 1", AT_CONTENT, 1 },
		{ "UPDATE content SET digest = '0123456789abcdef0123456789abcdef' WHERE content = 1",
		  AT_CONTENT, 1 },
		{ "UPDATE chunk SET frame_offset = 'x'", AT_EACH_CHUNK, 0 },
		{ "UPDATE chunk SET digest = 17 WHERE chunk = 1", AT_CHUNK_EXTENTS, 1 },
		{ "UPDATE chunk SET pack = 1.5 WHERE chunk = 1", AT_EACH_CHUNK, 0 },
		{ "UPDATE pack SET size = 'x'", AT_OPEN, 0 },
		{ "UPDATE extent SET length = 'x' WHERE content = 2", AT_EXTENTS, 2 },
		{ "UPDATE extent SET offset = x'01' WHERE content = 2 AND offset > 0", AT_EXTENTS,
		  2 },
		{ "UPDATE extent SET chunk_offset = 0.5 WHERE content = 3", AT_CHUNK_EXTENTS, 1 },
		{ "UPDATE entry SET name = 'a.txt' WHERE seq = 1 AND parent = 1", AT_LIST, 1 },
		{ "UPDATE entry SET seq = 'x' WHERE ino = 6", AT_LIST, 1 },
		{ "UPDATE entry SET ino = 'x' WHERE ino = 2", AT_LIST, 1 },
		{ "UPDATE entry SET ino = 'x' WHERE ino = 2", AT_LOOKUP, 0 },
		{ "UPDATE xattr SET name = CAST(name AS TEXT)", AT_XATTR_NAMES, 2 },
		{ "UPDATE xattr SET value = 'text'", AT_XATTR, 2 },
	};

	return cr_make_param_array(struct lie, lies, sizeof(lies) / sizeof(lies[0]));
}

ParameterizedTest(const struct lie *lie, lies, of_type_are_met)
{
	tamper("PRAGMA writable_schema = ON;"
	       "CREATE TABLE kept AS SELECT name, sql FROM sqlite_schema WHERE type = 'table';"
	       "UPDATE sqlite_schema SET sql = replace(replace(replace(sql, ' STRICT, ', ' '),"
	       " ' STRICT', ''), ' NOT NULL', '') WHERE type = 'table' AND name <> 'kept'");
	tamper(lie->sql);
	tamper("PRAGMA writable_schema = ON;"
	       "UPDATE sqlite_schema AS s SET sql = (SELECT k.sql FROM kept k"
	       " WHERE k.name = s.name) WHERE type = 'table' AND name <> 'kept'");
	expect_met(lie, -EBADMSG);
}

Test(lies, nothing_is_wrong_with_the_index_that_they_change)
{
	CLEANUP(index_close) struct index *idx = open_index();

	for (uint64_t ino = 1; ino <= SAMPLE_N_NODES; ino++) {
		struct node node;

		cr_expect_eq(index_node(idx, ino, &node, NULL), 1);
		cr_expect_eq(index_list(idx, ino, 0, skip_entry, NULL, NULL), 0);
		cr_expect_geq(access_node(idx, AT_XATTR_NAMES, ino, NULL), 0);
	}
	cr_expect_eq(access_node(idx, AT_PARENT, 8, NULL), 1);
	cr_expect_eq(access_node(idx, AT_XATTR, 2, NULL), 1);
	cr_expect_eq(access_content(idx, AT_EXTENTS, 2, NULL), 0);
	for (uint64_t id = 1; id <= SAMPLE_N_CHUNKS; id++) {
		cr_expect_eq(access_content(idx, AT_CONTENT, id, NULL), 0);
		cr_expect_eq(access_content(idx, AT_CHUNK_EXTENTS, id, NULL), 0);
	}
	cr_expect_eq(access_content(idx, AT_EACH_CHUNK, 0, NULL), 0);
	cr_expect_eq(access_content(idx, AT_EACH_CONTENT, 0, NULL), 0);
}

Test(lies, a_newer_version_is_named)
{
	struct index *idx = NULL;
	struct err err = ERR_INIT;

	tamper("PRAGMA user_version = 2");
	cr_expect_eq(index_open(path, &idx, &err), -EPROTONOSUPPORT);
	cr_expect_not_null(strstr(err.msg, "version 2"), "%s", err.msg);
	tamper("PRAGMA user_version = 1");
	tamper("UPDATE meta SET value = 5 WHERE key = 'incompat'");
	cr_expect_eq(index_open(path, &idx, &err), -EPROTONOSUPPORT);
	cr_expect_not_null(strstr(err.msg, "0x5"), "%s", err.msg);
}

Test(lies, further_tables_and_compatible_features_are_ignored)
{
	tamper("CREATE TABLE further (a); CREATE INDEX more ON node (size);"
	       "UPDATE meta SET value = 1 WHERE key = 'compat'");
	CLEANUP(index_close) struct index *idx = open_index();

	cr_expect_eq(access_node(idx, AT_NODE, 2, NULL), 1);
}

Test(lies, other_files_are_no_index)
{
	struct index *idx = NULL;
	struct err err = ERR_INIT;
	CLEANUP(close) int fd = open(path, O_RDWR | O_CLOEXEC);

	cr_expect_eq(index_open(dir, &idx, &err), -EISDIR, "%d", err.code);
	cr_assert_eq(io_pwrite(fd, "not SQLite", 10, 0), 0);
	cr_expect_eq(index_open(path, &idx, &err), -EBADMSG);
	cr_expect_not_null(strstr(err.msg, "not an SQLite database"), "%s", err.msg);
	cr_assert_eq(ftruncate(fd, 50), 0);
	cr_expect_eq(index_open(path, &idx, &err), -EBADMSG);
	cr_assert_eq(ftruncate(fd, 0), 0);
	cr_expect_eq(index_open(path, &idx, &err), -EBADMSG);
	cr_assert_eq(unlink(path), 0);
	cr_expect_eq(index_open(path, &idx, &err), -ENOENT);
	cr_expect_null(idx);
}

/* Whatever is cut off, the answer is an error, not a crash; the whole file is the one that opens. */
Test(lies, every_page_cut_off_is_noticed_by_the_check)
{
	struct stat st;

	cr_assert_eq(stat(path, &st), 0);
	for (off_t size = st.st_size - 4096; size >= 4096; size -= 4096) {
		CLEANUP(index_close) struct index *idx = NULL;
		int r;

		cr_assert_eq(truncate(path, size), 0);
		r = index_open(path, &idx, NULL);
		if (r == 0)
			r = index_check(idx, NULL);
		cr_expect_eq(r, -EBADMSG, "%lld bytes", (long long)size);
	}
}
