/* SPDX-License-Identifier: Apache-2.0 */
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

enum {
	INDEX_NAME_MAX = DIGEST_HEX_SIZE + 16,
	LOCK_TRIES = 600, /* half a minute */
	LOCK_PAUSE_NS = 50000000,
};

struct keeping;

struct store {
	char *path;  /* owned */
	int dir;     /* owned */
	int indexes; /* owned */
	int mounts;  /* owned */
	int lock;    /* owned */

	pthread_mutex_t mutex;
	pthread_cond_t all_kept;
	/* under mutex */
	struct keeping *keeping; /* indexes that are in use and not yet durable */
};

/* Whether the lock was taken; with @wait, a daemon that is about to end is waited for. */
static bool try_lock(int fd, bool wait)
{
	const struct timespec pause = { .tv_nsec = LOCK_PAUSE_NS };

	for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; i++) {
		if (errno != EWOULDBLOCK || !wait || i == LOCK_TRIES)
			return false;
		(void)nanosleep(&pause, NULL);
	}
	return true;
}

static int take_lock(struct store *store, bool wait, struct err *err)
{
	char pid[16];
	int n = snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
	int r;

	store->lock = openat(store->dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (store->lock < 0)
		return err_set_errno(err, "'%s/lock'", store->path);
	if (!try_lock(store->lock, wait)) {
		if (errno == EWOULDBLOCK)
			return err_set(err, -EBUSY, "another daemon serves the store '%s'",
			               store->path);
		return err_set_errno(err, "'%s/lock'", store->path);
	}
	r = ftruncate(store->lock, 0) < 0 ? -errno : io_pwrite(store->lock, pid, (size_t)n, 0);
	return r < 0 ? err_set(err, r, "'%s/lock': %s", store->path, strerrordesc_np(-r)) : 0;
}

static int open_directory(const struct store *store, const char *name, struct err *err)
{
	int fd;

	if (mkdirat(store->dir, name, 0755) < 0 && errno != EEXIST)
		return err_set_errno(err, "'%s/%s'", store->path, name);
	fd = openat(store->dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? err_set_errno(err, "'%s/%s'", store->path, name) : fd;
}

int store_open(const char *path, bool wait, struct store **ret, struct err *err)
{
	CLEANUP(store_close) struct store *store = calloc(1, sizeof(*store));
	int r;

	if (!store)
		return err_set(err, -ENOMEM, "out of memory");
	store->dir = store->indexes = store->mounts = store->lock = -1;
	(void)pthread_mutex_init(&store->mutex, NULL);
	(void)pthread_cond_init(&store->all_kept, NULL);
	store->path = strdup(path);
	if (!store->path)
		return err_set(err, -ENOMEM, "out of memory");
	r = io_make_dirs(path, err);
	if (r < 0)
		return r;
	store->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (store->dir < 0)
		return err_set_errno(err, "store '%s'", path);
	r = take_lock(store, wait, err);
	if (r < 0)
		return r;
	store->indexes = open_directory(store, "indexes", err);
	if (store->indexes < 0)
		return store->indexes;
	store->mounts = open_directory(store, "mounts", err);
	if (store->mounts < 0)
		return store->mounts;
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
	(void)pthread_mutex_lock(&store->mutex);
	while (store->keeping)
		(void)pthread_cond_wait(&store->all_kept, &store->mutex);
	(void)pthread_mutex_unlock(&store->mutex);
	if (store->indexes >= 0)
		(void)close(store->indexes);
	if (store->mounts >= 0)
		(void)close(store->mounts);
	if (store->lock >= 0)
		(void)close(store->lock);
	if (store->dir >= 0)
		(void)close(store->dir);
	(void)pthread_cond_destroy(&store->all_kept);
	(void)pthread_mutex_destroy(&store->mutex);
	free(store->path);
	free(store);
}

int store_dir(const struct store *store)
{
	return store->dir;
}

int store_mounts(const struct store *store)
{
	return store->mounts;
}

const char *store_path(const struct store *store)
{
	return store->path;
}

/* An unpacked index that is to get its name. */
struct keeping {
	struct keeping *next; /* under store->mutex */

	/* constant */
	struct store *store;
	struct io_temp tmp; /* owned */
	char name[INDEX_NAME_MAX];
	char unfinished[sizeof(((struct io_temp *)NULL)->name)]; /* tmp's name */
};

/* Two mounts of a new image at once both unpack it and publish equal files. */
static void *keep(void *arg)
{
	CLEANUP(free) struct keeping *k = arg;
	struct store *store = k->store;
	struct err err = ERR_INIT;
	struct keeping **at;

	if (io_temp_publish(&k->tmp, k->name, 0444, &err) < 0)
		log_warn("index not kept in '%s', the next daemon unpacks it again: %s",
		         store->path, err.msg);
	io_temp_release(&k->tmp);
	(void)pthread_mutex_lock(&store->mutex);
	at = &store->keeping;
	while (*at != k)
		at = &(*at)->next;
	*at = k->next;
	if (!store->keeping)
		(void)pthread_cond_signal(&store->all_kept);
	(void)pthread_mutex_unlock(&store->mutex);
	return NULL;
}

/*
 * Make the index in @tmp durable and give it its name, while it is in use already: a large one
 * takes longer to reach the disk than to unpack. A crash before that costs unpacking it again.
 * Takes @tmp.
 */
static void keep_later(struct store *store, struct io_temp *tmp, const char *name)
{
	struct keeping *k = calloc(1, sizeof(*k));
	pthread_attr_t detached;
	pthread_t thread;

	if (!k) {
		io_temp_release(tmp);
		return;
	}
	k->store = store;
	k->tmp = *tmp;
	*tmp = IO_TEMP_INIT;
	(void)snprintf(k->name, sizeof(k->name), "%s", name);
	(void)snprintf(k->unfinished, sizeof(k->unfinished), "%s", k->tmp.name);
	(void)pthread_mutex_lock(&store->mutex);
	k->next = store->keeping;
	store->keeping = k;
	(void)pthread_mutex_unlock(&store->mutex);
	(void)pthread_attr_init(&detached);
	(void)pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&thread, &detached, keep, k) != 0)
		(void)keep(k);
	(void)pthread_attr_destroy(&detached);
}

