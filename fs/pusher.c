/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables of bits and of inode numbers are all that is kept of a file: some 5 bytes. Numbers
 * of rows run from 1 without gaps in images that this project writes; what has a higher
 * number in others is never pushed.
 */
#include "pusher.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

enum {
	QUEUE = 4096,       /* jobs that wait */
	TRIES = 40,         /* of a file that was just looked up: 16 s in all */
	PIECE_MAX = 1 << 20 /* bytes of one message to the kernel */
};

/* In first: the content of several inodes, each of which needs it stored for itself. */
#define SEVERAL UINT32_MAX

enum job_kind {
	JOB_PUSH,   /* this file, if it is in the region */
	JOB_SPREAD, /* this file, and what else its chunks hold, unless that was done before */
	JOB_AGAIN,  /* even so, and although it was stored: the kernel has dropped pages */
};

struct job {
	uint64_t ino;
	enum job_kind kind;
	unsigned tries; /* that have failed */
};

struct queue {
	struct job job[QUEUE];
	unsigned head, n;
};

struct bits {
	uint64_t n;     /* valid numbers are 1 to n */
	uint64_t *word; /* owned; atomic */
};

struct pusher {
	/* constant after pusher_start() */
	struct index *idx;
	struct region *region;
	struct fuse_session *se;
	pthread_t thread;
	bool started;

	struct bits known;  /* inodes that the kernel knows */
	struct bits stored; /* inodes that it was sent whole */
	struct bits
		parked; /* contents that lie in the region and that some inode's kernel cache lacks */

	/* of the thread */
	struct bits spread; /* chunks whose contents have been looked at */
	uint32_t *first;    /* owned; by content: its inode, 0, or SEVERAL; NULL until needed */
	struct queue later; /* to be tried again */
	bool again;         /* the job is a JOB_AGAIN */
	void *piece;        /* owned; PIECE_MAX bytes; NULL until needed */

	pthread_mutex_t lock;
	pthread_cond_t changed; /* a job came, or stop was set */
	/* under lock */
	struct queue queue;

	bool stop; /* atomic */
};

static bool bits_init(struct bits *bits, uint64_t n)
{
	bits->n = n;
	bits->word = calloc(n / 64 + 1, sizeof(*bits->word));
	return bits->word != NULL;
}

static uint64_t mask(uint64_t i)
{
	return (uint64_t)1 << (i % 64);
}

/* Returns whether it was set before. */
static bool bit_set(struct bits *bits, uint64_t i)
{
	if (i > bits->n)
		return false;
	return __atomic_fetch_or(&bits->word[i / 64], mask(i), __ATOMIC_SEQ_CST) & mask(i);
}

static void bit_clear(struct bits *bits, uint64_t i)
{
	if (i <= bits->n)
		(void)__atomic_fetch_and(&bits->word[i / 64], ~mask(i), __ATOMIC_SEQ_CST);
}

static bool bit_test(const struct bits *bits, uint64_t i)
{
	return i <= bits->n && (__atomic_load_n(&bits->word[i / 64], __ATOMIC_SEQ_CST) & mask(i));
}

static bool stopped(const struct pusher *p)
{
	return __atomic_load_n(&p->stop, __ATOMIC_RELAXED);
}

struct pusher *pusher_new(struct index *idx, struct region *region)
{
	CLEANUP(pusher_free) struct pusher *p = calloc(1, sizeof(*p));
	const struct index_info *info = index_info(idx);

	if (!p)
		return NULL;
	p->idx = idx;
	p->region = region;
	(void)pthread_mutex_init(&p->lock, NULL);
	(void)pthread_cond_init(&p->changed, NULL);
	if (!bits_init(&p->known, info->n_nodes) || !bits_init(&p->stored, info->n_nodes) ||
	    !bits_init(&p->parked, info->n_contents) || !bits_init(&p->spread, info->n_chunks))
		return NULL;
	return TAKE_PTR(p);
}

void pusher_free(struct pusher *p)
{
	if (!p)
		return;
	(void)pthread_mutex_lock(&p->lock);
	__atomic_store_n(&p->stop, true, __ATOMIC_RELAXED);
	(void)pthread_cond_signal(&p->changed);
	(void)pthread_mutex_unlock(&p->lock);
	if (p->started)
		(void)pthread_join(p->thread, NULL);
	free(p->known.word);
	free(p->stored.word);
	free(p->parked.word);
	free(p->spread.word);
	free(p->first);
	free(p->piece);
	(void)pthread_cond_destroy(&p->changed);
	(void)pthread_mutex_destroy(&p->lock);
	free(p);
}

