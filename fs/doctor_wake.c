/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a processor that has nothing to do takes to go on. Whoever opens a file sleeps until the daemon has
 * answered: on virtual machines whose processors halt at once that takes the host, and longer than
 * all the rest of an open.
 */
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "doctor.h"
#include "stats.h"

enum {
	ROUNDS = 200,
	PAUSE = 30000, /* ns, in which the sleeper's processor finds nothing to do */
};

struct trial {
	int call, answer; /* borrowed; eventfd(2) */
	uint64_t called;  /* when, by stats_clock(); atomic */
	uint64_t took[ROUNDS];
};

static bool add_one(int fd)
{
	const uint64_t one = 1;

	return write(fd, &one, sizeof(one)) == sizeof(one);
}

static bool take_one(int fd)
{
	uint64_t n;

	return read(fd, &n, sizeof(n)) == sizeof(n);
}

static void *sleeper(void *arg)
{
	struct trial *trial = arg;

	for (size_t i = 0; i < ROUNDS && take_one(trial->call); i++) {
		trial->took[i] = stats_clock() - __atomic_load_n(&trial->called, __ATOMIC_RELAXED);
		if (!add_one(trial->answer))
			break;
	}
	return NULL;
}

static void call(struct trial *trial)
{
	for (size_t i = 0; i < ROUNDS; i++) {
		uint64_t begin = stats_clock();

		while (stats_clock() - begin < PAUSE)
			;
		__atomic_store_n(&trial->called, stats_clock(), __ATOMIC_RELAXED);
		if (!add_one(trial->call) || !take_one(trial->answer))
			break;
	}
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

uint64_t doctor_try_waking(void)
{
	CLEANUP(close) int calls = eventfd(0, EFD_CLOEXEC);
	CLEANUP(close) int answers = eventfd(0, EFD_CLOEXEC);
	struct trial trial = { .call = calls, .answer = answers };
	pthread_t thread;

	if (calls < 0 || answers < 0 || pthread_create(&thread, NULL, sleeper, &trial) != 0)
		return 0;
	call(&trial);
	(void)pthread_join(thread, NULL);
	qsort(trial.took, ROUNDS, sizeof(trial.took[0]), compare);
	/* Other threads on this machine make it longer. */
	return trial.took[ROUNDS / 4];
}
