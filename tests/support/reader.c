/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A judge for mounted trees: reads every regular file of SOURCE in TREE, in
 * each of the ways that a game server may, and compares every byte with
 * SOURCE. It shares no code with the programs that it judges.
 *
 * With --hold it keeps a shared mapping of every file until its standard input
 * ends, so that others can measure what that costs.
 */
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

enum way {
	WAY_READ = 1u << 0,    /* read(2), front to back */
	WAY_RANDOM = 1u << 1,  /* pread(2) at random offsets */
	WAY_SHARED = 1u << 2,  /* read-only shared mapping */
	WAY_PRIVATE = 1u << 3, /* private mapping, with writes */
	WAY_ALL = WAY_READ | WAY_RANDOM | WAY_SHARED | WAY_PRIVATE,
};

enum {
	READ_SIZE = 1 << 17,
	RANDOM_READS = 16,  /* for each file */
	RANDOM_MAX = 70000, /* bytes of one random read */
	PAGE = 4096,
};

struct options {
	unsigned ways;
	uint64_t seed;
	bool shuffle; /* order of files by the seed, else by name */
	bool hold;
	bool list_eio; /* files that cannot be read because of EIO are listed, not counted as wrong */
	const char *tree;
	char *source;
};

/* A file as it should be, and its counterpart in the tree. */
struct file {
	const char *path;    /* relative; borrowed */
	unsigned char *want; /* its bytes; NULL when there are none */
	size_t size;
	int fd; /* in the tree */
};

struct totals {
	uint64_t files, bytes, wrong, eio;
};

/* splitmix64 */
static uint64_t rng_next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* Each returns 0 or -errno; -EILSEQ for bytes that differ, which it has reported. */
static int differ(const struct file *f, const char *how, size_t off)
{
	(void)fprintf(stderr, "reader: '%s': differs by %s at byte %zu\n", f->path, how, off);
	return -EILSEQ;
}

static int compare(const struct file *f, const char *how, const void *got, size_t off, size_t len)
{
	const unsigned char *bytes = got;

	if (memcmp(got, f->want + off, len) == 0)
		return 0;
	for (size_t i = 0; i < len; i++) {
		if (bytes[i] != f->want[off + i])
			return differ(f, how, off + i);
	}
	return 0;
}

static int way_read(const struct file *f)
{
	static unsigned char buf[READ_SIZE];
	size_t off = 0;
	int r;

	for (;;) {
		ssize_t n = read(f->fd, buf, sizeof(buf));

		if (n < 0)
			return -errno;
		if (n == 0)
			return off == f->size ? 0 : differ(f, "end of file", off);
		if ((size_t)n > f->size - off)
			return differ(f, "end of file", f->size);
		r = compare(f, "read", buf, off, (size_t)n);
		if (r < 0)
			return r;
		off += (size_t)n;
	}
}

static int way_random(const struct file *f, uint64_t *rng)
{
	static unsigned char buf[RANDOM_MAX];
	int r = 0;

	for (int i = 0; i < RANDOM_READS && r == 0; i++) {
		size_t off = rng_next(rng) % (f->size + PAGE); /* some lie beyond the end */
		size_t len = 1 + rng_next(rng) % RANDOM_MAX;
		size_t expected = off >= f->size ? 0 : f->size - off;
		ssize_t n = pread(f->fd, buf, len, (off_t)off);

		if (n < 0)
			return -errno;
		if (expected > len)
			expected = len;
		if ((size_t)n != expected)
			return differ(f, "length of pread", off);
		if (n > 0)
			r = compare(f, "pread", buf, off, (size_t)n);
	}
	return r;
}

/* @hold leaves the mapping in place. */
static int way_shared(const struct file *f, bool hold)
{
	void *map = mmap(NULL, f->size, PROT_READ, MAP_SHARED, f->fd, 0);
	int r;

	if (map == MAP_FAILED)
		return -errno;
	r = compare(f, "shared mapping", map, 0, f->size);
	if (!hold)
		(void)munmap(map, f->size);
	return r;
}

