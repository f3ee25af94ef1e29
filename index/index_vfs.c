/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file below SQLite: one descriptor and one mapping for all connections of
 * an index. It works for a file without a name (an index in memory, or one that
 * was replaced while it is in use), needs no locks, and gives SQLite pages of
 * the page cache to read in place. Each index registers a VFS of its own, so
 * that opening by name means opening its file.
 *
 * Pages of the mapping count as this process's memory for as long as they are mapped, though
 * the kernel can have them back at any time. So that a walk through a large tree does not make
 * the process look as large as the index, they are unmapped when they have become many. They
 * stay in the page cache.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/io.h"
#include "index_internal.h"

enum {
	BLOCK = 64 << 10, /* what the kernel maps around a page that is used */
	MAPPED_MAX = 4 << 20,
	WORD_BITS = 64,
};

struct mapped_file {
	sqlite3_file base;
	struct index_file *file; /* borrowed */
};

static struct index_file *file_of(sqlite3_file *f)
{
	return ((struct mapped_file *)(void *)f)->file;
}

int index_file_need(const struct index_file *file, uint64_t off, uint64_t len, struct err *err)
{
	return file->source.need ? file->source.need(file->source.arg, off, len, err) : 0;
}

/* What SQLite is told when bytes cannot be had. */
static int need_failed(int r)
{
	if (r == -ENOMEM)
		return SQLITE_IOERR_NOMEM;
	return r == -EBADMSG ? SQLITE_CORRUPT : SQLITE_IOERR_READ;
}

static int vfs_close(sqlite3_file *f)
{
	(void)f;
	return SQLITE_OK;
}

static int vfs_read(sqlite3_file *f, void *buf, int len, sqlite3_int64 off)
{
	const struct index_file *file = file_of(f);
	uint64_t left = (uint64_t)off < file->size ? file->size - (uint64_t)off : 0;
	size_t n = left < (uint64_t)len ? (size_t)left : (size_t)len;

	int r = index_file_need(file, (uint64_t)off, n, NULL);

	if (r < 0)
		return need_failed(r);
	memset((uint8_t *)buf + n, 0, (size_t)len - n);
	if (io_pread(file->fd, buf, n, (uint64_t)off) < 0)
		return SQLITE_IOERR_READ;
	return n < (size_t)len ? SQLITE_IOERR_SHORT_READ : SQLITE_OK;
}

static int vfs_write(sqlite3_file *f, const void *buf, int len, sqlite3_int64 off)
{
	(void)f;
	(void)buf;
	(void)len;
	(void)off;
	return SQLITE_READONLY;
}

static int vfs_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	(void)f;
	(void)size;
	return SQLITE_READONLY;
}

static int vfs_sync(sqlite3_file *f, int flags)
{
	(void)f;
	(void)flags;
	return SQLITE_OK;
}

static int vfs_size(sqlite3_file *f, sqlite3_int64 *ret)
{
	*ret = (sqlite3_int64)file_of(f)->size;
	return SQLITE_OK;
}

static int vfs_lock(sqlite3_file *f, int lock)
{
	(void)f;
	(void)lock;
	return SQLITE_OK;
}

static int vfs_reserved(sqlite3_file *f, int *ret)
{
	(void)f;
	*ret = 0;
	return SQLITE_OK;
}

static int vfs_control(sqlite3_file *f, int op, void *arg)
{
	(void)f;
	(void)op;
	(void)arg;
	return SQLITE_NOTFOUND;
}

static int vfs_sector(sqlite3_file *f)
{
	(void)f;
	return 4096;
}

static int vfs_characteristics(sqlite3_file *f)
{
	(void)f;
	return SQLITE_IOCAP_IMMUTABLE;
}

static uint64_t n_words(const struct index_file *file)
{
	return file->size / BLOCK / WORD_BITS + 1;
}

/* Other threads go on using the map: what they touch is mapped again. */
static void unmap_pages(struct index_file *file)
{
	for (uint64_t i = 0; i < n_words(file); i++)
		__atomic_store_n(&file->touched[i], 0, __ATOMIC_RELAXED);
	(void)madvise(file->map, (size_t)file->size, MADV_DONTNEED);
}

static void note_touched(struct index_file *file, uint64_t off)
{
	uint64_t *word = &file->touched[off / BLOCK / WORD_BITS];
	uint64_t bit = (uint64_t)1 << (off / BLOCK % WORD_BITS);

	if (__atomic_load_n(word, __ATOMIC_RELAXED) & bit ||
	    __atomic_fetch_or(word, bit, __ATOMIC_RELAXED) & bit)
		return;
	if (__atomic_add_fetch(&file->n_touched, 1, __ATOMIC_RELAXED) % (MAPPED_MAX / BLOCK) == 0)
		unmap_pages(file);
}

