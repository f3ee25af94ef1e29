/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A judge of mounted trees under pressure: processes open, read, map and close random files at
 * random places, and compare all that they see with digests of the sources' blocks, which are
 * made before. It shares no code with the programs that it judges.
 *
 * usage: churn [--processes N] [--seconds N] [--actions N] [--held N] [--seed N] [--progress N]
 *              {SOURCE TREE}...
 *
 * Ends when both SECONDS have passed and all processes together have done ACTIONS, or on SIGTERM. Each process
 * keeps some files open or mapped at a time, three unless --held says how many. Every so many seconds
 * of --progress it prints a line; in the end "done files=N actions=N bytes=N wrong=N seed=N
 * p99_ms=N worst_ms=N", the last two being of how long actions took: each opens a file, looks at two in
 * eight places each, and at a name and a directory.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"

enum {
	BLOCK = 4096,
	HELD_MAX = 16, /* files that a process keeps open or mapped while it goes on */
	RUN_MAX = 64,  /* blocks of one look */
	LOOKS = 8,     /* at a file */
	PROCESSES_MAX = 256,
	TOOK_MAX = 160,
};

struct file {
	char *path; /* owned; in the tree */
	uint64_t size;
	size_t first; /* of its digests */
};

/* Made before the processes are, and the same for all. */
struct table {
	struct file *file;
	size_t n, cap;
	uint64_t *digest;
	size_t n_digests, cap_digests;
};

/* Shared by all processes; atomic. */
struct counts {
	uint64_t actions, bytes, wrong;
	uint64_t took[TOOK_MAX]; /* actions by how many quarters of a power of 2 of us they took */
	bool stop;
};

/* A file that is kept open (fd) or mapped (map). */
struct held {
	const struct file *file;
	unsigned char *map;
	int fd;
};

struct process {
	const struct table *table;
	struct counts *counts;
	uint64_t rng;
	uint64_t n_held;
	struct held held[HELD_MAX];
};

static uint64_t rng_next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* Of a block; no bit of it can change without changing this. */
static uint64_t digest_of(const unsigned char *bytes, size_t n)
{
	uint64_t h = n * 0x9e3779b97f4a7c15u;
	uint64_t w;
	size_t i = 0;

	for (; i + sizeof(w) <= n; i += sizeof(w)) {
		memcpy(&w, bytes + i, sizeof(w));
		h = (h ^ w) * 0xff51afd7ed558ccdu;
		h ^= h >> 32;
	}
	for (; i < n; i++) {
		h = (h ^ bytes[i]) * 0xff51afd7ed558ccdu;
		h ^= h >> 32;
	}
	return h;
}

static size_t block_size(const struct file *f, size_t block)
{
	uint64_t left = f->size - (uint64_t)block * BLOCK;

	return left < BLOCK ? (size_t)left : BLOCK;
}

static size_t n_blocks(const struct file *f)
{
	return (size_t)((f->size + BLOCK - 1) / BLOCK);
}

static void report(struct process *p, const struct file *f, const char *how, size_t block, int code)
{
	(void)__atomic_fetch_add(&p->counts->wrong, 1, __ATOMIC_RELAXED);
	(void)fprintf(stderr, "churn: '%s': block %zu: %s%s%s\n", f->path, block, how,
	              code ? ": " : "", code ? strerrordesc_np(code) : "");
}

/* Compare @n blocks from @first, whose bytes are @bytes. */
static void check(struct process *p, const struct file *f, const char *how,
                  const unsigned char *bytes, size_t first, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t size = block_size(f, first + i);

		if (digest_of(bytes + i * BLOCK, size) != p->table->digest[f->first + first + i]) {
			report(p, f, how, first + i, 0);
			return;
		}
		(void)__atomic_fetch_add(&p->counts->bytes, size, __ATOMIC_RELAXED);
	}
}

/* A run of blocks of @f. */
static size_t random_run(struct process *p, const struct file *f, size_t *ret_first)
{
	size_t n = n_blocks(f);
	size_t len = 1 + rng_next(&p->rng) % RUN_MAX;

	*ret_first = rng_next(&p->rng) % n;
	return len < n - *ret_first ? len : n - *ret_first;
}