/* What has no room is dropped. */
static void add(struct queue *queue, const struct job *job)
{
	if (queue->n < QUEUE)
		queue->job[(queue->head + queue->n++) % QUEUE] = *job;
}

static struct job take(struct queue *queue)
{
	struct job job = queue->job[queue->head];

	queue->head = (queue->head + 1) % QUEUE;
	queue->n--;
	return job;
}

static void enqueue(struct pusher *p, uint64_t ino, enum job_kind kind)
{
	const struct job job = { .ino = ino, .kind = kind };

	(void)pthread_mutex_lock(&p->lock);
	add(&p->queue, &job);
	(void)pthread_cond_signal(&p->changed);
	(void)pthread_mutex_unlock(&p->lock);
}

void pusher_known(struct pusher *p, uint64_t ino)
{
	if (p)
		(void)bit_set(&p->known, ino);
}

void pusher_looked_up(struct pusher *p, const struct node *node)
{
	if (p && node->content != 0 && bit_test(&p->parked, node->content) &&
	    !bit_test(&p->stored, node->ino))
		enqueue(p, node->ino, JOB_PUSH);
}

void pusher_forgotten(struct pusher *p, uint64_t ino)
{
	if (!p)
		return;
	bit_clear(&p->known, ino);
	bit_clear(&p->stored, ino);
}

void pusher_sent(struct pusher *p, uint64_t ino, bool whole, bool filled)
{
	bool again;

	if (!p)
		return;
	again = whole ? bit_set(&p->stored, ino) : bit_test(&p->stored, ino);
	enqueue(p, ino, !filled ? JOB_PUSH : again ? JOB_AGAIN : JOB_SPREAD);
}

/* Put all of @obj, which is complete, into the kernel's page cache of @ino. */
static int store(struct pusher *p, uint64_t ino, struct object *obj)
{
	uint64_t size = object_size(obj);
	int r = 0;

	if (!p->piece)
		p->piece = malloc(PIECE_MAX);
	if (!p->piece)
		return -ENOMEM;
	for (uint64_t off = 0; off < size && r == 0 && !stopped(p);) {
		size_t len = size - off < PIECE_MAX ? (size_t)(size - off) : PIECE_MAX;
		struct fuse_bufvec vec = FUSE_BUFVEC_INIT(len);

		vec.buf[0].mem = p->piece;
		r = object_read(obj, p->piece, len, off);
		if (r == 0)
			r = fuse_lowlevel_notify_store(p->se, ino, (off_t)off, &vec,
			                               (enum fuse_buf_copy_flags)0);
		off += len;
	}
	return r;
}

/*
 * Give the kernel what @content holds for @ino, if the region has it, and let the region's copy
 * go. Returns -ENOENT when the kernel does not know @ino, or not yet.
 */
static int push(struct pusher *p, uint64_t ino, const struct content *content)
{
	CLEANUP(object_unref) struct object *obj = region_find(p->region, &content->digest);
	int r;

	if (!obj || !object_complete(obj))
		return 0;
	/* Set before: the kernel may forget it meanwhile. */
	if (!bit_set(&p->stored, ino)) {
		r = store(p, ino, obj);
		if (r < 0) {
			bit_clear(&p->stored, ino);
			return r;
		}
	}
	if (p->first[content->id] != SEVERAL) {
		bit_clear(&p->parked, content->id);
		object_discard(TAKE_PTR(obj));
	}
	return 0;
}

/*
 * push(), and again later if the kernel does not know @ino yet, which it does once the process
 * that looks it up has run again. @tries have failed.
 */
static void try_push(struct pusher *p, uint64_t ino, const struct content *content, unsigned tries)
{
	const struct job later = { .ino = ino, .kind = JOB_PUSH, .tries = tries + 1 };

	if (push(p, ino, content) == -ENOENT && bit_test(&p->known, ino) && later.tries < TRIES)
		add(&p->later, &later);
}

