/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inodes.h"
#include "saved.h"

enum { N_INODES = 100000 };

static struct saved *saved;

static void set_up(void)
{
	struct saved_facts facts = { .name = "/images:v1", .device = 42 };
	struct err err = ERR_INIT;

	cr_assert_eq(saved_new(&facts, N_INODES, &saved, &err), 0, "%s", err.msg);
}

static void tear_down(void)
{
	saved_free(saved);
}

TestSuite(saved, .init = set_up, .fini = tear_down);

/* Another daemon takes over. */
static void take_over(void)
{
	int fd = dup(saved_fd(saved));
	struct err err = ERR_INIT;

	saved_free(saved);
	cr_assert_eq(saved_adopt(fd, &saved, &err), 0, "%s", err.msg);
}

static void change(uint64_t unique, uint64_t ino, const struct saved_inode *now)
{
	const struct saved_request request = { .unique = unique, .mode = OPEN_PASSTHROUGH };

	saved_change(saved, &request, ino, now);
}

struct seen {
	uint64_t ino[8];
	struct saved_inode inode[8];
	size_t n;
};

static int note(void *arg, uint64_t ino, const struct saved_inode *inode)
{
	struct seen *seen = arg;

	cr_assert_lt(seen->n, 8);
	seen->ino[seen->n] = ino;
	seen->inode[seen->n++] = *inode;
	return 0;
}

Test(saved, what_is_saved_is_there_after_a_takeover)
{
	struct seen seen = { .n = 0 };
	size_t len;

	saved_set_init(saved, "init", 4);
	saved_tally(saved)->opens = 7;
	/* Numbers whose records lie across two pages, in the last one, and one that is closed again. */
	change(10, 1, &(struct saved_inode){ .n_cached = 2 });
	change(12, 341, &(struct saved_inode){ .backing_id = 5, .n_passthrough = 1 });
	change(14, 5000, &(struct saved_inode){ .n_cached = 1 });
	change(16, 5000, &(struct saved_inode){ .n_cached = 0 });
	change(18, N_INODES, &(struct saved_inode){ .backing_id = 3 });
	take_over();
	cr_assert_eq(saved_facts(saved)->device, 42);
	cr_assert_str_eq(saved_facts(saved)->name, "/images:v1");
	cr_assert_eq(memcmp(saved_init(saved, &len), "init", 4), 0);
	cr_assert_eq(len, 4);
	cr_assert_eq(saved_tally(saved)->opens, 7);
	cr_assert_eq(saved_highest_backing(saved), 5);
	cr_assert_eq(saved_each(saved, note, &seen), 0);
	cr_assert_eq(seen.n, 3);
	cr_assert_eq(seen.ino[0], 1);
	cr_assert_eq(seen.inode[0].n_cached, 2);
	cr_assert_eq(seen.ino[1], 341);
	cr_assert_eq(seen.inode[1].backing_id, 5);
	cr_assert_eq(seen.inode[1].n_passthrough, 1);
	cr_assert_eq(seen.ino[2], N_INODES);
}

Test(saved, requests_are_known_again)
{
	uint32_t mode = OPEN_EMPTY;

	change(10, 1, &(struct saved_inode){ .n_passthrough = 1 });
	change(0, 1, &(struct saved_inode){ .n_passthrough = 1, .backing_id = 2 });
	take_over();
	cr_assert(saved_find(saved, 10, &mode));
	cr_assert_eq(mode, OPEN_PASSTHROUGH);
	cr_assert_not(saved_find(saved, 12, &mode));
	cr_assert_not(saved_find(saved, 0, &mode), "0 is no request");
}

Test(saved, empty_records_take_no_memory)
{
	struct seen seen = { .n = 0 };
	struct stat before;
	struct stat after;

	change(10, N_INODES / 2, &(struct saved_inode){ .n_cached = 1 });
	cr_assert_eq(fstat(saved_fd(saved), &before), 0);
	cr_assert_eq(saved_each(saved, note, &seen), 0);
	cr_assert_eq(fstat(saved_fd(saved), &after), 0);
	cr_assert_eq(before.st_blocks, after.st_blocks);
	cr_assert_lt(after.st_blocks * 512, after.st_size / 2);
}