static void look_by_pread(struct process *p, const struct file *f, int fd)
{
	static unsigned char buf[RUN_MAX * BLOCK];
	size_t first;
	size_t n = random_run(p, f, &first);
	size_t want = (n - 1) * BLOCK + block_size(f, first + n - 1);
	ssize_t got = pread(fd, buf, n * BLOCK, (off_t)(first * BLOCK));

	if (got != (ssize_t)want)
		report(p, f, "pread", first, got < 0 ? errno : ENODATA);
	else
		check(p, f, "differs by pread", buf, first, n);
}

static void look(struct process *p, const struct held *held)
{
	size_t first, n;

	for (int i = 0; i < LOOKS; i++) {
		if (!held->map) {
			look_by_pread(p, held->file, held->fd);
			continue;
		}
		n = random_run(p, held->file, &first);
		check(p, held->file, "differs by a mapping", held->map + first * BLOCK, first, n);
	}
}

/* A private mapping is written to: nobody else may see it, which all checks would tell. */
static void scribble(struct process *p, const struct held *held)
{
	size_t block = rng_next(&p->rng) % n_blocks(held->file);

	held->map[block * BLOCK] ^= 0xff;
	held->map[block * BLOCK] ^= 0xff;
}

static void release(struct held *held)
{
	if (held->map)
		(void)munmap(held->map, (size_t)held->file->size);
	if (held->fd >= 0)
		(void)close(held->fd);
	*held = (struct held){ .fd = -1 };
}

static void take(struct process *p, struct held *held, const struct file *f)
{
	uint64_t way = rng_next(&p->rng) % 4;
	int writable = way == 1 ? PROT_WRITE : 0;
	void *map = NULL;

	held->file = f;
	held->fd = open(f->path, O_RDONLY | O_CLOEXEC);
	if (held->fd < 0) {
		report(p, f, "open", 0, errno);
		return;
	}
	if (way < 2) {
		map = mmap(NULL, (size_t)f->size, PROT_READ | writable,
		           writable ? MAP_PRIVATE : MAP_SHARED, held->fd, 0);
		(void)close(held->fd);
		held->fd = -1;
	}
	if (map == MAP_FAILED) {
		report(p, f, "mmap", 0, errno);
		return;
	}
	held->map = map;
	if (writable)
		scribble(p, held);
	look(p, held);
}

