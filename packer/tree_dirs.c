/* SPDX-License-Identifier: Apache-2.0 */
#include "tree_dirs.h"

#include <errno.h>
#include <string.h>

int tree_dirs_open(struct tree_dirs *d, const struct tree_node *dir)
{
	const struct source *source;
	const char *path;

	if (d->dir == dir)
		return d->fd;
	d->dir = NULL;
	source = tree_source(dir);
	if (d->dirs.root != source->fd) {
		dirs_release(&d->dirs);
		d->dirs = DIRS_INIT(source->fd);
	}
	path = tree_path(dir, &d->path);
	if (!path)
		return -ENOMEM;
	d->fd = dirs_open(&d->dirs, path, strlen(path));
	if (d->fd >= 0)
		d->dir = dir;
	return d->fd;
}

void tree_dirs_release(struct tree_dirs *d)
{
	dirs_release(&d->dirs);
	free(d->path.text);
	*d = TREE_DIRS_INIT;
}
