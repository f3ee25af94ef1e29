/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many servers that use the same objects: one master that loads them and forks, or a mapping.
 *
 * usage: forked make FILE BYTES SEED
 *        forked copy|map|alone CHILDREN SHARE FILE...
 *
 * make: writes a file of records, each a 32-bit length and that many bytes: 256 bytes to 8 KiB.
 * copy: a master makes an object on its heap of each record, with a header that counts
 *       references, and forks. This is before.
 * map:  a master maps the files, makes a table of where the records are, and forks. Counts are in an array of the
 *       child's own. This is after, with the least change.
 * alone: no master; each child does what the master of "map" does, as servers in pods of their own.
 *
 * Each child is a match: of SHARE percent of the objects, other ones for each child, it takes a reference,
 * reads all bytes, and gives the reference back. Then all stay until they have been measured.
 * Prints "objects=N private_kib=MEDIAN private_max_kib=MAX tables_kib=MEDIAN sum=N": how much the memory that is a
 * child's alone has grown since it was forked, its page tables, and the sum of what all have
 * read. Stays until standard input ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	RECORD_MIN = 256,
	RECORD_MAX = 8192,
	CHILDREN_MAX = 256,
};

/* Before: the header lies beside the data, as in the heaps of script engines. */
struct object {
	uint32_t references;
	uint32_t size;
	unsigned char data[];
};

/* After: where the data is; written once, before the fork. */
struct record {
	const unsigned char *data;
	uint32_t size;
};

struct world {
	struct object **objects; /* "copy", else NULL */
	struct record *records;  /* else */
	uint32_t *references;    /* of the records: a child's own */
	size_t n;
};

static _Noreturn void die(const char *what)
{
	(void)fprintf(stderr, "forked: %s: %s\n", what, strerrordesc_np(errno));
	_exit(1);
}

static void *must(void *memory)
{
	if (!memory)
		die("memory");
	return memory;
}

/* splitmix64 */
static uint64_t next(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* Half of the bytes are random, so that the file compresses about as assets do. */
static int make(const char *path, size_t bytes, uint64_t state)
{
	FILE *file = fopen(path, "we");
	static unsigned char data[RECORD_MAX];

	if (!file)
		die(path);
	for (size_t done = 0; done < bytes;) {
		uint32_t size = RECORD_MIN + (uint32_t)(next(&state) % (RECORD_MAX - RECORD_MIN));

		memset(data, 0, size);
		for (uint32_t i = 0; i < size / 2; i++)
			data[i] = (unsigned char)next(&state);
		if (fwrite(&size, sizeof(size), 1, file) != 1 || fwrite(data, size, 1, file) != 1)
			die(path);
		done += sizeof(size) + size;
	}
	if (fclose(file) != 0)
		die(path);
	return 0;
}

/* @array with room for one more than @n of @size bytes. */
static void *grown(void *array, size_t n, size_t size)
{
	enum { STEP = 1024 };

	return n % STEP ? array : must(reallocarray(array, n + STEP, size));
}

static void add_record(struct world *world, const unsigned char *data, uint32_t size, bool copy)
{
	if (copy) {
		struct object *object = must(malloc(sizeof(*object) + size));

		object->references = 1;
		object->size = size;
		memcpy(object->data, data, size);
		world->objects = grown(world->objects, world->n, sizeof(void *));
		world->objects[world->n++] = object;
	} else {
		world->records = grown(world->records, world->n, sizeof(*world->records));
		world->records[world->n++] = (struct record){ .data = data, .size = size };
	}
}

static void load_file(struct world *world, const char *path, bool copy)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	const unsigned char *at, *end;
	struct stat st;
	void *map;

	if (fd < 0 || fstat(fd, &st) < 0)
		die(path);
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		die(path);
	(void)close(fd);
	at = map;
	end = at + st.st_size;
	while (at < end) {
		uint32_t size;

		memcpy(&size, at, sizeof(size));
		at += sizeof(size);
		if (size > (size_t)(end - at)) {
			errno = EBADMSG;
			die(path);
		}
		add_record(world, at, size, copy);
		at += size;
	}
	/* What was copied is not needed twice. */
	if (copy)
		(void)munmap(map, (size_t)st.st_size);
}

static void load(struct world *world, char *const files[], bool copy)
{
	*world = (struct world){ 0 };
	for (; *files; files++)
		load_file(world, *files, copy);
	/* Pages of it that nobody writes are nobody's. */
	if (!copy)
		world->references = must(calloc(world->n + 1, sizeof(*world->references)));
}

static uint64_t read_all(const unsigned char *data, uint32_t size)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < size; i++)
		sum += data[i];
	return sum;
}

/* A match of child @seed. */
static uint64_t play(struct world *world, uint64_t seed, unsigned share)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < world->n; i++) {
		if (next(&seed) % 100 >= share)
			continue;
		if (world->objects) {
			struct object *object = world->objects[i];

			__atomic_add_fetch(&object->references, 1, __ATOMIC_RELAXED);
			sum += read_all(object->data, object->size);
			__atomic_sub_fetch(&object->references, 1, __ATOMIC_RELAXED);
		} else {
			__atomic_add_fetch(&world->references[i], 1, __ATOMIC_RELAXED);
			sum += read_all(world->records[i].data, world->records[i].size);
			__atomic_sub_fetch(&world->references[i], 1, __ATOMIC_RELAXED);
		}
	}
	return sum;
}