static int vfs_fetch(sqlite3_file *f, sqlite3_int64 off, int len, void **ret)
{
	struct index_file *file = file_of(f);
	int r;

	*ret = NULL;
	if (file->map && (uint64_t)len <= file->size &&
	    (uint64_t)off <= file->size - (uint64_t)len) {
		r = index_file_need(file, (uint64_t)off, (uint64_t)len, NULL);
		if (r < 0)
			return need_failed(r);
		note_touched(file, (uint64_t)off);
		*ret = file->map + off;
	}
	return SQLITE_OK;
}

static int vfs_unfetch(sqlite3_file *f, sqlite3_int64 off, void *page)
{
	(void)f;
	(void)off;
	(void)page;
	return SQLITE_OK;
}

static int vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *ret_flags)
{
	static const sqlite3_io_methods methods = {
		.iVersion = 3, /* the first with xFetch */
		.xClose = vfs_close,
		.xRead = vfs_read,
		.xWrite = vfs_write,
		.xTruncate = vfs_truncate,
		.xSync = vfs_sync,
		.xFileSize = vfs_size,
		.xLock = vfs_lock,
		.xUnlock = vfs_lock,
		.xCheckReservedLock = vfs_reserved,
		.xFileControl = vfs_control,
		.xSectorSize = vfs_sector,
		.xDeviceCharacteristics = vfs_characteristics,
		.xFetch = vfs_fetch,
		.xUnfetch = vfs_unfetch,
	};
	struct mapped_file *mapped = (void *)f;

	(void)name;
	f->pMethods = NULL;
	if (!(flags & SQLITE_OPEN_MAIN_DB))
		return SQLITE_CANTOPEN; /* journals and temporary files have no use here */
	mapped->file = vfs->pAppData;
	f->pMethods = &methods;
	if (ret_flags)
		*ret_flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_MAIN_DB;
	return SQLITE_OK;
}

static int vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *ret)
{
	(void)vfs;
	(void)name;
	(void)flags;
	*ret = 0;
	return SQLITE_OK;
}

static int vfs_full_path(sqlite3_vfs *vfs, const char *name, int size, char *ret)
{
	(void)vfs;
	return snprintf(ret, (size_t)size, "%s", name) < size ? SQLITE_OK : SQLITE_CANTOPEN;
}

int index_file_open(struct index_file *file, int fd, const struct index_source *source,
                    struct err *err)
{
	const sqlite3_vfs *base = sqlite3_vfs_find(NULL);
	struct stat st;
	void *map;

	file->fd = fd;
	if (source)
		file->source = *source;
	if (fstat(fd, &st) < 0)
		return err_set_errno(err, "size of the index");
	file->size = (uint64_t)st.st_size;
	/* Where it does not fit into the address space, reading has to do. */
	map = mmap(NULL, (size_t)file->size, PROT_READ, MAP_SHARED, fd, 0);
	file->map = map == MAP_FAILED ? NULL : map;
	file->touched = calloc(n_words(file), sizeof(*file->touched));
	if (!base || !file->touched)
		return err_set(err, -ENOMEM, "out of memory");
	file->vfs = *base;
	(void)snprintf(file->name, sizeof(file->name), "assetfs-%p", (void *)file);
	file->vfs.zName = file->name;
	file->vfs.pAppData = file;
	file->vfs.szOsFile = sizeof(struct mapped_file);
	file->vfs.xOpen = vfs_open;
	file->vfs.xAccess = vfs_access;
	file->vfs.xFullPathname = vfs_full_path;
	if (sqlite3_vfs_register(&file->vfs, /* makeDflt= */ 0) != SQLITE_OK)
		return err_set(err, -ENOMEM, "out of memory");
	return 0;
}

void index_file_trim(struct index_file *file)
{
	if (file->map)
		unmap_pages(file);
	(void)posix_fadvise(file->fd, 0, 0, POSIX_FADV_DONTNEED);
}

void index_file_close(struct index_file *file)
{
	(void)sqlite3_vfs_unregister(&file->vfs);
	if (file->map)
		(void)munmap(file->map, (size_t)file->size);
	free(file->touched);
	if (file->fd >= 0)
		(void)close(file->fd);
	if (file->source.close)
		file->source.close(file->source.arg);
}
