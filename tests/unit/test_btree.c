/* SPDX-License-Identifier: Apache-2.0 */
/* SQLite reads what btree.c writes: its check finds nothing, and the rows are those that went in. */
#include <criterion/criterion.h>
#include <endian.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "btree.h"
#include "prng.h"
#include "sample.h"

enum { BLOB_MAX = 70000, ROOT_TABLE = 2, ROOT_INDEX = 3, MADE_PAGES = 3 };

static char dir[SAMPLE_PATH_MAX];
static char path[SAMPLE_PATH_MAX];
static uint8_t bytes[BLOB_MAX];

static void setup(void)
{
	struct prng prng = PRNG_INIT(7);

	sample_dir(dir);
	(void)sample_path(dir, "trees.sqlite", path);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)prng_next(&prng);
}

static void teardown(void)
{
	sample_dir_remove(dir);
}

TestSuite(btree, .init = setup, .fini = teardown);

static void run(sqlite3 *db, const char *sql)
{
	cr_assert_eq(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK, "%s: %s", sql,
	             sqlite3_errmsg(db));
}

static sqlite3 *open_db(void)
{
	sqlite3 *db = NULL;

	cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
	return db;
}

static void make_file(void)
{
	sqlite3 *db;

	(void)unlink(path);
	db = open_db();
	run(db, "PRAGMA page_size = 4096; PRAGMA synchronous = OFF;"
	        "CREATE TABLE t (n INTEGER NOT NULL PRIMARY KEY, v);"
	        "CREATE TABLE u (k BLOB NOT NULL PRIMARY KEY, v) WITHOUT ROWID");
	(void)sqlite3_close(db);
}

/* The number that @sql asks for. */
static int64_t ask(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *stmt = NULL;
	int64_t n;

	cr_assert_eq(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK, "%s",
	             sqlite3_errmsg(db));
	cr_assert_eq(sqlite3_step(stmt), SQLITE_ROW, "%s: %s", sql, sqlite3_errmsg(db));
	n = sqlite3_column_int64(stmt, 0);
	(void)sqlite3_finalize(stmt);
	return n;
}

static void check_whole(sqlite3 *db)
{
	sqlite3_stmt *stmt = NULL;

	cr_assert_eq(sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &stmt, NULL), SQLITE_OK);
	cr_assert_eq(sqlite3_step(stmt), SQLITE_ROW);
	cr_expect_str_eq((const char *)sqlite3_column_text(stmt, 0), "ok");
	(void)sqlite3_finalize(stmt);
}

/* Bytes of row @i: @size, or as many as @prng says, most of them few. */
static size_t row_size(struct prng *prng, size_t size)
{
	uint64_t n = prng_next(prng);

	if (size > 0)
		return size;
	return n % 50 == 0 ? n / 50 % (BLOB_MAX - 8) : n / 50 % 300;
}

/* Go on behind what SQLite has made of the file open at @fd. */
static void begin_file(struct btree_file *file, int fd)
{
	uint8_t front[MADE_PAGES * BTREE_PAGE];

	cr_assert_eq(io_pread(fd, front, sizeof(front), 0), 0);
	cr_assert_eq(btree_file_init(file, fd, front, MADE_PAGES), 0);
}

/* Write @n rows to both trees, of which the index' keys have a number before them. */
static void write_rows(size_t n, size_t size, uint32_t first_page)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	struct btree_file file;
	struct btree table = { .file = &file, .root = ROOT_TABLE, .is_table = true };
	struct btree index = { .file = &file, .root = ROOT_INDEX };
	struct btree_record r;
	struct prng prng = PRNG_INIT(n + size);
	uint8_t *key = malloc(BLOB_MAX);

	cr_assert(fd >= 0 && key);
	begin_file(&file, fd);
	file.n = first_page;
	cr_assert_eq(btree_record_init(&r, BLOB_MAX + 8), 0);
	for (size_t i = 0; i < n; i++) {
		size_t len = row_size(&prng, size);
		uint64_t number = htobe64(i);

		btree_record_begin(&r);
		btree_record_null(&r);
		btree_record_blob(&r, bytes, len);
		cr_assert_eq(btree_add(&table, i * 3 + 1, &r), 0);
		memcpy(key, &number, 8);
		memcpy(key + 8, bytes, len);
		btree_record_begin(&r);
		btree_record_blob(&r, key, 8 + len);
		btree_record_int(&r, (int64_t)i);
		cr_assert_eq(btree_add(&index, 0, &r), 0);
	}
	cr_assert_eq(btree_finish(&table), 0);
	cr_assert_eq(btree_finish(&index), 0);
	cr_assert_eq(btree_file_finish(&file), 0);
	btree_release(&table);
	btree_release(&index);
	btree_record_release(&r);
	btree_file_release(&file);
	free(key);
	(void)close(fd);
}

static void expect_bytes(sqlite3_stmt *stmt, int column, size_t skip, size_t len)
{
	cr_assert_eq((size_t)sqlite3_column_bytes(stmt, column), skip + len);
	cr_assert(len == 0 || memcmp((const uint8_t *)sqlite3_column_blob(stmt, column) + skip,
	                             bytes, len) == 0);
}

