/* SPDX-License-Identifier: Apache-2.0 */
#include "blob_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

enum {
	BLOB_MODE = 0444,         /* never changed again */
	WRITEBACK_STEP = 4 << 20, /* bytes */
	GATHERED_MAX = 32 << 10,  /* bytes; what is no less is written as it is */
};

int blob_writer_open(struct blob_writer *w, int dirfd, const char *what, struct err *err)
{
	*w = BLOB_WRITER_INIT;
	w->what = what;
	w->hash = sha256_new();
	w->gathered = malloc(GATHERED_MAX);
	if (!w->hash || !w->gathered)
		return err_set(err, -ENOMEM, "out of memory");
	return io_temp_open(&w->tmp, dirfd, err);
}

/*
 * Let the kernel begin to write to disk what has gathered, so that the fsync
 * at the end has little left to wait for. Only a hint: errors show there.
 */
static void begin_writeback(struct blob_writer *w)
{
	uint64_t written = w->size - w->n_gathered;

	if (written - w->begun < WRITEBACK_STEP)
		return;
	(void)sync_file_range(w->tmp.fd, (off_t)w->begun, (off_t)(written - w->begun),
	                      SYNC_FILE_RANGE_WRITE);
	w->begun = written;
}

static int write_out(struct blob_writer *w, const void *data, size_t len, struct err *err)
{
	int r = io_write(w->tmp.fd, data, len);

	return r < 0 ? err_set(err, r, "%s could not be written: %s", w->what, strerrordesc_np(-r))
	             : 0;
}

static int write_gathered(struct blob_writer *w, struct err *err)
{
	int r = w->n_gathered > 0 ? write_out(w, w->gathered, w->n_gathered, err) : 0;

	w->n_gathered = 0;
	return r;
}

int blob_writer_append(struct blob_writer *w, const void *data, size_t len, struct err *err)
{
	int r = w->n_gathered + len > GATHERED_MAX ? write_gathered(w, err) : 0;

	if (r == 0 && len >= GATHERED_MAX)
		r = write_out(w, data, len, err);
	if (r < 0)
		return r;
	if (len < GATHERED_MAX) {
		memcpy(w->gathered + w->n_gathered, data, len);
		w->n_gathered += len;
	}
	sha256_update(w->hash, data, len);
	w->size += len;
	begin_writeback(w);
	return 0;
}

int blob_writer_publish(struct blob_writer *w, struct digest *ret_digest, struct err *err)
{
	char hex[DIGEST_HEX_SIZE];
	struct digest digest;
	int r = write_gathered(w, err);

	if (r < 0)
		return r;
	sha256_final(w->hash, &digest);
	r = io_temp_place(&w->tmp, digest_hex(&digest, hex), BLOB_MODE, err);
	if (r < 0)
		return r;
	*ret_digest = digest;
	return 0;
}

int blob_writer_publish_as(struct blob_writer *w, const struct digest *wanted, struct err *err)
{
	char hex[DIGEST_HEX_SIZE];
	struct digest digest;
	int r;

	sha256_final(w->hash, &digest);
	(void)digest_hex(wanted, hex);
	if (!digest_equal(&digest, wanted))
		return err_set(err, -EBADMSG, "%s '%.12s' has another digest", w->what, hex);
	r = write_gathered(w, err);
	return r < 0 ? r : io_temp_place(&w->tmp, hex, BLOB_MODE, err);
}

void blob_writer_release(struct blob_writer *w)
{
	io_temp_release(&w->tmp);
	sha256_free(w->hash);
	free(w->gathered);
	*w = BLOB_WRITER_INIT;
}
