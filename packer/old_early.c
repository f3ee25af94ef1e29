/* SPDX-License-Identifier: Apache-2.0 */
#include "old_early.h"

#include <stdlib.h>

#include "base/aside.h"
#include "index_writer.h"

struct old_early {
	const char *path;
	const char *tag;
	struct aside aside;
	struct old old; /* the thread's until it has ended */
};

/* Whatever is wrong is found again, and said, by who opens it later. */
static int open_early(void *arg, struct err *err)
{
	struct old_early *early = arg;
	struct old *old = &early->old;
	int r = old_open(early->path, early->tag, old, err);

	for (uint32_t i = 0; i < old->n; i++)
		old->contents[i] = old_contents_read(image_index(old->images[i]));
	index_writer_prepare();
	return r;
}

struct old_early *old_early_begin(const char *path, const char *tag)
{
	struct old_early *early = calloc(1, sizeof(*early));

	if (!early)
		return NULL;
	*early = (struct old_early){ .path = path, .tag = tag, .old = OLD_INIT };
	aside_begin(&early->aside, open_early, early, /* threaded= */ true);
	return early;
}

void old_early_free(struct old_early *early)
{
	if (!early)
		return;
	if (aside_end(&early->aside, NULL) == 0)
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
	if (!early || aside_end(&early->aside, NULL) < 0 || !is_current(early))
		return old_open(path, tag, ret, err);
	*ret = early->old;
	early->old = OLD_INIT;
	return 0;
}