/* Go through both trees, and look rows up, which takes the pages above. */
static void expect_rows(sqlite3 *db, size_t n, size_t size)
{
	struct prng prng = PRNG_INIT(n + size);
	sqlite3_stmt *each = NULL, *find = NULL;

	cr_assert_eq(sqlite3_prepare_v2(db, "SELECT k, v FROM u ORDER BY k", -1, &each, NULL),
	             SQLITE_OK);
	cr_assert_eq(sqlite3_prepare_v2(db, "SELECT t.v, u.v FROM t, u WHERE t.n = ?1 AND u.k = ?2",
	                                -1, &find, NULL),
	             SQLITE_OK);
	for (size_t i = 0; i < n; i++) {
		size_t len = row_size(&prng, size);

		cr_assert_eq(sqlite3_step(each), SQLITE_ROW, "row %zu of %zu", i, n);
		cr_assert_eq(sqlite3_column_int64(each, 1), (int64_t)i);
		expect_bytes(each, 0, 8, len);
		(void)sqlite3_reset(find);
		(void)sqlite3_bind_int64(find, 1, (int64_t)(i * 3 + 1));
		(void)sqlite3_bind_value(find, 2, sqlite3_column_value(each, 0));
		cr_assert_eq(sqlite3_step(find), SQLITE_ROW, "row %zu of %zu is not found", i, n);
		expect_bytes(find, 0, 0, len);
		cr_assert_eq(sqlite3_column_int64(find, 1), (int64_t)i);
	}
	cr_expect_eq(sqlite3_step(each), SQLITE_DONE);
	(void)sqlite3_finalize(each);
	(void)sqlite3_finalize(find);
	cr_expect_eq(ask(db, "SELECT count(*) FROM t"), (int64_t)n);
}

static void expect_written(size_t n, size_t size)
{
	sqlite3 *db;

	make_file();
	write_rows(n, size, 3);
	db = open_db();
	check_whole(db);
	expect_rows(db, n, size);
	(void)sqlite3_close(db);
}

Test(btree, trees_of_any_number_of_rows)
{
	/* Rows of one size fill pages after a few, and the pages above these after a few pages. */
	for (size_t n = 0; n < 40; n++)
		expect_written(n, 900);
	for (size_t n = 40; n < 1500; n += 1 + n / 25)
		expect_written(n, 700);
	for (size_t n = 1; n < 300; n += 7)
		expect_written(n, 20);
}

Test(btree, rows_of_any_size)
{
	for (size_t size = 950; size < 1010; size++)
		expect_written(9, size);
	for (size_t size = 4030; size < 4110; size++)
		expect_written(3, size);
	for (size_t size = 8120; size < 8200; size += 3)
		expect_written(2, size);
	expect_written(5, BLOB_MAX - 8);
	for (size_t n = 1; n < 3000; n = n * 3 + 1)
		expect_written(n, 0);
}

Test(btree, many_small_rows)
{
	expect_written(60000, 1);
}

Test(btree, numbers_of_any_size)
{
	static const int64_t numbers[] = { 0,
		                           1,
		                           2,
		                           -1,
		                           127,
		                           128,
		                           -128,
		                           -129,
		                           32767,
		                           32768,
		                           -32769,
		                           8388607,
		                           8388608,
		                           -8388609,
		                           INT32_MAX,
		                           (int64_t)INT32_MAX + 1,
		                           INT32_MIN,
		                           (int64_t)INT32_MIN - 1,
		                           140737488355327,
		                           140737488355328,
		                           -140737488355329,
		                           INT64_MAX,
		                           INT64_MIN };
	struct btree_file file;
	struct btree table = { .file = &file, .root = ROOT_TABLE, .is_table = true };
	struct btree_record r;
	sqlite3_stmt *stmt = NULL;
	sqlite3 *db;
	int fd;

	make_file();
	fd = open(path, O_RDWR | O_CLOEXEC);
	cr_assert(fd >= 0 && btree_record_init(&r, 8) == 0);
	begin_file(&file, fd);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		btree_record_begin(&r);
		btree_record_null(&r);
		btree_record_int(&r, numbers[i]);
		cr_assert_eq(btree_add(&table, (uint64_t)1 << i, &r), 0);
	}
	btree_record_begin(&r);
	btree_record_null(&r);
	btree_record_text(&r, "words");
	/* A number of nine bytes. */
	cr_assert_eq(btree_add(&table, INT64_MAX, &r), 0);
	cr_assert_eq(btree_finish(&table), 0);
	cr_assert_eq(btree_file_finish(&file), 0);
	btree_release(&table);
	btree_record_release(&r);
	btree_file_release(&file);
	(void)close(fd);
	db = open_db();
	check_whole(db);
	cr_assert_eq(sqlite3_prepare_v2(db, "SELECT n, v FROM t ORDER BY n", -1, &stmt, NULL),
	             SQLITE_OK);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		cr_assert_eq(sqlite3_step(stmt), SQLITE_ROW);
		cr_expect_eq(sqlite3_column_int64(stmt, 0), (int64_t)1 << i);
		cr_expect_eq(sqlite3_column_int64(stmt, 1), numbers[i]);
	}
	(void)sqlite3_finalize(stmt);
	cr_expect_eq(ask(db, "SELECT v = 'words' FROM t WHERE n = 9223372036854775807"), 1);
	(void)sqlite3_close(db);
}

/* SQLite locks bytes at 1 GiB, and says of a page there that the file is damaged. */
Test(btree, no_row_is_in_the_page_of_locks)
{
	const uint32_t lock_page = (1 << 30) / BTREE_PAGE + 1;

	for (uint32_t before = 1; before < 12; before++) {
		sqlite3 *db;

		make_file();
		write_rows(40, 9000, lock_page - before);
		db = open_db();
		expect_rows(db, 40, 9000);
		(void)sqlite3_close(db);
	}
}