/* Ask for the attributes of @f, for a name that is not there, and for all names beside it. */
static void survey(struct process *p, const struct file *f)
{
	CLEANUP(free) char *dir_path = strdup(f->path);
	CLEANUP(free) char *no_path = NULL;
	struct stat st;
	struct dirent *e;
	bool found = false;
	DIR *dir;

	if (!dir_path || asprintf(&no_path, "%s.not-there", f->path) < 0)
		abort();
	if (stat(f->path, &st) < 0 || (uint64_t)st.st_size != f->size)
		report(p, f, "stat", 0, errno);
	if (access(no_path, F_OK) == 0 || errno != ENOENT)
		report(p, f, "a name that is not there", 0, errno);
	*strrchr(dir_path, '/') = '\0';
	dir = opendir(dir_path);
	if (!dir) {
		report(p, f, "opendir", 0, errno);
		return;
	}
	errno = 0;
	/* One thread here. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	while ((e = readdir(dir)) != NULL)
		found = found || strcmp(e->d_name, strrchr(f->path, '/') + 1) == 0;
	if (!found)
		report(p, f, "readdir", 0, errno);
	(void)closedir(dir);
}

static double bucket_ms(size_t bucket)
{
	return (double)((uint64_t)1 << bucket / 4) * (1 + (double)(bucket % 4) / 4) / 1000;
}

/* Count that an action has taken @us. */
static void note_time(struct counts *counts, uint64_t us)
{
	size_t bucket = 0;

	while (bucket < TOOK_MAX - 1 && bucket_ms(bucket + 1) * 1000 <= (double)us)
		bucket++;
	(void)__atomic_fetch_add(&counts->took[bucket], 1, __ATOMIC_RELAXED);
}

/* The time below which @share of all actions were, in ms. */
static double quantile_ms(const struct counts *counts, double share)
{
	uint64_t left = (uint64_t)((double)counts->actions * share);
	size_t last = 0;

	for (size_t i = 0; i < TOOK_MAX; i++) {
		if (counts->took[i] == 0)
			continue;
		last = i;
		if (counts->took[i] > left)
			break;
		left -= counts->took[i];
	}
	return bucket_ms(last + 1);
}

static uint64_t now_us(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* Look at one file again and let go of it, then take another. */
static void act(struct process *p)
{
	uint64_t start = now_us();
	struct held *held = &p->held[rng_next(&p->rng) % p->n_held];
	const struct file *f = &p->table->file[rng_next(&p->rng) % p->table->n];

	if (held->map || held->fd >= 0)
		look(p, held);
	release(held);
	take(p, held, f);
	survey(p, f);
	note_time(p->counts, now_us() - start);
	(void)__atomic_fetch_add(&p->counts->actions, 1, __ATOMIC_RELAXED);
}

static int run_process(const struct table *table, struct counts *counts, uint64_t held,
                       uint64_t seed)
{
	struct process p = { .table = table, .counts = counts, .rng = seed, .n_held = held };

	for (uint64_t i = 0; i < held; i++)
		p.held[i].fd = -1;
	while (!__atomic_load_n(&counts->stop, __ATOMIC_RELAXED) &&
	       __atomic_load_n(&counts->wrong, __ATOMIC_RELAXED) == 0)
		act(&p);
	for (uint64_t i = 0; i < held; i++)
		release(&p.held[i]);
	return 0;
}

static void *grow(void *array, size_t n, size_t *cap, size_t size)
{
	if (n < *cap)
		return array;
	*cap = *cap > 0 ? *cap * 2 : 1024;
	array = reallocarray(array, *cap, size);
	if (!array)
		abort();
	return array;
}

/* Enter the file at @path; it is at @tree_path when it is mounted. Returns 0 or -errno. */
static int add_file(struct table *t, const char *path, const char *tree_path)
{
	CLEANUP(close) int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct file f = { .first = t->n_digests };
	unsigned char buf[BLOCK];
	ssize_t n;

	if (fd < 0)
		return -errno;
	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		t->digest = grow(t->digest, t->n_digests, &t->cap_digests, sizeof(*t->digest));
		t->digest[t->n_digests++] = digest_of(buf, (size_t)n);
		f.size += (uint64_t)n;
	}
	if (n < 0)
		return -errno;
	if (f.size == 0)
		return 0;
	f.path = strdup(tree_path);
	t->file = grow(t->file, t->n, &t->cap, sizeof(*t->file));
	t->file[t->n++] = f;
	return f.path ? 0 : -ENOMEM;
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

static int add_tree(struct table *t, char *source, const char *tree)
{
	char *roots[] = { source, NULL };
	FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
	int r = fts ? 0 : -errno;
	FTSENT *e;

	/* One thread here. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	while (r == 0 && (e = fts_read(fts)) != NULL) {
		CLEANUP(free) char *tree_path = NULL;

		if (e->fts_info != FTS_F)
			continue;
		if (asprintf(&tree_path, "%s%s", tree, e->fts_path + strlen(source)) < 0)
			r = -ENOMEM;
		else
			r = add_file(t, e->fts_path, tree_path);
	}
	if (fts)
		(void)fts_close(fts);
	return r;
}

struct options {
	uint64_t processes, seconds, actions, held, seed, progress;
};

static int parse_options(int argc, char *argv[], struct options *o)
{
	enum { PROCESSES, SECONDS, ACTIONS, HELD, SEED, PROGRESS, N_OPTIONS };
	uint64_t *const value[N_OPTIONS] = {
		[PROCESSES] = &o->processes, [SECONDS] = &o->seconds, [ACTIONS] = &o->actions,
		[HELD] = &o->held,           [SEED] = &o->seed,       [PROGRESS] = &o->progress,
	};
	static const struct option table[] = {
		{ "processes", required_argument, NULL, PROCESSES },
		{ "seconds", required_argument, NULL, SECONDS },
		{ "actions", required_argument, NULL, ACTIONS },
		{ "held", required_argument, NULL, HELD },
		{ "seed", required_argument, NULL, SEED },
		{ "progress", required_argument, NULL, PROGRESS },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	/* One thread here. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	while ((c = getopt_long(argc, argv, "", table, NULL)) != -1) {
		if (c >= N_OPTIONS)
			return -EINVAL;
		*value[c] = strtoull(optarg, NULL, 10);
	}
	if (o->processes == 0 || o->processes > PROCESSES_MAX || o->held == 0 ||
	    o->held > HELD_MAX || optind == argc || (argc - optind) % 2 != 0)
		return -EINVAL;
	return 0;
}

static volatile sig_atomic_t asked_to_end;

static void ask_to_end(int signo)
{
	(void)signo;
	asked_to_end = 1;
}

/* Wait until enough is done, or something is wrong, or a process has ended before its time. */
static void supervise(const struct options *o, struct counts *counts)
{
	const struct timespec pause = { .tv_nsec = 10000000 };
	const time_t start = time(NULL);
	time_t next = start + (time_t)o->progress;
	siginfo_t info = { 0 };

	while (__atomic_load_n(&counts->wrong, __ATOMIC_RELAXED) == 0 && !asked_to_end &&
	       ((uint64_t)(time(NULL) - start) < o->seconds ||
	        __atomic_load_n(&counts->actions, __ATOMIC_RELAXED) < o->actions) &&
	       (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0)) {
		(void)nanosleep(&pause, NULL);
		if (o->progress > 0 && time(NULL) >= next) {
			printf("%lld s: actions=%" PRIu64 " bytes=%" PRIu64 "\n",
			       (long long)(time(NULL) - start),
			       __atomic_load_n(&counts->actions, __ATOMIC_RELAXED),
			       __atomic_load_n(&counts->bytes, __ATOMIC_RELAXED));
			(void)fflush(stdout);
			next += (time_t)o->progress;
		}
	}
	__atomic_store_n(&counts->stop, true, __ATOMIC_RELAXED);
}

static void reap(struct counts *counts)
{
	int status;

	while (wait(&status) > 0) {
		if (status == 0)
			continue;
		(void)fprintf(stderr, "churn: a process ended by %s %d\n",
		              WIFSIGNALED(status) ? "signal" : "status",
		              WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
		counts->wrong++;
	}
}

int main(int argc, char *argv[])
{
	struct options o = { .processes = 16, .seconds = 10, .held = 3, .seed = 1 };
	struct table table = { 0 };
	struct counts *counts = mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE,
	                             MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (parse_options(argc, argv, &o) < 0 || counts == MAP_FAILED) {
		(void)fputs("usage: churn [--processes N] [--seconds N] [--actions N] [--held N] "
		            "[--seed N] [--progress N] {SOURCE TREE}...\n",
		            stderr);
		return 2;
	}
	for (int i = optind; i < argc; i += 2) {
		int r = add_tree(&table, argv[i], argv[i + 1]);

		if (r < 0) {
			(void)fprintf(stderr, "churn: '%s': %s\n", argv[i], strerrordesc_np(-r));
			return 1;
		}
	}
	for (uint64_t i = 0; table.n > 0 && i < o.processes; i++) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(run_process(&table, counts, o.held, o.seed * 1000 + i));
		if (pid < 0)
			counts->wrong++;
	}
	(void)signal(SIGTERM, ask_to_end);
	supervise(&o, counts);
	reap(counts);
	printf("done files=%zu actions=%" PRIu64 " bytes=%" PRIu64 " wrong=%" PRIu64
	       " seed=%" PRIu64 " p99_ms=%.1f worst_ms=%.1f\n",
	       table.n, counts->actions, counts->bytes, counts->wrong, o.seed,
	       quantile_ms(counts, 0.99), quantile_ms(counts, 1));
	return counts->wrong == 0 && table.n > 0 ? 0 : 1;
}
