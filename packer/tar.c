/* SPDX-License-Identifier: Apache-2.0 */
#include "tar.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 512 };

/* A header, POSIX.1-2017, pax, "ustar Interchange Format". */
struct header {
	char name[100];
	char mode[8];
	char uid[8];
	char gid[8];
	char size[12];
	char mtime[12];
	char checksum[8];
	char type;
	char target[100];
	char magic[6];
	char version[2];
	char user[32];
	char group[32];
	char major[8];
	char minor[8];
	char prefix[155];
	char unused[12];
};

_Static_assert(sizeof(struct header) == BLOCK, "pax: ustar Header Block");

/* Octal digits and a NUL that fill @field. @value has room. */
static void put_number(char *field, size_t size, uint64_t value)
{
	field[size - 1] = '\0';
	for (size_t i = size - 1; i-- > 0; value >>= 3)
		field[i] = (char)('0' + (value & 7));
}

/* Whether @value has room in a field of @size bytes. */
static bool has_room(uint64_t value, size_t size)
{
	return value >> (3 * (size - 1)) == 0;
}

static void put_text(char *field, size_t size, const char *text)
{
	memcpy(field, text, strnlen(text, size));
}

static void put_checksum(struct header *h)
{
	const unsigned char *bytes = (const unsigned char *)h;
	uint64_t sum = 0;

	memset(h->checksum, ' ', sizeof(h->checksum));
	for (size_t i = 0; i < sizeof(*h); i++)
		sum += bytes[i];
	put_number(h->checksum, sizeof(h->checksum) - 1, sum);
}

/* A header of @type with what all have in common. */
static struct header new_header(char type, const char *name, uint64_t size)
{
	struct header h = { .type = type };

	put_text(h.name, sizeof(h.name), name);
	put_number(h.mode, sizeof(h.mode), 0644);
	put_number(h.uid, sizeof(h.uid), 0);
	put_number(h.gid, sizeof(h.gid), 0);
	put_number(h.size, sizeof(h.size), has_room(size, sizeof(h.size)) ? size : 0);
	put_number(h.mtime, sizeof(h.mtime), 0);
	memcpy(h.magic, "ustar", sizeof("ustar"));
	memcpy(h.version, "00", sizeof(h.version));
	put_number(h.major, sizeof(h.major), 0);
	put_number(h.minor, sizeof(h.minor), 0);
	return h;
}

/* Add the record KEY=VALUE, whose length counts itself. */
static void add_record(FILE *records, const char *key, const void *value, size_t len)
{
	size_t rest = 1 + strlen(key) + 1 + len + 1; /* blank, '=', newline */
	size_t size = rest, last = 0;

	while (size != last) {
		last = size;
		size = rest + (size_t)snprintf(NULL, 0, "%zu", last);
	}
	(void)fprintf(records, "%zu %s=", size, key);
	(void)fwrite(value, 1, len, records);
	(void)fputc('\n', records);
}

static void add_text(FILE *records, const char *key, const char *value)
{
	add_record(records, key, value, strlen(value));
}

static void add_number(FILE *records, const char *key, uint64_t value)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	add_text(records, key, text);
}

/* Seconds, with a fraction that counts away from zero. */
static void add_time(FILE *records, int64_t s, uint32_t ns)
{
	bool before = s < 0;
	char text[40];
	int len;

	if (before && ns > 0) {
		s++;
		ns = 1000000000 - ns;
	}
	len = snprintf(text, sizeof(text), "%s%llu", before ? "-" : "",
	               before ? -(unsigned long long)s : (unsigned long long)s);
	if (ns > 0)
		(void)snprintf(text + len, sizeof(text) - (size_t)len, ".%09u", ns);
	add_text(records, "mtime", text);
}

