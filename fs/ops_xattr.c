/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Extended attributes: those of the image, and ours for people inside a
 * container, "user.assetfs.*".
 *
 * Whoever lists a directory asks for two or three names of each file, which
 * would cost as many requests; so, where the image has none, the answer is ENOSYS,
 * and the kernel never asks again, for any name. Ours are there where the image has
 * some, and in a daemon that is told to have them. They are never listed: what copies
 * a tree with its attributes must not copy them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "format.h"
#include "ops.h"

#define OURS "user.assetfs."

enum { VALUE_MAX = 4352 }; /* a path and a tag */

/* Answer with @len bytes at @data, or with their number when the caller asks for it by size 0. */
static void reply_xattr(fuse_req_t req, const void *data, size_t len, size_t size)
{
	if (size == 0)
		(void)fuse_reply_xattr(req, len);
	else if (len > size)
		(void)fuse_reply_err(req, ERANGE);
	else
		(void)fuse_reply_buf(req, data, len);
}

static int put_digest(const struct digest *digest, char value[static VALUE_MAX])
{
	char hex[DIGEST_HEX_SIZE];

	return snprintf(value, VALUE_MAX, "sha256:%s", digest_hex(digest, hex));
}

/* Returns the length of the value, or 0 when the root has no such attribute. */
static int value_of_root(struct session *s, const char *name, char value[static VALUE_MAX])
{
	const struct stats *stats = s->engine->stats;
	uint64_t opens = stats_get(stats, STAT_OPENS);

	if (strcmp(name, "digest") == 0)
		return put_digest(&image_manifest(s->img)->self.digest, value);
	if (strcmp(name, "version") == 0)
		return snprintf(value, VALUE_MAX, "%s", ASSETFS_VERSION);
	if (strcmp(name, "hitrate") != 0 || opens == 0)
		return 0;
	return snprintf(value, VALUE_MAX, "%.4f",
	                (double)stats_get(stats, STAT_OPEN_HITS) / (double)opens);
}

/* The same for a regular file that is not empty. Or an error of the index. */
static int value_of_file(struct session *s, const struct node *node, const char *name,
                         char value[static VALUE_MAX], struct err *err)
{
	CLEANUP(object_unref) struct object *obj = NULL;
	struct content content;
	int r = index_content(s->idx, node->content, &content, err);

	if (r < 0)
		return r;
	if (strcmp(name, "digest") == 0)
		return put_digest(&content.digest, value);
	if (strcmp(name, "resident") != 0)
		return 0;
	obj = region_find(s->engine->region, &content.digest);
	return snprintf(value, VALUE_MAX, "%llu",
	                obj ? (unsigned long long)object_placed_bytes(obj) : 0);
}

/* Returns the length of the value of our attribute @name, 0 when there is none, or an error. */
static int value_of(struct session *s, fuse_ino_t ino, const char *name,
                    char value[static VALUE_MAX], struct err *err)
{
	struct node node;
	int r;

	if (strcmp(name, "image") == 0)
		return snprintf(value, VALUE_MAX, "%s", s->name);
	if (ino == FUSE_ROOT_ID)
		return value_of_root(s, name, value);
	r = index_node(s->idx, ino, &node, err);
	if (r <= 0 || !S_ISREG(node.mode) || node.content == 0)
		return r < 0 ? r : 0;
	return value_of_file(s, &node, name, value, err);
}

static void get_ours(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	char value[VALUE_MAX];
	struct err err = ERR_INIT;
	int n = value_of(session_of(req), ino, name, value, &err);

	if (n < 0)
		reply_failure(req, "getxattr of", ino, &err);
	else if (n == 0)
		(void)fuse_reply_err(req, ENODATA);
	else
		reply_xattr(req, value, n < VALUE_MAX ? (size_t)n : VALUE_MAX - 1, size);
}

void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct session *s = session_of(req);
	CLEANUP(free) void *value = NULL;
	struct err err = ERR_INIT;
	size_t len;
	int r;

	if (!index_info(s->idx)->has_xattrs && !s->engine->xattrs) {
		(void)fuse_reply_err(req, ENOSYS);
		return;
	}
	if (strncmp(name, OURS, strlen(OURS)) == 0) {
		get_ours(req, ino, name + strlen(OURS), size);
		return;
	}
	r = index_info(s->idx)->has_xattrs ? index_xattr(s->idx, ino, name, &value, &len, &err) : 0;
	if (r < 0)
		reply_failure(req, "getxattr of", ino, &err);
	else if (r == 0)
		(void)fuse_reply_err(req, ENODATA);
	else
		reply_xattr(req, value, len, size);
}

void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct index *idx = session_of(req)->idx;
	CLEANUP(free) char *names = NULL;
	struct err err = ERR_INIT;
	size_t len;

	if (!index_info(idx)->has_xattrs)
		(void)fuse_reply_err(req, ENOSYS);
	else if (index_xattr_names(idx, ino, &names, &len, &err) < 0)
		reply_failure(req, "listxattr of", ino, &err);
	else
		reply_xattr(req, names, len, size);
}