/* The sum of the lines of a file of /proc/PID that begin so, in KiB. */
static long proc_kib(pid_t pid, const char *name, const char *prefix)
{
	char path[64], line[256];
	long kib = 0;
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	file = fopen(path, "re");
	if (!file)
		die(path);
	while (fgets(line, sizeof(line), file)) {
		const char *colon = strchr(line, ':');

		if (colon && strncmp(line, prefix, strlen(prefix)) == 0)
			kib += strtol(colon + 1, NULL, 10);
	}
	(void)fclose(file);
	return kib;
}

static int by_value(const void *a, const void *b)
{
	long x = *(const long *)a, y = *(const long *)b;

	return (x > y) - (x < y);
}

struct child {
	pid_t pid;
	int in, out; /* it goes on when it reads a byte; it has done a step when it writes */
	long before;
};

/* In a child; does not return. */
static _Noreturn void match(struct world *world, uint64_t seed, unsigned share, char *const files[],
                            int in, int out)
{
	uint64_t sum = 0;
	char byte;

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || write(out, &sum, sizeof(sum)) != sizeof(sum) ||
	    read(in, &byte, 1) != 1)
		_exit(1);
	if (files)
		load(world, files, false);
	sum = play(world, seed, share);
	if (write(out, &sum, sizeof(sum)) != sizeof(sum))
		_exit(1);
	(void)!read(in, &byte, 1);
	_exit(0);
}

static uint64_t answer(const struct child *child)
{
	uint64_t sum;

	if (read(child->out, &sum, sizeof(sum)) != sizeof(sum)) {
		errno = ECHILD;
		die("a child");
	}
	return sum;
}

static void start(struct child *child, struct world *world, uint64_t seed, unsigned share,
                  char *const files[])
{
	int in[2], out[2];

	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
		die("pipe");
	child->pid = fork();
	if (child->pid < 0)
		die("fork");
	if (child->pid == 0)
		match(world, seed, share, files, in[0], out[1]);
	child->in = in[1];
	child->out = out[0];
	(void)close(in[0]);
	(void)close(out[1]);
	(void)answer(child);
	child->before = proc_kib(child->pid, "smaps_rollup", "Private_");
}

static void report(const struct child children[], size_t n, size_t objects, uint64_t sum)
{
	long private_kib[CHILDREN_MAX], tables_kib[CHILDREN_MAX];

	for (size_t i = 0; i < n; i++) {
		private_kib[i] =
			proc_kib(children[i].pid, "smaps_rollup", "Private_") - children[i].before;
		tables_kib[i] = proc_kib(children[i].pid, "status", "VmPTE");
	}
	qsort(private_kib, n, sizeof(long), by_value);
	qsort(tables_kib, n, sizeof(long), by_value);
	(void)printf("objects=%zu private_kib=%ld private_max_kib=%ld tables_kib=%ld sum=%llu\n",
	             objects, private_kib[n / 2], private_kib[n - 1], tables_kib[n / 2],
	             (unsigned long long)sum);
	(void)fflush(stdout);
}

struct options {
	bool copy, alone;
	size_t children;
	unsigned share;
	char **files;
};

static bool parse(struct options *o, int argc, char *argv[])
{
	if (argc < 5)
		return false;
	o->copy = strcmp(argv[1], "copy") == 0;
	o->alone = strcmp(argv[1], "alone") == 0;
	o->children = strtoul(argv[2], NULL, 10);
	o->share = (unsigned)strtoul(argv[3], NULL, 10);
	o->files = argv + 4;
	return (o->copy || o->alone || strcmp(argv[1], "map") == 0) && o->children > 0 &&
	       o->children <= CHILDREN_MAX;
}

/* All of it, until standard input ends. */
static void run(const struct options *o)
{
	static struct child children[CHILDREN_MAX];
	struct world world = { 0 };
	uint64_t sum = 0;
	char byte;

	if (!o->alone)
		load(&world, o->files, o->copy);
	for (size_t i = 0; i < o->children; i++)
		start(&children[i], &world, i, o->share, o->alone ? o->files : NULL);
	for (size_t i = 0; i < o->children; i++)
		(void)!write(children[i].in, "x", 1);
	for (size_t i = 0; i < o->children; i++)
		sum += answer(&children[i]);
	report(children, o->children, world.n, sum);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	for (size_t i = 0; i < o->children; i++)
		(void)close(children[i].in);
	for (size_t i = 0; i < o->children; i++)
		(void)waitpid(children[i].pid, NULL, 0);
}

int main(int argc, char *argv[])
{
	struct options options = { 0 };

	if (argc == 5 && strcmp(argv[1], "make") == 0)
		return make(argv[2], strtoul(argv[3], NULL, 10), strtoul(argv[4], NULL, 10));
	if (!parse(&options, argc, argv)) {
		(void)fputs("usage: forked make FILE BYTES SEED\n"
		            "       forked copy|map|alone CHILDREN SHARE FILE...\n",
		            stderr);
		return 2;
	}
	run(&options);
	return 0;
}
