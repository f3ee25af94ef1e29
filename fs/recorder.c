/* SPDX-License-Identifier: Apache-2.0 */
#include "recorder.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "users.h"

struct recorder {
	bool on; /* atomic; set and cleared under lock */

	pthread_mutex_t lock;
	/* under lock */
	uint64_t ns;
	struct recording recording;
};

struct recorder *recorder_new(void)
{
	struct recorder *rec = calloc(1, sizeof(*rec));

	if (!rec)
		return NULL;
	rec->recording = RECORDING_INIT;
	(void)pthread_mutex_init(&rec->lock, NULL);
	return rec;
}

void recorder_free(struct recorder *rec)
{
	if (!rec)
		return;
	recording_release(&rec->recording);
	(void)pthread_mutex_destroy(&rec->lock);
	free(rec);
}

void recording_release(struct recording *recording)
{
	uses_release(&recording->uses);
	free(recording->output);
	*recording = RECORDING_INIT;
}

bool recorder_on(const struct recorder *rec)
{
	return __atomic_load_n(&rec->on, __ATOMIC_ACQUIRE);
}

int recorder_start(struct recorder *rec, uint64_t ns, const char *output, struct err *err)
{
	CLEANUP(free) char *copy = output ? strdup(output) : NULL;
	bool was_on;

	if (output && !copy)
		return err_set(err, -ENOMEM, "out of memory");
	(void)pthread_mutex_lock(&rec->lock);
	was_on = rec->on;
	if (!was_on) {
		rec->ns = ns;
		rec->recording.output = TAKE_PTR(copy);
		__atomic_store_n(&rec->on, true, __ATOMIC_RELEASE);
	}
	(void)pthread_mutex_unlock(&rec->lock);
	return was_on ? err_set(err, -EALREADY, "it is being recorded already; stop that first")
	              : 0;
}

int recorder_stop(struct recorder *rec, struct recording *ret, struct err *err)
{
	bool was_on;

	(void)pthread_mutex_lock(&rec->lock);
	was_on = rec->on;
	__atomic_store_n(&rec->on, false, __ATOMIC_RELEASE);
	if (was_on) {
		*ret = rec->recording;
		rec->recording = RECORDING_INIT;
	}
	(void)pthread_mutex_unlock(&rec->lock);
	return was_on ? 0 : err_set(err, -ESRCH, "it is not being recorded");
}

/* Whether @pid is one of those that are recorded: a process that cannot be seen is not. */
static bool is_recorded(struct recorder *rec, int pid)
{
	uint64_t ns;

	(void)pthread_mutex_lock(&rec->lock);
	ns = rec->ns;
	(void)pthread_mutex_unlock(&rec->lock);
	return ns == 0 || mount_namespace_of(pid) == ns;
}

/* Returns whether something may be added. Takes the lock then. */
static bool begin(struct recorder *rec, int pid)
{
	if (!recorder_on(rec) || !is_recorded(rec, pid))
		return false;
	(void)pthread_mutex_lock(&rec->lock);
	if (rec->on && !rec->recording.cut)
		return true;
	(void)pthread_mutex_unlock(&rec->lock);
	return false;
}

static void end(struct recorder *rec, int r)
{
	rec->recording.cut = r < 0;
	(void)pthread_mutex_unlock(&rec->lock);
}

void recorder_open(struct recorder *rec, int pid, uint64_t ino, bool unseen)
{
	if (begin(rec, pid))
		end(rec, uses_add_open(&rec->recording.uses, ino, unseen));
}

void recorder_read(struct recorder *rec, int pid, uint64_t ino, uint64_t off, uint64_t len)
{
	if (begin(rec, pid))
		end(rec, uses_add(&rec->recording.uses, ino, off, off + len));
}