Test(saved, room_ends_with_the_image)
{
	cr_assert(saved_has(saved, N_INODES));
	cr_assert_not(saved_has(saved, N_INODES + 1));
}

static int stop(void *arg, uint64_t ino, const struct saved_inode *inode)
{
	(void)arg;
	(void)inode;
	return -(int)ino;
}

Test(saved, visits_end_with_what_the_caller_says)
{
	change(0, 3, &(struct saved_inode){ .n_cached = 1 });
	change(0, 4, &(struct saved_inode){ .n_cached = 1 });
	cr_assert_eq(saved_each(saved, stop, NULL), -3);
}

/* How the file @fd, which is closed, is refused. */
static int refusal(int fd)
{
	struct saved *other;
	struct err err = ERR_INIT;
	int r = saved_adopt(fd, &other, &err);

	cr_assert_lt(r, 0);
	cr_assert_eq(saved_check(fd, NULL), r);
	cr_assert_neq(err.msg[0], '\0');
	(void)close(fd);
	return r;
}

/* Write @value over that of the state's beginning. */
static void forge(off_t off, uint32_t value)
{
	cr_assert_eq(pwrite(saved_fd(saved), &value, sizeof(value), 4096 + off), sizeof(value));
}

enum { OFF_VERSION = 0, OFF_OLDEST = 4 };

Test(saved, what_is_no_state_is_refused)
{
	uint32_t version;
	uint32_t oldest;

	saved_versions(&version, &oldest);
	cr_assert_eq(refusal(memfd_create("none", MFD_CLOEXEC)), -EBADMSG);
	cr_assert_eq(saved_check(saved_fd(saved), NULL), 0);
	forge(OFF_OLDEST, version + 1);
	cr_assert_eq(refusal(dup(saved_fd(saved))), -EPROTONOSUPPORT);
	forge(OFF_OLDEST, oldest);
	forge(OFF_VERSION, oldest - 1);
	cr_assert_eq(refusal(dup(saved_fd(saved))), -EPROTONOSUPPORT);
	forge(OFF_VERSION, version);
	cr_assert_eq(ftruncate(saved_fd(saved), 1 << 19), 0);
	cr_assert_eq(refusal(dup(saved_fd(saved))), -EBADMSG);
}

Test(saved, another_version_can_go_on)
{
	struct seen seen = { .n = 0 };
	uint32_t version;
	uint32_t oldest;
	uint32_t mode;
	struct stat st;

	saved_versions(&version, &oldest);
	saved_tally(saved)->opens = 7;
	change(10, 341, &(struct saved_inode){ .backing_id = 5, .n_passthrough = 1 });
	change(18, N_INODES, &(struct saved_inode){ .n_cached = 3 });
	/* Twice: what the first one has left is not in the way of the second. */
	for (int i = 0; i < 2; i++) {
		uint64_t at = 0;

		cr_assert_eq(pread(saved_fd(saved), &at, sizeof(at), 8), sizeof(at));
		forge((off_t)at - 4096 + OFF_VERSION, version + 1);
		take_over();
	}
	cr_assert_str_eq(saved_facts(saved)->name, "/images:v1");
	cr_assert_eq(saved_tally(saved)->opens, 7);
	cr_assert_eq(saved_highest_backing(saved), 5);
	cr_assert(saved_find(saved, 10, &mode));
	cr_assert_eq(mode, OPEN_PASSTHROUGH);
	cr_assert(saved_has(saved, N_INODES));
	cr_assert_not(saved_has(saved, N_INODES + 1));
	cr_assert_eq(saved_each(saved, note, &seen), 0);
	cr_assert_eq(seen.n, 2);
	cr_assert_eq(seen.ino[0], 341);
	cr_assert_eq(seen.inode[0].n_passthrough, 1);
	cr_assert_eq(seen.ino[1], N_INODES);
	cr_assert_eq(fstat(saved_fd(saved), &st), 0);
	cr_assert_lt(st.st_blocks * 512, 600000, "what was never written takes memory");
}
