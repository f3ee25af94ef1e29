/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "pack_fds.h"
#include "sample.h"

enum { N = 20, LIMIT = 5 };

static char packs[SAMPLE_PATH_MAX];

static void remove_packs(void)
{
	sample_dir_remove(packs);
}

TestSuite(pack_fds, .fini = remove_packs);

static int dirfd_with_packs(void)
{
	int fd;

	sample_dir(packs);
	fd = open(packs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	cr_assert_geq(fd, 0);
	for (int i = 0; i < N; i++) {
		char name[16];
		CLEANUP(close) int pack = -1;

		(void)snprintf(name, sizeof(name), "%d", i);
		pack = openat(fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		cr_assert_eq(write(pack, &i, sizeof(i)), sizeof(i));
	}
	return fd;
}

/* Get pack @i and check that the descriptor is its own. */
static void get(struct pack_fd *file, int dirfd, int i)
{
	char name[16];
	int found = -1;
	int fd;

	(void)snprintf(name, sizeof(name), "%d", i);
	fd = pack_fd_get(file, dirfd, name);
	cr_assert_geq(fd, 0);
	cr_assert_eq(pread(fd, &found, sizeof(found), 0), sizeof(found));
	cr_assert_eq(found, i);
}

Test(pack_fds, keeps_no_more_open_than_the_limit)
{
	struct pack_fd files[N];
	CLEANUP(close) int dirfd = dirfd_with_packs();

	pack_fds_limit(LIMIT);
	for (int i = 0; i < N; i++)
		files[i] = PACK_FD_INIT;
	for (int i = 0; i < N; i++) {
		get(&files[i], dirfd, i);
		pack_fd_put(&files[i]);
		cr_assert_leq(pack_fds_open(), LIMIT);
	}
	/* The last ones are those that stay. */
	for (int i = 0; i < N; i++)
		cr_assert_eq(files[i].fd >= 0, i >= N - LIMIT);
	for (int i = 0; i < N; i++)
		pack_fd_close(&files[i]);
	cr_assert_eq(pack_fds_open(), 0);
}

Test(pack_fds, what_was_used_last_stays_open)
{
	struct pack_fd files[3] = { PACK_FD_INIT, PACK_FD_INIT, PACK_FD_INIT };
	CLEANUP(close) int dirfd = dirfd_with_packs();

	pack_fds_limit(2);
	for (int i = 0; i < 2; i++) {
		get(&files[i], dirfd, i);
		pack_fd_put(&files[i]);
	}
	get(&files[0], dirfd, 0);
	pack_fd_put(&files[0]);
	get(&files[2], dirfd, 2);
	pack_fd_put(&files[2]);
	cr_assert_geq(files[0].fd, 0);
	cr_assert_lt(files[1].fd, 0);
	for (int i = 0; i < 3; i++)
		pack_fd_close(&files[i]);
}

Test(pack_fds, none_is_closed_while_somebody_reads_it)
{
	struct pack_fd files[N];
	CLEANUP(close) int dirfd = dirfd_with_packs();
	int fds[N];

	pack_fds_limit(LIMIT);
	for (int i = 0; i < N; i++) {
		files[i] = PACK_FD_INIT;
		get(&files[i], dirfd, i);
		fds[i] = files[i].fd;
	}
	cr_assert_eq(pack_fds_open(), N);
	for (int i = 0; i < N; i++) {
		int found = -1;

		cr_assert_eq(pread(fds[i], &found, sizeof(found), 0), sizeof(found));
		cr_assert_eq(found, i);
	}
	for (int i = 0; i < N; i++)
		pack_fd_put(&files[i]);
	cr_assert_eq(pack_fds_open(), LIMIT);
	for (int i = 0; i < N; i++)
		pack_fd_close(&files[i]);
}

Test(pack_fds, two_readers_share_a_descriptor)
{
	struct pack_fd file = PACK_FD_INIT;
	CLEANUP(close) int dirfd = dirfd_with_packs();

	pack_fds_limit(0);
	get(&file, dirfd, 1);
	get(&file, dirfd, 1);
	cr_assert_eq(pack_fds_open(), 1);
	pack_fd_put(&file);
	cr_assert_geq(file.fd, 0);
	pack_fd_put(&file);
	cr_assert_lt(file.fd, 0, "nothing stays open at a limit of 0");
	cr_assert_eq(pack_fds_open(), 0);
}

Test(pack_fds, says_why_one_cannot_be_opened)
{
	struct pack_fd file = PACK_FD_INIT;
	CLEANUP(close) int dirfd = dirfd_with_packs();

	cr_assert_eq(pack_fd_get(&file, dirfd, "none"), -ENOENT);
	cr_assert_eq(pack_fds_open(), 0);
	pack_fd_close(&file);
}
