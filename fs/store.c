/* SPDX-License-Identifier: Apache-2.0 */
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct store {
	char *path;  /* owned */
	int dir;     /* owned */
	int indexes; /* owned */
	int lock;    /* owned */
};

static int take_lock(struct store *store, struct err *err)
{
	char pid[16];
	int n = snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
	int r;

	store->lock = openat(store->dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (store->lock < 0)
		return err_set_errno(err, "'%s/lock'", store->path);
	if (flock(store->lock, LOCK_EX | LOCK_NB) < 0) {
		if (errno == EWOULDBLOCK)
			return err_set(err, -EBUSY, "another daemon serves the store '%s'",
			               store->path);
		return err_set_errno(err, "'%s/lock'", store->path);
	}
	r = ftruncate(store->lock, 0) < 0 ? -errno : io_pwrite(store->lock, pid, (size_t)n, 0);
	return r < 0 ? err_set(err, r, "'%s/lock': %s", store->path, strerrordesc_np(-r)) : 0;
}

int store_open(const char *path, struct store **ret, struct err *err)
{
	CLEANUP(store_close) struct store *store = calloc(1, sizeof(*store));
	int r;

	if (!store)
		return err_set(err, -ENOMEM, "out of memory");
	store->dir = store->indexes = store->lock = -1;
	store->path = strdup(path);
	if (!store->path)
		return err_set(err, -ENOMEM, "out of memory");
	r = io_make_dirs(path, err);
	if (r < 0)
		return r;
	store->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (store->dir < 0)
		return err_set_errno(err, "store '%s'", path);
	r = take_lock(store, err);
	if (r < 0)
		return r;
	if (mkdirat(store->dir, "indexes", 0755) < 0 && errno != EEXIST)
		return err_set_errno(err, "'%s/indexes'", path);
	store->indexes = openat(store->dir, "indexes", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (store->indexes < 0)
		return err_set_errno(err, "'%s/indexes'", path);
	r = io_sweep(store->indexes, err);
	if (r < 0)
		return err_wrap(err, r, "'%s/indexes'", path);
	*ret = TAKE_PTR(store);
	return 0;
}

void store_close(struct store *store)
{
	if (!store)
		return;
	if (store->indexes >= 0)
		(void)close(store->indexes);
	if (store->lock >= 0)
		(void)close(store->lock);
	if (store->dir >= 0)
		(void)close(store->dir);
	free(store->path);
	free(store);
}

int store_dir(const struct store *store)
{
	return store->dir;
}

const char *store_path(const struct store *store)
{
	return store->path;
}

/* Two mounts of a new image at once both unpack it and publish equal files. */
static int unpack(struct store *store, const struct layout *layout, const struct manifest *manifest,
                  const char *name, struct err *err)
{
	CLEANUP(io_temp_release) struct io_temp tmp = IO_TEMP_INIT;
	int r = io_temp_open(&tmp, store->indexes, err);

	if (r < 0)
		return r;
	r = image_unpack_index(layout, manifest, tmp.fd, err);
	if (r < 0)
		return r;
	return io_temp_publish(&tmp, name, 0444, err);
}

int store_open_image(struct store *store, const struct layout *layout,
                     const struct manifest *manifest, struct image **ret, struct err *err)
{
	CLEANUP(free) char *path = NULL;
	char hex[DIGEST_HEX_SIZE];
	char name[DIGEST_HEX_SIZE + 16];
	int r = 0;

	(void)snprintf(name, sizeof(name), "%s.sqlite", digest_hex(&manifest->index.digest, hex));
	if (asprintf(&path, "%s/indexes/%s", store->path, name) < 0) {
		path = NULL;
		return err_set(err, -ENOMEM, "out of memory");
	}
	if (faccessat(store->indexes, name, R_OK, 0) < 0)
		r = unpack(store, layout, manifest, name, err);
	if (r < 0)
		return r;
	return image_open(layout, manifest, path, ret, err);
}
