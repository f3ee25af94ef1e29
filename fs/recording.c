/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a recording to a trace. Entries of the index name nodes, not the other way round: the
 * files' paths are found by going through the tree, one directory after another.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fill.h"
#include "recorder.h"
#include "trace.h"

/* Bytes of all paths: what follows the first line of a trace that has the largest size. */
#define PATHS_MAX ((size_t)FORMAT_TRACE_MAX - 64)

/* A directory that is still to be looked through. */
struct pending {
	struct pending *next;
	uint64_t ino;
	char path[]; /* with a slash at its end, unless it is the root's, "" */
};

/* Looking for the paths of the files that were used. */
struct search {
	struct recording *recording;
	struct pending *pending;   /* owned */
	const struct pending *dir; /* being looked through */
	size_t n_left;             /* files without a path */
	size_t room;               /* bytes of paths */
};

static int push(struct search *s, const char *parent, const char *name, uint64_t ino)
{
	size_t parent_len = strlen(parent);
	size_t len = strlen(name);
	struct pending *dir;

	/* What is below it has no place in a trace. */
	if (parent_len + len + 1 > TRACE_PATH_MAX)
		return 0;
	dir = malloc(sizeof(*dir) + parent_len + len + 2);
	if (!dir)
		return -ENOMEM;
	dir->ino = ino;
	memcpy(dir->path, parent, parent_len);
	memcpy(dir->path + parent_len, name, len);
	/* The root has no name, and no slash. */
	memcpy(dir->path + parent_len + len, len > 0 ? "/" : "", len > 0 ? 2 : 1);
	dir->next = s->pending;
	s->pending = dir;
	return 0;
}

static int name_file(struct search *s, struct used_file *file, const char *name)
{
	size_t len = strlen(s->dir->path) + strlen(name);

	if (len > TRACE_PATH_MAX)
		return 0;
	if (len > s->room) {
		s->recording->cut = true;
		return 1;
	}
	if (asprintf(&file->path, "%s%s", s->dir->path, name) < 0) {
		file->path = NULL;
		return -ENOMEM;
	}
	s->room -= len;
	s->n_left--;
	return s->n_left == 0;
}

static int look_at_entry(void *arg, const struct dir_entry *entry)
{
	struct search *s = arg;
	struct used_file *file;

	if (S_ISDIR(entry->node.mode))
		return push(s, s->dir->path, entry->name, entry->node.ino);
	file = uses_find(&s->recording->uses, entry->node.ino);
	return file && !file->path ? name_file(s, file, entry->name) : 0;
}

/* Find a path of each file. Those whose paths are too long get none. */
static int find_paths(struct recording *recording, struct index *idx, struct err *err)
{
	struct search s = {
		.recording = recording,
		.n_left = recording->uses.files.n,
		.room = PATHS_MAX,
	};
	int r = s.n_left > 0 ? push(&s, "", "", FORMAT_ROOT_INO) : 0;

	if (r < 0)
		return err_set(err, r, "out of memory");
	while (s.pending) {
		CLEANUP(free) struct pending *dir = s.pending;

		s.pending = dir->next;
		s.dir = dir;
		if (r == 0)
			r = index_list(idx, dir->ino, 0, look_at_entry, &s, err);
	}
	return r == -ENOMEM ? err_set(err, r, "out of memory") : r < 0 ? r : 0;
}

/* A trace being written. */
struct writing {
	FILE *out; /* owned */
	size_t room;
	uint64_t n;
	char escaped[TRACE_ESCAPED_MAX + 1];
};

/* Whether @use of @file, of @size bytes, is to be written. */
static bool is_worth(const struct use *use, const struct used_file *file, uint64_t size)
{
	if (use->len > 0 || file->unknown)
		return true;
	return file->ranges.n == 0 && size <= SYNC_FILL_MAX;
}

static int write_use(struct writing *w, struct recording *recording, struct index *idx,
                     const struct use *use, struct err *err)
{
	const struct used_file *file = uses_find(&recording->uses, use->file);
	char numbers[64];
	struct node node;
	size_t len;
	int r = file && file->path ? index_node(idx, use->file, &node, err) : 0;

	if (r <= 0 || !is_worth(use, file, node.size))
		return r;
	(void)snprintf(numbers, sizeof(numbers), "%llu %llu ", (unsigned long long)use->off,
	               (unsigned long long)use->len);
	len = strlen(numbers) + trace_escape(file->path, w->escaped) + 1;
	if (len > w->room) {
		recording->cut = true;
		return 0;
	}
	w->room -= len;
	w->n++;
	return fprintf(w->out, "%s%s\n", numbers, w->escaped) < 0 ? err_set_errno(err, "the trace")
	                                                          : 0;
}

static int write_uses(struct writing *w, struct recording *recording, struct index *idx,
                      struct err *err)
{
	int r = fputs(TRACE_MAGIC "1\n", w->out) < 0 ? err_set_errno(err, "the trace") : 0;

	for (size_t i = 0; r >= 0 && i < recording->uses.n; i++)
		r = write_use(w, recording, idx, &recording->uses.list[i], err);
	return r < 0 ? r : 0;
}

int recording_write(struct recording *recording, struct index *idx, int fd, uint64_t *ret_n,
                    struct err *err)
{
	CLEANUP(free) struct writing *w = calloc(1, sizeof(*w));
	CLEANUP(close) int copy = dup(fd);
	int r;

	if (!w || copy < 0)
		return err_set(err, -ENOMEM, "out of memory");
	r = find_paths(recording, idx, err);
	if (r < 0)
		return r;
	w->out = fdopen(copy, "w");
	if (!w->out)
		return err_set(err, -ENOMEM, "out of memory");
	(void)TAKE_FD(copy);
	w->room = PATHS_MAX;
	r = write_uses(w, recording, idx, err);
	if (fclose(w->out) != 0 && r == 0)
		r = err_set_errno(err, "the trace");
	*ret_n = w->n;
	return r;
}
