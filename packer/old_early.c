/* SPDX-License-Identifier: Apache-2.0 */
#include "old_early.h"

#include <pthread.h>
#include <stdlib.h>

#include "index_writer.h"

struct old_early {
	const char *path;
	const char *tag;
	pthread_t thread;
	bool joined;
	/* the thread's until it is joined */
	struct old old;
	int result;
};

/* Whatever is wrong is found again, and said, by who opens it later. */
static void *open_early(void *arg)
{
	struct old_early *early = arg;

	struct old *old = &early->old;

	early->result = old_open(early->path, early->tag, old, NULL);
	for (uint32_t i = 0; i < old->n; i++)
		old->contents[i] = old_contents_read(image_index(old->images[i]));
	index_writer_prepare();
	return NULL;
}

struct old_early *old_early_begin(const char *path, const char *tag)
{
	struct old_early *early = calloc(1, sizeof(*early));

	if (!early)
		return NULL;
	*early = (struct old_early){ .path = path, .tag = tag, .old = OLD_INIT };
	if (pthread_create(&early->thread, NULL, open_early, early) == 0)
		return early;
	free(early);
	return NULL;
}

static void join(struct old_early *early)
{
	if (!early->joined)
		(void)pthread_join(early->thread, NULL);
	early->joined = true;
}

void old_early_free(struct old_early *early)
{
	if (!early)
		return;
	join(early);
	old_release(&early->old);
	free(early);
}

/* Whether the tag names the same as then, whose blobs nobody has removed. */
static bool is_current(const struct old_early *early)
{
	CLEANUP(layout_close) struct layout *layout = NULL;
	CLEANUP(image_set_release) struct image_set set = IMAGE_SET_INIT;

	return layout_open(early->path, &layout, NULL) == 0 &&
	       layout_images(layout, early->tag, &set, NULL) == 0 &&
	       digest_equal(&set.self.digest, &early->old.set.self.digest) &&
	       old_has_blobs(layout, &set);
}

int old_early_take(struct old_early *early, const char *path, const char *tag, struct old *ret,
                   struct err *err)
{
	if (early)
		join(early);
	if (!early || early->result < 0 || !is_current(early))
		return old_open(path, tag, ret, err);
	*ret = early->old;
	early->old = OLD_INIT;
	return 0;
}
