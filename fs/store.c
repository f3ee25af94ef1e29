/* SPDX-License-Identifier: Apache-2.0 */
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "unpacker.h"

enum {
	INDEX_NAME_MAX = DIGEST_HEX_SIZE + 16,
	LOCK_TRIES = 600, /* half a minute */
	LOCK_PAUSE_NS = 50000000,
	UNPACK_NICE = 19, /* of what nobody waits for */
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
	struct keeping *keeping; /* indexes that are in use and not yet whole or durable */
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

/* An index that is to get its name when it is whole and durable. */
struct keeping {
	struct keeping *next; /* under store->mutex */

	/* constant */
	struct store *store;
	struct io_temp tmp;        /* owned */
	struct unpacker *unpacker; /* owned; NULL when the index is whole */
	char name[INDEX_NAME_MAX];
	char unfinished[sizeof(((struct io_temp *)NULL)->name)]; /* tmp's name */
};

/* An index that is not whole is not waited for. Under the mutex. */
static void cancel_unpacking(struct store *store)
{
	for (struct keeping *k = store->keeping; k; k = k->next) {
		if (k->unpacker)
			unpacker_cancel(k->unpacker);
	}
}

void store_close(struct store *store)
{
	if (!store)
		return;
	(void)pthread_mutex_lock(&store->mutex);
	cancel_unpacking(store);
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

/* Unpack what nobody has asked for yet. */
static int unpack_rest(const struct keeping *k)
{
	struct err err = ERR_INIT;
	int r;

	if (!k->unpacker)
		return 0;
	(void)setpriority(PRIO_PROCESS, (id_t)gettid(), UNPACK_NICE);
	r = unpacker_finish(k->unpacker, &err);
	if (r < 0 && r != -ECANCELED)
		log_err("index '%.12s' is not whole, reading what is in its missing parts fails: %s",
		        k->name, err.msg);
	return r;
}

/* Two mounts of a new image at once both unpack it and publish equal files. */
static void *keep(void *arg)
{
	CLEANUP(free) struct keeping *k = arg;
	struct store *store = k->store;
	struct err err = ERR_INIT;
	struct keeping **at;

	if (unpack_rest(k) == 0 && io_temp_publish(&k->tmp, k->name, 0444, &err) < 0)
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
	unpacker_unref(k->unpacker);
	return NULL;
}

/*
 * Make the index in @tmp whole and durable and give it its name, while it is in use already: a large
 * one takes long to unpack, and longer to reach the disk. A crash before that costs unpacking it
 * again. Takes @tmp and @unpacker.
 */
static void keep_later(struct store *store, struct io_temp *tmp, struct unpacker *unpacker,
                       const char *name)
{
	struct keeping *k = calloc(1, sizeof(*k));
	pthread_attr_t detached;
	pthread_t thread;

	if (!k) {
		io_temp_release(tmp);
		unpacker_unref(unpacker);
		return;
	}
	k->store = store;
	k->tmp = *tmp;
	k->unpacker = unpacker;
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

/* An image that is to be opened. */
struct wanted {
	struct store *store;
	const struct layout *layout;
	const struct manifest *manifest;
	char name[INDEX_NAME_MAX]; /* that the store has its index by */
};

/* Open an image whose index is in the file @name of the store. */
static int open_file(const struct wanted *w, const char *name, struct image **ret, struct err *err)
{
	CLEANUP(free) char *path = NULL;

	if (asprintf(&path, "%s/indexes/%s", w->store->path, name) < 0) {
		path = NULL;
		return err_set(err, -ENOMEM, "out of memory");
	}
	return image_open(w->layout, w->manifest, path, ret, err);
}

static int need(void *arg, uint64_t off, uint64_t len, struct err *err)
{
	return unpacker_need(arg, off, len, err);
}

static void close_source(void *arg)
{
	unpacker_unref(arg);
}

/* Open an image whose index is the file @name of the store, not all of which is unpacked. */
static int open_part(const struct wanted *w, const char *name, struct unpacker *unpacker,
                     struct image **ret, struct err *err)
{
	const struct index_source source = { .need = need, .close = close_source, .arg = unpacker };
	int fd = openat(w->store->indexes, name, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return err_set_errno(err, "index in '%s'", w->store->path);
	(void)unpacker_ref(unpacker);
	return image_open_source(w->layout, w->manifest, fd, &source, ret, err);
}

static int unpack_and_open(const struct wanted *w, struct image **ret, struct err *err)
{
	CLEANUP(io_temp_release) struct io_temp tmp = IO_TEMP_INIT;
	CLEANUP(close) int fd = -1;
	int r = io_temp_open(&tmp, w->store->indexes, err);

	if (r == 0)
		r = image_unpack_index(w->layout, w->manifest, tmp.fd, err);
	if (r < 0)
		return r;
	fd = openat(w->store->indexes, tmp.name, O_RDONLY | O_CLOEXEC);
	r = fd < 0 ? err_set_errno(err, "index in '%s'", w->store->path)
	           : image_open_fd(w->layout, w->manifest, TAKE_FD(fd), ret, err);
	if (r == 0)
		keep_later(w->store, &tmp, /* unpacker= */ NULL, w->name);
	return r;
}

/* Begin to unpack the @sections, which it takes, of @manifest's index to @out_fd. */
static int begin_unpacking(const struct wanted *w, struct sections *sections, int out_fd,
                           struct unpacker **ret, struct err *err)
{
	char hex[DIGEST_HEX_SIZE];
	CLEANUP(close)
	int blob = openat(layout_blobs(w->layout), digest_hex(&w->manifest->index.digest, hex),
	                  O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	CLEANUP(close) int out = fcntl(out_fd, F_DUPFD_CLOEXEC, 0);
	struct stat st;

	if (blob < 0 || fstat(blob, &st) < 0 || out < 0)
		return err_set_errno(err, "'%s': index '%.12s'", layout_path(w->layout), hex);
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != w->manifest->index.size)
		return err_set(err, -EBADMSG,
		               "'%s': index '%.12s' is damaged: it has %lld bytes instead of %llu",
		               layout_path(w->layout), hex, (long long)st.st_size,
		               (unsigned long long)w->manifest->index.size);
	return unpacker_new(TAKE_FD(blob), TAKE_FD(out), sections, ret, err);
}

/* As unpack_and_open(), of an index in @sections: what is needed of it is unpacked first. */
static int open_and_unpack(const struct wanted *w, struct sections *sections, struct image **ret,
                           struct err *err)
{
	CLEANUP(io_temp_release) struct io_temp tmp = IO_TEMP_INIT;
	CLEANUP(unpacker_unref) struct unpacker *unpacker = NULL;
	int r = io_temp_open(&tmp, w->store->indexes, err);

	if (r == 0)
		r = begin_unpacking(w, sections, tmp.fd, &unpacker, err);
	if (r == 0)
		r = open_part(w, tmp.name, unpacker, ret, err);
	if (r == 0)
		keep_later(w->store, &tmp, TAKE_PTR(unpacker), w->name);
	return r;
}

/* An index that is in use and has not its name yet. */
struct unnamed {
	char name[INDEX_NAME_MAX]; /* that it has instead */
	struct unpacker *unpacker; /* owned; NULL when the index is whole */
};

static void unnamed_release_cleanup(struct unnamed *u)
{
	unpacker_unref(u->unpacker);
}

/* Whether the index @name is in use under another one already. */
static bool find_keeping(struct store *store, const char *name, struct unnamed *ret)
{
	const struct keeping *k;

	(void)pthread_mutex_lock(&store->mutex);
	for (k = store->keeping; k && strcmp(k->name, name) != 0; k = k->next)
		;
	if (k) {
		(void)snprintf(ret->name, sizeof(ret->name), "%s", k->unfinished);
		ret->unpacker = k->unpacker ? unpacker_ref(k->unpacker) : NULL;
	}
	(void)pthread_mutex_unlock(&store->mutex);
	return k != NULL;
}

bool store_has_index(struct store *store, const struct manifest *manifest)
{
	CLEANUP(unnamed_release) struct unnamed unnamed = { .unpacker = NULL };
	char hex[DIGEST_HEX_SIZE];
	char name[INDEX_NAME_MAX];

	(void)snprintf(name, sizeof(name), "%s.sqlite", digest_hex(&manifest->index.digest, hex));
	return faccessat(store->indexes, name, R_OK, 0) == 0 || find_keeping(store, name, &unnamed);
}

/* Open an image whose index has not its name yet, if there is one. Returns 0 or -errno. */
static int open_unnamed(const struct wanted *w, struct image **ret)
{
	CLEANUP(unnamed_release) struct unnamed unnamed = { .unpacker = NULL };

	if (!find_keeping(w->store, w->name, &unnamed))
		return -ENOENT;
	return unnamed.unpacker ? open_part(w, unnamed.name, unnamed.unpacker, ret, NULL)
	                        : open_file(w, unnamed.name, ret, NULL);
}

int store_open_image(struct store *store, const struct layout *layout,
                     const struct manifest *manifest, enum store_unpack when, struct image **ret,
                     struct err *err)
{
	CLEANUP(sections_release) struct sections sections = SECTIONS_INIT;
	struct wanted w = { .store = store, .layout = layout, .manifest = manifest };
	char hex[DIGEST_HEX_SIZE];

	(void)snprintf(w.name, sizeof(w.name), "%s.sqlite",
	               digest_hex(&manifest->index.digest, hex));
	/* If it gets its name meanwhile, it cannot be opened by the other one. */
	if (open_unnamed(&w, ret) == 0)
		return 0;
	if (faccessat(store->indexes, w.name, R_OK, 0) == 0)
		return open_file(&w, w.name, ret, err);
	/* Sections that are wrong are no reason to refuse an index that may be right. */
	if (when == STORE_UNPACK_IN_USE && sections_read(layout, manifest, &sections, NULL) == 1)
		return open_and_unpack(&w, &sections, ret, err);
	return unpack_and_open(&w, ret, err);
}
