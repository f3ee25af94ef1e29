/* SPDX-License-Identifier: Apache-2.0 */
/* How long to wait before something is tried again. */
#include <errno.h>
#include <sys/random.h>
#include <time.h>

#include "oci/registry_internal.h"

enum {
	FIRST_MS = 250,
	LONGEST_MS = 10 * 1000,
	RETRY_AFTER_MAX_S = 300, /* who wants us to wait longer wants us to go */
};

/* Between half of @ms and all of it: nodes that failed together do not come back together. */
static uint64_t jitter(uint64_t ms)
{
	uint32_t random = 0;

	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
		random = UINT32_MAX / 2;
	return ms / 2 + ms * random / 2 / UINT32_MAX;
}

static void wait_ms(uint64_t ms)
{
	struct timespec left = { .tv_sec = (time_t)(ms / 1000),
		                 .tv_nsec = (long)(ms % 1000) * 1000000 };

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
		;
}

/* The error when all tries are used up. */
static int give_up(int r, const struct http_response *res, struct err *err)
{
	if (r == -EAGAIN) { /* the message is there */
		if (err)
			err->code = -EIO;
		return -EIO;
	}
	return r < 0 ? r : err_set(err, -EIO, "the registry answers with status %ld", res->status);
}

int tries_wait(struct tries *t, int r, const struct http_response *res, struct err *err)
{
	uint64_t ms = FIRST_MS;

	if (r < 0 && r != -EAGAIN && !http_is_transient(r, 0))
		return r;
	t->n++;
	if (t->n >= t->reg->attempts || (r == 0 && res->retry_after > RETRY_AFTER_MAX_S))
		return give_up(r, res, err);
	for (unsigned i = 1; i < t->n && ms < LONGEST_MS; i++)
		ms *= 2;
	ms = jitter(ms < LONGEST_MS ? ms : LONGEST_MS);
	if (r == 0 && res->retry_after * 1000 > ms)
		ms += res->retry_after * 1000;
	wait_ms(ms);
	return 0;
}
