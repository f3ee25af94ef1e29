/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which files are likely to be opened next. Who reads a tree opens the files of a directory in the order of
 * their names, and so are the contents of an image numbered (docs/format.md).
 *
 * Several readers are followed at once. Guesses begin with a second file in order that is missing, are
 * about more files each time, and end where nothing is missing. Thread rule: any thread.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Readers that are followed. */
enum { AHEAD_STREAMS = 8 };

/* Contents that are opened in order. */
struct ahead_stream {
	uint64_t last;   /* opened last; 0: there is no stream */
	uint64_t end;    /* of what has been guessed, and at least last + 1 */
	uint64_t window; /* contents of the last guess, as far as it was tried; 0: none */
};

struct ahead {
	uint64_t max; /* contents to guess at a time; 0: none; constant */
	pthread_mutex_t lock;
	/* under lock */
	struct ahead_stream stream[AHEAD_STREAMS];
	uint32_t n_begun;
};

/* Contents from @first to before @end: at least one. */
struct ahead_guess {
	uint64_t first, end;
	uint32_t stream;
};

void ahead_init(struct ahead *ahead, uint64_t max);
void ahead_release(struct ahead *ahead);

/*
 * Content @id has been opened; @missing: it was not there. Returns whether others are to be filled now; then
 * *@ret says which, and ahead_tried() is due.
 */
bool ahead_opened(struct ahead *ahead, uint64_t id, bool missing, struct ahead_guess *ret);

/* Those of @guess before @end were looked at; @any: of them, some were missing. */
void ahead_tried(struct ahead *ahead, const struct ahead_guess *guess, uint64_t end, bool any);
