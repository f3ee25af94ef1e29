/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file below SQLite: one descriptor and one mapping for all connections of
 * an index. It works for a file without a name (an index in memory, or one that
 * was replaced while it is in use), needs no locks, and gives SQLite pages of
 * the page cache to read in place. Each index registers a VFS of its own, so
 * that opening by name means opening its file.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/io.h"
#include "index_internal.h"

struct mapped_file {
	sqlite3_file base;
	const struct index_file *file; /* borrowed */
};

static const struct index_file *file_of(sqlite3_file *f)
{
	return ((struct mapped_file *)(void *)f)->file;
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

static int vfs_fetch(sqlite3_file *f, sqlite3_int64 off, int len, void **ret)
{
	const struct index_file *file = file_of(f);

	*ret = NULL;
	if (file->map && (uint64_t)len <= file->size && (uint64_t)off <= file->size - (uint64_t)len)
		*ret = file->map + off;
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

int index_file_open(struct index_file *file, int fd, struct err *err)
{
	const sqlite3_vfs *base = sqlite3_vfs_find(NULL);
	struct stat st;
	void *map;

	file->fd = fd;
	if (fstat(fd, &st) < 0)
		return err_set_errno(err, "size of the index");
	file->size = (uint64_t)st.st_size;
	/* Where it does not fit into the address space, reading has to do. */
	map = mmap(NULL, (size_t)file->size, PROT_READ, MAP_SHARED, fd, 0);
	file->map = map == MAP_FAILED ? NULL : map;
	if (!base)
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

void index_file_close(struct index_file *file)
{
	(void)sqlite3_vfs_unregister(&file->vfs);
	if (file->map)
		(void)munmap(file->map, (size_t)file->size);
	if (file->fd >= 0)
		(void)close(file->fd);
}
