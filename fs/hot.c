/* SPDX-License-Identifier: Apache-2.0 */
#include "hot.h"

#include <errno.h>
#include <stdlib.h>

#include "base/grow.h"
#include "control.h"
#include "inodes.h"

struct file {
	const struct session *session;
	uint64_t ino;
	uint64_t bytes;
	uint64_t resident;
	uint64_t opens;
	struct digest digest;
};

struct files {
	const struct session *session; /* whose files are being added */
	struct file *file;             /* owned */
	size_t n, cap;
};

static int add(void *arg, uint64_t ino, const struct content *content, uint64_t opens)
{
	struct files *files = arg;
	struct file *file = array_grow(files->file, files->n, &files->cap, sizeof(*file));

	if (!file)
		return -ENOMEM;
	files->file = file;
	file[files->n++] = (struct file){ .session = files->session,
		                          .ino = ino,
		                          .bytes = content->size,
		                          .opens = opens,
		                          .digest = content->digest };
	return 0;
}

static int compare(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

/* Ties end at what names the file, so that the order is the same each time. */
static int compare_names(const struct file *x, const struct file *y)
{
	int r = compare(session_device(x->session), session_device(y->session));

	return r != 0 ? r : compare(x->ino, y->ino);
}

static int hotter(const void *a, const void *b)
{
	const struct file *x = a;
	const struct file *y = b;
	int r = compare(y->opens, x->opens);

	return r != 0 ? r : compare_names(x, y);
}

static int colder(const void *a, const void *b)
{
	const struct file *x = a;
	const struct file *y = b;
	int r = compare(x->opens, y->opens);

	r = r != 0 ? r : compare(y->resident, x->resident);
	return r != 0 ? r : compare_names(x, y);
}

static void find_resident(const struct report_source *src, struct files *files)
{
	for (size_t i = 0; i < files->n; i++) {
		CLEANUP(object_unref)
		struct object *obj = region_find(src->engine->region, &files->file[i].digest);

		files->file[i].resident = obj ? object_placed_bytes(obj) : 0;
	}
}

static json_t *file_json(const struct file *file)
{
	char path[4096];

	index_path(image_index(session_image(file->session)), file->ino, path, sizeof(path));
	return json_pack("{so so sI sI sI}", "image", control_text(session_name(file->session)),
	                 "path", control_text(path), "bytes", (json_int_t)file->bytes,
	                 "resident_bytes", (json_int_t)file->resident, "opens_total",
	                 (json_int_t)file->opens);
}

json_t *hot_files_json(const struct report_source *src, enum hot_order order, size_t n)
{
	json_t *list = json_array();
	struct files files = { 0 };

	for (size_t i = 0; i < src->n_sessions; i++) {
		files.session = src->sessions[i];
		/* Without memory the list is shorter. */
		(void)!inodes_each(session_inodes(src->sessions[i]), add, &files);
	}
	find_resident(src, &files);
	if (files.n > 0)
		qsort(files.file, files.n, sizeof(*files.file), order == HOT ? hotter : colder);
	for (size_t i = 0; i < files.n && json_array_size(list) < n; i++) {
		if (order == HOT || files.file[i].resident > 0)
			(void)json_array_append_new(list, file_json(&files.file[i]));
	}
	free(files.file);
	return list;
}
