/* SPDX-License-Identifier: Apache-2.0 */
#include "input.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"

int input_changed(const struct tree_node *file, struct err *err)
{
	char shown[NAME_SHOWN_MAX];

	return err_set(err, -EAGAIN,
	               "'%s' changed while it was packed; build again when nothing writes to it",
	               tree_path_shown(file, shown));
}

static int fail_file(const struct tree_node *file, int code, struct err *err)
{
	char shown[NAME_SHOWN_MAX];

	return err_set(err, code, "'%s' could not be read: %s", tree_path_shown(file, shown),
	               strerrordesc_np(-code));
}

static int check_unchanged(struct input *in, struct err *err)
{
	const struct tree_node *file = in->file;
	struct stat st;

	if (fstat(in->fd, &st) < 0)
		return fail_file(file, -errno, err);
	if (!S_ISREG(st.st_mode) || tree_stamp(&st) != file->stamp)
		return input_changed(file, err);
	in->sparse = (uint64_t)st.st_blocks * 512 < file->size;
	return 0;
}

/* Whether @len bytes at @off are in a hole. Says no when the file system cannot tell. */
static bool in_hole(struct input *in, size_t len, uint64_t off)
{
	off_t data;

	if (!in->sparse)
		return false;
	if (off < in->hole || off >= in->hole_end) {
		data = lseek(in->fd, (off_t)off, SEEK_DATA);
		in->hole = off;
		in->hole_end = data >= 0 ? (uint64_t)data : errno == ENXIO ? in->file->size : off;
	}
	return len <= in->hole_end - off;
}

int input_open(struct input *in, const struct tree_node *file, struct err *err)
{
	int dir = tree_dirs_open(&in->dirs, file->parent);

	in->file = file;
	in->hole = 0;
	in->hole_end = 0;
	if (dir < 0)
		return fail_file(file, dir, err);
	in->fd = openat(dir, file->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (in->fd < 0)
		return fail_file(file, -errno, err);
	return check_unchanged(in, err);
}

int input_read(struct input *in, void *buf, size_t len, uint64_t off, struct err *err)
{
	int r;

	if (in_hole(in, len, off)) {
		memset(buf, 0, len);
		return 0;
	}
	r = io_pread(in->fd, buf, len, off);
	if (r == -ENODATA)
		return input_changed(in->file, err);
	return r < 0 ? fail_file(in->file, r, err) : 0;
}

int input_close(struct input *in, struct err *err)
{
	int r = check_unchanged(in, err);

	(void)close(in->fd);
	in->fd = -1;
	return r;
}

void input_release(struct input *in)
{
	if (in->fd >= 0)
		(void)close(in->fd);
	in->fd = -1;
	tree_dirs_release(&in->dirs);
}
