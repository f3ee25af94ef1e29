/* SPDX-License-Identifier: Apache-2.0 */
#include "last_build.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "codec.h"

#define FILE_NAME ".assetpack-cache-last"

/* Never read by another machine: whoever moves a layout reads all files anew. */
struct last_file {
	char magic[8];
	struct last_build last;
	struct digest digest; /* of all before it */
};

static const char magic[8] = "aplast1";

static void hash_text(struct sha256 *hash, const char *text)
{
	sha256_update(hash, text, strlen(text) + 1);
}

static void hash_number(struct sha256 *hash, uint64_t n)
{
	sha256_update(hash, &n, sizeof(n));
}

static void hash_node(struct sha256 *hash, const struct tree_node *node)
{
	const uint64_t facts[] = {
		node->mode,
		node->uid,
		node->gid,
		(uint64_t)node->mtime_s,
		node->mtime_ns,
		S_ISREG(node->mode) ? node->size : 0,
		S_ISREG(node->mode) ? node->stamp : 0,
		node->xattrs ? node->xattrs->n : 0,
	};

	sha256_update(hash, facts, sizeof(facts));
	if (S_ISLNK(node->mode))
		hash_text(hash, node->target);
	for (size_t i = 0; node->xattrs && i < node->xattrs->n; i++) {
		const struct tree_xattr *x = &node->xattrs->list[i];

		hash_text(hash, x->name);
		hash_number(hash, x->len);
		sha256_update(hash, x->value, x->len);
	}
}

/* Returns whether no file can change without being seen to. */
static bool hash_tree(struct sha256 *hash, const struct platform_tree *tree)
{
	struct tree_entries entries = TREE_ENTRIES_INIT(tree);

	hash_number(hash, tree->n_nodes);
	for (uint32_t place = 0; place < tree->n_nodes; place++) {
		const struct placed_node *placed = &tree->nodes[place];
		struct placed_entry entry;

		if (S_ISREG(placed->node->mode) && placed->node->fresh)
			return false;
		hash_node(hash, placed->node);
		if (!S_ISDIR(placed->node->mode))
			continue;
		hash_number(hash, placed->n_entries);
		tree_entries_begin(&entries, place);
		while (tree_entries_next(&entries, &entry)) {
			hash_text(hash, entry.name);
			hash_number(hash, entry.place);
		}
	}
	return true;
}

int last_build_seen(const struct platform_tree *trees, const char *const *names, unsigned n,
                    const struct pipeline_options *options, struct digest *ret)
{
	CLEANUP(sha256_free) struct sha256 *hash = sha256_new();

	if (!hash)
		return -ENOMEM;
	hash_text(hash, ASSETFS_VERSION);
	hash_text(hash, codec_version());
	hash_number(hash, (uint64_t)options->level);
	hash_number(hash, options->chunker.target);
	hash_number(hash, options->group_target);
	hash_number(hash, options->deltas);
	hash_number(hash, n);
	for (unsigned i = 0; i < n; i++) {
		hash_text(hash, names[i]);
		if (!hash_tree(hash, &trees[i]))
			return 0;
	}
	sha256_final(hash, ret);
	return 1;
}

int last_build_made(const struct manifest *manifests, uint32_t n, struct digest *ret)
{
	CLEANUP(sha256_free) struct sha256 *hash = sha256_new();

	if (!hash)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++)
		sha256_update(hash, &manifests[i].self.digest, sizeof(struct digest));
	sha256_final(hash, ret);
	return 0;
}

static void seal(const struct last_file *file, struct digest *ret)
{
	sha256(file, offsetof(struct last_file, digest), ret);
}

bool last_build_read(int dirfd, struct last_build *ret)
{
	CLEANUP(free) char *bytes = NULL;
	struct last_file file;
	struct digest digest;
	size_t len = 0;

	if (io_read_file(dirfd, FILE_NAME, sizeof(file), &bytes, &len, NULL) < 0 ||
	    len != sizeof(file))
		return false;
	memcpy(&file, bytes, sizeof(file));
	seal(&file, &digest);
	if (memcmp(file.magic, magic, sizeof(magic)) != 0 || !digest_equal(&digest, &file.digest))
		return false;
	*ret = file.last;
	return true;
}

int last_build_save(int dirfd, const struct last_build *last, struct err *err)
{
	struct last_build there;
	struct last_file file;

	if (last_build_read(dirfd, &there) && memcmp(&there, last, sizeof(there)) == 0)
		return 0;
	memset(&file, 0, sizeof(file));
	memcpy(file.magic, magic, sizeof(magic));
	file.last = *last;
	seal(&file, &file.digest);
	return io_publish_bytes(dirfd, FILE_NAME, &file, sizeof(file), 0644, err);
}