/* What this process writes to its mapping is seen there and nowhere else. */
static int way_private(const struct file *f, uint64_t *rng)
{
	unsigned char *map = mmap(NULL, f->size, PROT_READ | PROT_WRITE, MAP_PRIVATE, f->fd, 0);
	size_t off = rng_next(rng) % f->size;
	unsigned char byte;
	int r;

	if (map == MAP_FAILED)
		return -errno;
	map[off] = (unsigned char)(f->want[off] ^ 0xff);
	r = compare(f, "private mapping", map, 0, off);
	if (r == 0)
		r = compare(f, "private mapping", map + off + 1, off + 1, f->size - off - 1);
	if (r == 0 && map[off] != (unsigned char)(f->want[off] ^ 0xff))
		r = differ(f, "its own write to a private mapping", off);
	if (r == 0 && pread(f->fd, &byte, 1, (off_t)off) != 1)
		r = -EIO;
	if (r == 0)
		r = compare(f, "pread after a private write", &byte, off, 1);
	(void)munmap(map, f->size);
	return r;
}

static int judge(const struct options *o, const struct file *f, uint64_t *rng)
{
	struct stat st;
	int r = 0;

	if (fstat(f->fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size != f->size)
		return differ(f, "size in stat", (size_t)st.st_size);
	if (o->ways & WAY_READ)
		r = way_read(f);
	if (r == 0 && (o->ways & WAY_RANDOM))
		r = way_random(f, rng);
	if (r == 0 && f->want && (o->ways & WAY_SHARED))
		r = way_shared(f, o->hold);
	if (r == 0 && f->want && (o->ways & WAY_PRIVATE))
		r = way_private(f, rng);
	return r;
}

/* Map the file @path below directory @dir_fd as @f->want. Returns 0 or -errno. */
static int load_source(int dir_fd, const char *path, struct file *f)
{
	CLEANUP(close) int fd = openat(dir_fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	void *map = NULL;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size > 0) {
		map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
		if (map == MAP_FAILED)
			return -errno;
	}
	f->path = path;
	f->want = map;
	f->size = (size_t)st.st_size;
	return 0;
}

static int judge_path(const struct options *o, const int dirs[2], const char *path, uint64_t *rng,
                      struct totals *sum)
{
	CLEANUP(close) int fd = -1;
	struct file f = { 0 };
	int r = load_source(dirs[1], path, &f);

	if (r < 0)
		return r;
	fd = openat(dirs[0], path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	f.fd = fd;
	r = fd < 0 ? -errno : judge(o, &f, rng);
	if (f.want)
		(void)munmap(f.want, f.size);
	if (r == 0) {
		sum->files++;
		sum->bytes += f.size;
	}
	return r;
}

static void judge_all(const struct options *o, const int dirs[2], char **paths, size_t n,
                      struct totals *sum)
{
	uint64_t rng = o->seed;

	for (size_t i = 0; i < n; i++) {
		int r = judge_path(o, dirs, paths[i], &rng, sum);

		if (r == -EIO && o->list_eio) {
			sum->eio++;
			printf("eio %s\n", paths[i]);
		} else if (r < 0) {
			sum->wrong++;
			if (r != -EILSEQ)
				(void)fprintf(stderr, "reader: '%s': %s\n", paths[i],
				              strerrordesc_np(-r));
		}
	}
}

static int compare_entries(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

static void fts_close_it(FTS *fts)
{
	(void)fts_close(fts);
}
DEFINE_CLEANUP(FTS *, fts_close_it)

/* Paths of all regular files below @source, relative to it. Returns 0 or -errno. */
static int list_files(char *source, char ***ret, size_t *ret_n)
{
	char *roots[] = { source, NULL };
	CLEANUP(fts_close_it)
	FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, compare_entries);
	size_t prefix = strlen(source) + 1;
	char **paths = NULL;
	size_t n = 0;
	FTSENT *e;

	if (!fts)
		return -errno;
	/* This FTS is this thread's alone. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	while ((e = fts_read(fts)) != NULL) {
		char **grown;

		if (e->fts_info == FTS_ERR || e->fts_info == FTS_DNR || e->fts_info == FTS_NS)
			return -e->fts_errno;
		if (e->fts_info != FTS_F)
			continue;
		grown = reallocarray(paths, n + 1, sizeof(*paths));
		if (!grown)
			return -ENOMEM;
		paths = grown;
		paths[n] = strdup(e->fts_path + prefix);
		if (!paths[n++])
			return -ENOMEM;
	}
	*ret = paths;
	*ret_n = n;
	return 0;
}

static void shuffle(char **paths, size_t n, uint64_t seed)
{
	for (size_t i = n; i > 1; i--) {
		size_t j = rng_next(&seed) % i;
		char *path = paths[i - 1];

		paths[i - 1] = paths[j];
		paths[j] = path;
	}
}

/* Say that everything is mapped and wait until standard input ends. */
static void hold(void)
{
	char byte;

	(void)fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
}

static unsigned parse_ways(char *text)
{
	static const char *const names[] = { "read", "random", "shared", "private" };
	unsigned ways = 0;
	char *save = NULL;

	for (char *word = strtok_r(text, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
		unsigned i = 0;

		while (i < 4 && strcmp(word, names[i]) != 0)
			i++;
		if (i == 4)
			return 0;
		ways |= 1u << i;
	}
	return ways;
}

static int parse_options(int argc, char *argv[], struct options *o)
{
	static const struct option table[] = {
		{ "ways", required_argument, NULL, 'w' }, { "seed", required_argument, NULL, 's' },
		{ "shuffle", no_argument, NULL, 'x' },    { "hold", no_argument, NULL, 'h' },
		{ "list-eio", no_argument, NULL, 'e' },   { NULL, 0, NULL, 0 },
	};
	int c;

	/* Before any thread starts. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	while ((c = getopt_long(argc, argv, "", table, NULL)) != -1) {
		if (c == 'w')
			o->ways = parse_ways(optarg);
		else if (c == 's')
			o->seed = strtoull(optarg, NULL, 10);
		else if (c == 'x')
			o->shuffle = true;
		else if (c == 'h')
			o->hold = true;
		else if (c == 'e')
			o->list_eio = true;
		else
			return -EINVAL;
	}
	if (o->ways == 0 || argc - optind != 2)
		return -EINVAL;
	o->tree = argv[optind];
	o->source = argv[optind + 1];
	return 0;
}

int main(int argc, char *argv[])
{
	struct options o = { .ways = WAY_ALL, .seed = 1 };
	struct totals sum = { 0 };
	int dirs[2];
	char **paths = NULL;
	size_t n = 0;
	int r;

	if (parse_options(argc, argv, &o) < 0) {
		(void)fputs(
			"usage: reader [--ways read,random,shared,private] [--seed N] [--shuffle] "
			"[--hold] [--list-eio] TREE SOURCE\n",
			stderr);
		return 2;
	}
	dirs[0] = open(o.tree, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dirs[1] = open(o.source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirs[0] < 0 || dirs[1] < 0) {
		perror(dirs[0] < 0 ? o.tree : o.source);
		return 1;
	}
	r = list_files(o.source, &paths, &n);
	if (r < 0) {
		(void)fprintf(stderr, "reader: '%s': %s\n", o.source, strerrordesc_np(-r));
		return 1;
	}
	if (o.shuffle)
		shuffle(paths, n, o.seed);
	judge_all(&o, dirs, paths, n, &sum);
	printf("done files=%llu bytes=%llu wrong=%llu eio=%llu seed=%llu\n",
	       (unsigned long long)sum.files, (unsigned long long)sum.bytes,
	       (unsigned long long)sum.wrong, (unsigned long long)sum.eio,
	       (unsigned long long)o.seed);
	if (o.hold)
		hold();
	for (size_t i = 0; i < n; i++)
		free(paths[i]);
	free(paths);
	return sum.wrong == 0 ? 0 : 1;
}
