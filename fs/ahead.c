/* SPDX-License-Identifier: Apache-2.0 */
#include "ahead.h"

#include <stddef.h>

enum {
	NEAR = 8, /* a reader may leave out fewer contents than that: they are of other directories */
	WINDOW_MIN = 4,
};

void ahead_init(struct ahead *ahead, uint64_t max)
{
	*ahead = (struct ahead){ .max = max };
	(void)pthread_mutex_init(&ahead->lock, NULL);
}

void ahead_release(struct ahead *ahead)
{
	(void)pthread_mutex_destroy(&ahead->lock);
}

/* The stream that @id goes on with; NULL when there is none. */
static struct ahead_stream *find(struct ahead *ahead, uint64_t id)
{
	for (size_t i = 0; i < AHEAD_STREAMS; i++) {
		struct ahead_stream *s = &ahead->stream[i];

		if (s->last != 0 && id > s->last && (id <= s->last + NEAR || id < s->end))
			return s;
	}
	return NULL;
}

/* Instead of the oldest stream. */
static void begin(struct ahead *ahead, uint64_t id)
{
	ahead->stream[ahead->n_begun++ % AHEAD_STREAMS] =
		(struct ahead_stream){ .last = id, .end = id + 1 };
}

/* The next guess of @s, where @id is open. */
static struct ahead_guess guess(const struct ahead *ahead, struct ahead_stream *s, uint64_t id)
{
	struct ahead_guess next;

	/* What was guessed before may have left meanwhile. */
	if (s->window == 0)
		s->end = id + 1;
	s->window = s->window == 0 ? WINDOW_MIN : s->window * 2;
	if (s->window > ahead->max)
		s->window = ahead->max;
	next.first = s->end > id ? s->end : id + 1;
	next.end = id + 1 + s->window;
	next.stream = (uint32_t)(s - ahead->stream);
	s->end = next.end;
	return next;
}

bool ahead_opened(struct ahead *ahead, uint64_t id, bool missing, struct ahead_guess *ret)
{
	struct ahead_stream *s;
	bool due = false;

	if (ahead->max == 0)
		return false;
	(void)pthread_mutex_lock(&ahead->lock);
	s = find(ahead, id);
	if (s) {
		s->last = id;
		/* When half of what was guessed is used: the rest is filled meanwhile. */
		due = s->window == 0 ? missing : s->end <= id + 1 + s->window / 2;
	} else if (missing) {
		begin(ahead, id);
	}
	if (due)
		*ret = guess(ahead, s, id);
	(void)pthread_mutex_unlock(&ahead->lock);
	return due;
}

void ahead_tried(struct ahead *ahead, const struct ahead_guess *guess, uint64_t end, bool any)
{
	struct ahead_stream *s = &ahead->stream[guess->stream];

	(void)pthread_mutex_lock(&ahead->lock);
	/* Unless it is another stream, or somebody has gone on. */
	if (s->end == guess->end) {
		s->end = end;
		/* What was left out may be too much: the reader is to come near it first. */
		if (end < guess->end)
			s->window = end > s->last ? end - s->last - 1 : 0;
		if (!any)
			s->window = 0;
	}
	(void)pthread_mutex_unlock(&ahead->lock);
}