static int add_xattrs(FILE *records, const struct tree_xattrs *xattrs, struct err *err)
{
	char key[300];

	for (size_t i = 0; xattrs && i < xattrs->n; i++) {
		const struct tree_xattr *x = &xattrs->list[i];

		if (strchr(x->name, '='))
			return err_set(
				err, -EINVAL,
				"an extended attribute has a '=' in its name, which tar cannot "
				"have");
		(void)snprintf(key, sizeof(key), "SCHILY.xattr.%s", x->name);
		add_record(records, key, x->value, x->len);
	}
	return 0;
}

/* Fill in @h, and add what has no room in it to @records. */
static int describe(const struct tar_entry *entry, const char *path, struct header *h,
                    FILE *records, struct err *err)
{
	const struct tree_node *node = entry->metadata;
	bool late = node->mtime_s < 0 || node->mtime_ns > 0 ||
	            !has_room((uint64_t)node->mtime_s, sizeof(h->mtime));

	*h = new_header((char)entry->type, path, entry->size);
	put_number(h->mode, sizeof(h->mode), node->mode & 07777);
	if (node->mtime_s > 0 && has_room((uint64_t)node->mtime_s, sizeof(h->mtime)))
		put_number(h->mtime, sizeof(h->mtime), (uint64_t)node->mtime_s);
	if (late)
		add_time(records, node->mtime_s, node->mtime_ns);
	if (has_room(node->uid, sizeof(h->uid)))
		put_number(h->uid, sizeof(h->uid), node->uid);
	else
		add_number(records, "uid", node->uid);
	if (has_room(node->gid, sizeof(h->gid)))
		put_number(h->gid, sizeof(h->gid), node->gid);
	else
		add_number(records, "gid", node->gid);
	if (!has_room(entry->size, sizeof(h->size)))
		add_number(records, "size", entry->size);
	if (strlen(path) > sizeof(h->name))
		add_text(records, "path", path);
	if (entry->target)
		put_text(h->target, sizeof(h->target), entry->target);
	if (entry->target && strlen(entry->target) > sizeof(h->target))
		add_text(records, "linkpath", entry->target);
	return entry->type == TAR_HARD_LINK ? 0 : add_xattrs(records, node->xattrs, err);
}

static int put_header(const struct tar *tar, struct header *h, struct err *err)
{
	put_checksum(h);
	return tar->put(tar->arg, h, sizeof(*h), err);
}

/* The @len bytes of records, in an entry that the next one makes use of. */
static int put_records(const struct tar *tar, const char *records, size_t len, struct err *err)
{
	struct header h = new_header('x', "PaxHeaders/entry", len);
	int r = put_header(tar, &h, err);

	if (r == 0)
		r = tar->put(tar->arg, records, len, err);
	return r < 0 ? r : tar_pad(tar, len, err);
}

int tar_begin(const struct tar *tar, const struct tar_entry *entry, struct err *err)
{
	CLEANUP(free) char *path = NULL;
	CLEANUP(free) char *text = NULL;
	size_t len = 0;
	FILE *records = open_memstream(&text, &len);
	struct header h;
	int r;

	if (!records)
		return err_set(err, -ENOMEM, "out of memory");
	if (asprintf(&path, "%s%s", entry->path, entry->type == TAR_DIR ? "/" : "") < 0)
		path = NULL;
	r = path ? describe(entry, path, &h, records, err) : -ENOMEM;
	if (fclose(records) != 0 || r == -ENOMEM)
		return err_set(err, -ENOMEM, "out of memory");
	if (r == 0 && len > 0)
		r = put_records(tar, text, len, err);
	return r < 0 ? r : put_header(tar, &h, err);
}

int tar_pad(const struct tar *tar, uint64_t size, struct err *err)
{
	static const char zeros[BLOCK];
	size_t over = (size_t)(size % BLOCK);

	return over > 0 ? tar->put(tar->arg, zeros, BLOCK - over, err) : 0;
}

int tar_end(const struct tar *tar, struct err *err)
{
	static const char zeros[2 * BLOCK];

	return tar->put(tar->arg, zeros, sizeof(zeros), err);
}
