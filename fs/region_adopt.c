/* SPDX-License-Identifier: Apache-2.0 */
/* How a region begins: with nothing, or with what an earlier daemon has left. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "region_internal.h"

/* What an earlier daemon has left, on the way into a region. */
struct legacy {
	struct region *region;
	bool trusted;    /* what is marked as whole is */
	size_t n_whole;  /* objects that are */
	size_t n_others; /* objects of which every byte has yet to be verified */
};

static int adopt_object(void *arg, const struct digest *digest, uint64_t size, bool whole)
{
	struct legacy *legacy = arg;
	struct region *region = legacy->region;
	const struct object like = { .region = region,
		                     .digest = *digest,
		                     .size = size,
		                     .sized = true,
		                     .complete = whole && legacy->trusted,
		                     .kept = !(whole && legacy->trusted) };
	struct object *obj;
	int r;

	legacy->n_whole += like.complete;
	legacy->n_others += like.kept;
	(void)pthread_mutex_lock(&region->lock);
	r = region_insert(region, &like, UINT64_MAX, &obj);
	(void)pthread_mutex_unlock(&region->lock);
	return r;
}

/* Enter all that lies in the region's directory. */
static int adopt_objects(struct region *region, bool trusted, struct err *err)
{
	struct legacy legacy = { .region = region, .trusted = trusted };
	int r = region_root_objects(region->root, adopt_object, &legacy, err);

	region->is_open = r == 0;
	if (r == 0 && legacy.n_whole + legacy.n_others > 0)
		log_info("the region has %zu objects of the last daemon, and %zu that are verified "
		         "when they are used",
		         legacy.n_whole, legacy.n_others);
	return r;
}

int region_open(const struct region_config *config, struct region **ret, struct err *err)
{
	CLEANUP(region_close) struct region *region = NULL;
	bool clean = false;
	CLEANUP(close)
	int root = config->directory ? region_root_on_disk(config->directory, &clean, err)
	                             : region_root_in_memory(config->size, err);
	int r = 0;

	if (root < 0)
		return root;
	region = region_new(config, root);
	if (!region)
		return err_set(err, -ENOMEM, "out of memory");
	(void)TAKE_FD(root);
	if (config->directory) {
		r = adopt_objects(region, clean, err);
		region_resize(region, config->size);
	}
	if (r == 0)
		*ret = TAKE_PTR(region);
	return r;
}

int region_adopt(const struct region_config *config, int root, struct region **ret, struct err *err)
{
	CLEANUP(region_close) struct region *region = region_new(config, root);
	uint64_t used;
	int r;

	if (!region)
		return err_set(err, -ENOMEM, "out of memory");
	if (region->in_memory)
		region_root_usage(root, &region->size, &used);
	r = adopt_objects(region, /* trusted= */ true, err);
	if (r < 0) {
		region->root = -1; /* the caller's */
		return r;
	}
	*ret = TAKE_PTR(region);
	return 0;
}