static int note_inode(void *arg, const struct node *node)
{
	struct pusher *p = arg;
	uint64_t limit = index_info(p->idx)->n_contents;

	if (node->content != 0 && node->content <= limit)
		p->first[node->content] = p->first[node->content] || node->ino >= SEVERAL
		                                  ? SEVERAL
		                                  : (uint32_t)node->ino;
	return stopped(p);
}

/* Find the inodes of contents, at the first job: a session that nobody reads costs nothing. */
static bool load_inodes(struct pusher *p)
{
	if (!p->first) {
		p->first = calloc(index_info(p->idx)->n_contents + 1, sizeof(*p->first));
		if (p->first && index_each_node(p->idx, note_inode, p, NULL) < 0) {
			free(p->first);
			p->first = NULL;
		}
	}
	return p->first != NULL;
}

/* A content of a chunk that has been decompressed. */
static int offer(void *arg, const struct content *content, const struct extent *x)
{
	struct pusher *p = arg;
	uint32_t ino;

	(void)x;
	if (content->id > index_info(p->idx)->n_contents)
		return 0;
	ino = p->first[content->id];
	if (p->again)
		bit_clear(&p->stored, ino);
	/* First parked, then known: who looks it up does it the other way round. */
	(void)bit_set(&p->parked, content->id);
	if (ino != 0 && ino != SEVERAL && bit_test(&p->known, ino))
		try_push(p, ino, content, 0);
	return stopped(p);
}

static void spread(struct pusher *p, const struct content *content)
{
	CLEANUP(free) struct extent *extent = NULL;
	uint32_t n;

	if (index_extents(p->idx, content, &extent, &n, NULL) < 0)
		return;
	for (uint32_t i = 0; i < n; i++) {
		uint64_t chunk = extent[i].chunk.id;

		if (!bit_set(&p->spread, chunk) ||
		    (p->again && (i == 0 || extent[i - 1].chunk.id != chunk)))
			(void)!index_chunk_extents(p->idx, chunk, offer, p, NULL);
	}
}

static void run(struct pusher *p, const struct job *job)
{
	struct node node;
	struct content content;

	/* What is wrong with an index, reads find out and report. */
	if (!load_inodes(p) || index_node(p->idx, job->ino, &node, NULL) != 1 ||
	    node.content == 0 || node.content > index_info(p->idx)->n_contents ||
	    index_content(p->idx, node.content, &content, NULL) < 0)
		return;
	p->again = job->kind == JOB_AGAIN;
	try_push(p, job->ino, &content, job->tries);
	if (job->kind != JOB_PUSH)
		spread(p, &content);
}

/*
 * Wait for a job, or until those that have failed are due: after 1 ms, then 2, up to 512. With
 * p->lock held, which is given up meanwhile.
 */
static void await(struct pusher *p)
{
	struct timespec due;
	unsigned tries;

	if (p->later.n == 0) {
		(void)pthread_cond_wait(&p->changed, &p->lock);
		return;
	}
	tries = p->later.job[p->later.head].tries;
	(void)clock_gettime(CLOCK_MONOTONIC, &due);
	due.tv_nsec += (long)1000000 << (tries < 10 ? tries - 1 : 9);
	due.tv_sec += due.tv_nsec / 1000000000;
	due.tv_nsec %= 1000000000;
	if (pthread_cond_clockwait(&p->changed, &p->lock, CLOCK_MONOTONIC, &due) != ETIMEDOUT)
		return;
	while (p->later.n > 0) {
		const struct job job = take(&p->later);

		add(&p->queue, &job);
	}
}

static void *pusher_thread(void *arg)
{
	struct pusher *p = arg;

	(void)pthread_mutex_lock(&p->lock);
	while (!stopped(p)) {
		struct job job;

		if (p->queue.n == 0) {
			await(p);
			continue;
		}
		job = take(&p->queue);
		(void)pthread_mutex_unlock(&p->lock);
		run(p, &job);
		(void)pthread_mutex_lock(&p->lock);
	}
	(void)pthread_mutex_unlock(&p->lock);
	return NULL;
}

int pusher_start(struct pusher *p, struct fuse_session *se, struct err *err)
{
	p->se = se;
	if (pthread_create(&p->thread, NULL, pusher_thread, p) != 0)
		return err_set(err, -EAGAIN, "no thread for the session");
	p->started = true;
	return 0;
}