/* Open an image whose index is in the file @name of the store. */
static int open_file(const struct store *store, const struct layout *layout,
                     const struct manifest *manifest, const char *name, struct image **ret,
                     struct err *err)
{
	CLEANUP(free) char *path = NULL;

	if (asprintf(&path, "%s/indexes/%s", store->path, name) < 0) {
		path = NULL;
		return err_set(err, -ENOMEM, "out of memory");
	}
	return image_open(layout, manifest, path, ret, err);
}

static int unpack_and_open(struct store *store, const struct layout *layout,
                           const struct manifest *manifest, const char *name, struct image **ret,
                           struct err *err)
{
	CLEANUP(io_temp_release) struct io_temp tmp = IO_TEMP_INIT;
	CLEANUP(close) int fd = -1;
	int r = io_temp_open(&tmp, store->indexes, err);

	if (r == 0)
		r = image_unpack_index(layout, manifest, tmp.fd, err);
	if (r < 0)
		return r;
	fd = openat(store->indexes, tmp.name, O_RDONLY | O_CLOEXEC);
	r = fd < 0 ? err_set_errno(err, "index in '%s'", store->path)
	           : image_open_fd(layout, manifest, TAKE_FD(fd), ret, err);
	if (r == 0)
		keep_later(store, &tmp, name);
	return r;
}

/* Whether the index @name is in use under another one already, which goes to @ret. */
static bool find_keeping(struct store *store, const char *name, char ret[static INDEX_NAME_MAX])
{
	const struct keeping *k;

	(void)pthread_mutex_lock(&store->mutex);
	for (k = store->keeping; k && strcmp(k->name, name) != 0; k = k->next)
		;
	if (k)
		(void)snprintf(ret, INDEX_NAME_MAX, "%s", k->unfinished);
	(void)pthread_mutex_unlock(&store->mutex);
	return k != NULL;
}

bool store_has_index(struct store *store, const struct manifest *manifest)
{
	char hex[DIGEST_HEX_SIZE];
	char name[INDEX_NAME_MAX];
	char unfinished[INDEX_NAME_MAX];

	(void)snprintf(name, sizeof(name), "%s.sqlite", digest_hex(&manifest->index.digest, hex));
	return faccessat(store->indexes, name, R_OK, 0) == 0 ||
	       find_keeping(store, name, unfinished);
}

int store_open_image(struct store *store, const struct layout *layout,
                     const struct manifest *manifest, struct image **ret, struct err *err)
{
	char hex[DIGEST_HEX_SIZE];
	char name[INDEX_NAME_MAX];
	char unfinished[INDEX_NAME_MAX];

	(void)snprintf(name, sizeof(name), "%s.sqlite", digest_hex(&manifest->index.digest, hex));
	/* If it gets its name meanwhile, it cannot be opened by the other one. */
	if (find_keeping(store, name, unfinished) &&
	    open_file(store, layout, manifest, unfinished, ret, NULL) == 0)
		return 0;
	if (faccessat(store->indexes, name, R_OK, 0) < 0)
		return unpack_and_open(store, layout, manifest, name, ret, err);
	return open_file(store, layout, manifest, name, ret, err);
}
