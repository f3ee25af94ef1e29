/* SPDX-License-Identifier: Apache-2.0 */
#include "base/aside.h"

static void *run(void *arg)
{
	struct aside *aside = arg;

	aside->result = aside->fn(aside->arg, &aside->err);
	return NULL;
}

void aside_begin(struct aside *aside, aside_fn fn, void *arg, bool threaded)
{
	*aside = (struct aside){ .fn = fn, .arg = arg, .err = ERR_INIT };
	if (!threaded || pthread_create(&aside->thread, NULL, run, aside) != 0)
		(void)run(aside);
	else
		aside->threaded = true;
}

int aside_end(struct aside *aside, struct err *err)
{
	if (aside->threaded)
		(void)pthread_join(aside->thread, NULL);
	aside->threaded = false;
	return aside->result < 0 ? err_set(err, aside->result, "%s", aside->err.msg) : 0;
}
