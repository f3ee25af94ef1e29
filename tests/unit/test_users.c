/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "users.h"

/* A process that lives until it is ended, in a mount namespace of its own if @apart. */
static pid_t start_process(bool apart)
{
	int ready[2];
	char byte;
	pid_t pid;

	cr_assert_eq(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		if (apart && unshare(CLONE_NEWNS) < 0)
			_exit(1);
		(void)!write(ready[1], "", 1);
		for (;;)
			(void)pause();
	}
	(void)close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		cr_skip_test("no mount namespaces here: they need root");
	(void)close(ready[0]);
	return pid;
}

static void end_process(pid_t pid)
{
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
}

static struct sharing sum_of(struct users *users)
{
	CLEANUP(live_users_release) struct live_users live = LIVE_USERS_INIT;
	struct sharing sum = { 0 };

	cr_assert_eq(live_users_load(&live), 0);
	users_sum(users, &live, &sum);
	sharing_release(&sum);
	return sum;
}

/* File @id has content @id, and that key; see also the tests of equal files. */
static void note(struct users *users, int pid, uint64_t id, uint64_t size)
{
	const struct opened_file file = { .ino = id, .content = id, .key = id, .size = size };

	users_note(users, pid, &file);
}

Test(users, equal_files_are_one_content_that_a_private_copy_has_twice)
{
	CLEANUP(users_free) struct users *users = users_new(10, 20);
	const struct opened_file one = { .ino = 15, .content = 3, .size = 1000 };
	const struct opened_file two = { .ino = 16, .content = 3, .size = 1000 };

	users_note(users, getpid(), &one);
	users_note(users, getpid(), &two);
	users_note(users, getpid(), &one);
	cr_assert_eq(sum_of(users).bytes_if_private, 2000);
	cr_assert_eq(sum_of(users).bytes_shared, 1000);
}

Test(users, count_each_file_once_per_namespace)
{
	CLEANUP(users_free) struct users *users = users_new(100, 200);
	pid_t a = start_process(/* apart= */ true);
	pid_t b = start_process(/* apart= */ true);
	struct sharing sum;

	note(users, a, 1, 1000);
	note(users, a, 1, 1000);
	note(users, b, 1, 1000);
	note(users, b, 100, 500);
	sum = sum_of(users);
	cr_assert_eq(sum.users, 2);
	cr_assert_eq(sum.bytes_if_private, 2500);
	cr_assert_eq(sum.bytes_shared, 1500);
	end_process(a);
	end_process(b);
}

Test(users, processes_of_one_namespace_are_one_user)
{
	CLEANUP(users_free) struct users *users = users_new(10, 20);
	pid_t a = start_process(/* apart= */ false);

	note(users, a, 3, 7);
	note(users, getpid(), 4, 5);
	cr_assert_eq(sum_of(users).users, 1);
	cr_assert_eq(sum_of(users).bytes_if_private, 12);
	end_process(a);
}

Test(users, are_forgotten_when_their_last_process_ends)
{
	CLEANUP(users_free) struct users *users = users_new(10, 20);
	pid_t a = start_process(/* apart= */ true);
	CLEANUP(close) int held = -1;
	char path[64];

	/* Keeps its number from being used again, which older kernels would do at once. */
	(void)snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)a);
	held = open(path, O_RDONLY | O_CLOEXEC);
	cr_assert_geq(held, 0);
	note(users, a, 1, 1000);
	cr_assert_eq(sum_of(users).users, 1);
	end_process(a);
	cr_assert_eq(sum_of(users).users, 0);
	cr_assert_eq(sum_of(users).bytes_shared, 0);
}

Test(users, one_user_of_two_images_counts_once)
{
	CLEANUP(users_free) struct users *first = users_new(10, 20);
	CLEANUP(users_free) struct users *second = users_new(10, 20);
	CLEANUP(live_users_release) struct live_users live = LIVE_USERS_INIT;
	CLEANUP(sharing_release) struct sharing sum = { 0 };

	note(first, getpid(), 1, 10);
	note(second, getpid(), 2, 20);
	cr_assert_eq(live_users_load(&live), 0);
	users_sum(first, &live, &sum);
	users_sum(second, &live, &sum);
	cr_assert_eq(sum.users, 1);
	cr_assert_eq(sum.bytes_if_private, 30);
	cr_assert_eq(sum.bytes_shared, 30);
}

Test(users, a_content_of_two_images_is_shared_once)
{
	enum { N = 3000 };
	CLEANUP(users_free) struct users *first = users_new(N, N);
	CLEANUP(users_free) struct users *second = users_new(N, N);
	CLEANUP(live_users_release) struct live_users live = LIVE_USERS_INIT;
	CLEANUP(sharing_release) struct sharing sum = { 0 };

	/* Keys of different contents may lie at one place of the table. */
	for (uint64_t i = 1; i <= N; i++) {
		struct opened_file file = { .ino = i, .content = i, .key = i << 20, .size = i };

		users_note(first, getpid(), &file);
		file.content = file.ino = N + 1 - i;
		if (i % 3 == 0)
			file.key++;
		users_note(second, getpid(), &file);
	}
	cr_assert_eq(live_users_load(&live), 0);
	users_sum(first, &live, &sum);
	users_sum(second, &live, &sum);
	cr_assert_eq(sum.bytes_if_private, (uint64_t)N * (N + 1));
	cr_assert_eq(sum.bytes_shared,
	             (uint64_t)N * (N + 1) / 2 + (uint64_t)3 * (N / 3) * (N / 3 + 1) / 2);
}

Test(users, a_process_that_is_gone_is_no_user)
{
	CLEANUP(users_free) struct users *users = users_new(10, 20);
	pid_t a = start_process(/* apart= */ false);

	end_process(a);
	note(users, a, 1, 1000);
	cr_assert_eq(sum_of(users).users, 0);
}
