/* SPDX-License-Identifier: Apache-2.0 */
#include "users.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/nsfs.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/grow.h"
#include "base/table.h"

/* NS_GET_MNTNS_ID of linux/nsfs.h, which Debian 12 does not have yet. */
#define GET_MOUNT_NAMESPACE_ID _IOR(0xb7, 0x5, uint64_t)

enum {
	RECENT = 64,
	RECENT_NS = 10000000,
};

/* Whose namespace was looked up lately. */
struct recent {
	int pid; /* 0: nobody's */
	uint64_t ns;
	uint64_t at; /* when, in ns */
};

/* A content that was opened. */
struct opened_content {
	uint64_t key; /* of its digest */
	uint64_t size;
};

struct user {
	struct table_node node; /* under its namespace's id */
	uint64_t *opened;       /* owned; a bit per content id */
	uint64_t *files;        /* owned; a bit per inode number */
	uint64_t bytes;         /* sum of the files' sizes */
};

struct users {
	/* constant */
	uint64_t n_words;      /* of a set of content ids */
	uint64_t n_file_words; /* of a set of inode numbers */

	pthread_mutex_t lock;
	/* under lock */
	struct table table;             /* struct user */
	struct opened_content *content; /* owned; by id */
	struct recent recent[RECENT];   /* by the lowest bits of the pid */
};

static struct user *user_of(struct table_node *node)
{
	return TABLE_ENTRY(node, struct user, node);
}

static void user_free(struct user *user)
{
	free(user->opened);
	free(user->files);
	free(user);
}

struct users *users_new(uint64_t n_contents, uint64_t n_nodes)
{
	struct users *users = calloc(1, sizeof(*users));

	if (!users)
		return NULL;
	users->n_words = n_contents / 64 + 1;
	users->n_file_words = n_nodes / 64 + 1;
	users->content = calloc(users->n_words * 64, sizeof(*users->content));
	if (!users->content) {
		free(users);
		return NULL;
	}
	(void)pthread_mutex_init(&users->lock, NULL);
	return users;
}

void users_free(struct users *users)
{
	struct table_node *n;

	if (!users)
		return;
	while ((n = table_walk(&users->table, NULL)) != NULL) {
		table_remove(&users->table, n);
		user_free(user_of(n));
	}
	table_release(&users->table);
	free(users->content);
	(void)pthread_mutex_destroy(&users->lock);
	free(users);
}

/*
 * Inode numbers of namespaces are used again at once; newer kernels have ids
 * that never are.
 */
static uint64_t id_of(int fd)
{
	struct stat st;
	uint64_t id;

	if (ioctl(fd, GET_MOUNT_NAMESPACE_ID, &id) == 0)
		return id;
	return fstat(fd, &st) < 0 ? 0 : st.st_ino;
}

uint64_t mount_namespace_id(int fd)
{
	return ioctl(fd, NS_GET_NSTYPE) == CLONE_NEWNS ? id_of(fd) : 0;
}

/* As mount_namespace_of(). */
static uint64_t namespace_of(const char *pid)
{
	char path[NAME_MAX + sizeof("/proc//ns/mnt")];
	CLEANUP(close) int fd = -1;

	(void)snprintf(path, sizeof(path), "/proc/%s/ns/mnt", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? 0 : id_of(fd);
}

uint64_t mount_namespace_of(int pid)
{
	char text[16];

	(void)snprintf(text, sizeof(text), "%d", pid);
	return namespace_of(text);
}

/* With users->lock held. Returns NULL when memory runs out: a user too few in the statistics. */
static struct user *find_or_add(struct users *users, uint64_t ns)
{
	struct table_node *n = table_first(&users->table, ns);
	struct user *user;

	if (n)
		return user_of(n);
	user = calloc(1, sizeof(*user));
	if (!user)
		return NULL;
	user->opened = calloc(users->n_words, sizeof(*user->opened));
	user->files = calloc(users->n_file_words, sizeof(*user->files));
	if (!user->opened || !user->files || table_insert(&users->table, &user->node, ns) < 0) {
		user_free(user);
		return NULL;
	}
	return user;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/*
 * Lock and find out which namespace @pid is in, or 0. Looking it up costs more than
 * the rest of an open, so that it is remembered for 10 ms: the kernel cannot come round to
 * the same pid in that time. A process that moves to another namespace is seen there
 * when they are over.
 */
static uint64_t lock_with_namespace(struct users *users, int pid)
{
	struct recent *recent = &users->recent[(unsigned)pid % RECENT];
	uint64_t now = now_ns();
	uint64_t ns;

	(void)pthread_mutex_lock(&users->lock);
	if (recent->pid == pid && now - recent->at < RECENT_NS)
		return recent->ns;
	(void)pthread_mutex_unlock(&users->lock);
	ns = mount_namespace_of(pid);
	(void)pthread_mutex_lock(&users->lock);
	if (ns != 0)
		*recent = (struct recent){ .pid = pid, .ns = ns, .at = now };
	return ns;
}

/* Add @i to the set of bits @set. Returns whether it was new. */
static bool add_bit(uint64_t *set, uint64_t i)
{
	uint64_t bit = (uint64_t)1 << (i % 64);
	bool is_new = !(set[i / 64] & bit);

	set[i / 64] |= bit;
	return is_new;
}

void users_note(struct users *users, int pid, const struct opened_file *file)
{
	uint64_t ns = lock_with_namespace(users, pid);
	struct user *user = NULL;

	if (ns != 0 && file->content / 64 < users->n_words && file->ino / 64 < users->n_file_words)
		user = find_or_add(users, ns);
	if (user && add_bit(user->opened, file->content))
		users->content[file->content] =
			(struct opened_content){ .key = file->key, .size = file->size };
	if (user && add_bit(user->files, file->ino))
		user->bytes += file->size;
	(void)pthread_mutex_unlock(&users->lock);
}

static int add_live(struct live_users *live, uint64_t ns, int pid)
{
	struct live_user *user = array_grow(live->user, live->n, &live->cap, sizeof(*user));

	if (!user)
		return -ENOMEM;
	live->user = user;
	user[live->n++] = (struct live_user){ .ns = ns, .pid = pid };
	return 0;
}

static int compare_ns(const void *a, const void *b)
{
	const struct live_user *x = a;
	const struct live_user *y = b;

	return (x->ns > y->ns) - (x->ns < y->ns);
}

static int compare_processes(const void *a, const void *b)
{
	const struct live_user *x = a;
	const struct live_user *y = b;
	int r = compare_ns(a, b);

	return r != 0 ? r : (x->pid > y->pid) - (x->pid < y->pid);
}

/* Sort, and keep one of each. */
static void make_unique(struct live_users *live)
{
	size_t n = 0;

	if (live->n > 0)
		qsort(live->user, live->n, sizeof(*live->user), compare_processes);
	for (size_t i = 0; i < live->n; i++) {
		if (n == 0 || live->user[n - 1].ns != live->user[i].ns)
			live->user[n++] = live->user[i];
	}
	live->n = n;
}

int live_users_load(struct live_users *ret)
{
	CLEANUP(live_users_release) struct live_users live = LIVE_USERS_INIT;
	DIR *proc = opendir("/proc");
	struct dirent *e;
	int r = 0;

	if (!proc)
		return -errno;
	/* This DIR is this thread's alone. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	while (r == 0 && (e = readdir(proc)) != NULL) {
		uint64_t ns = isdigit((unsigned char)e->d_name[0]) ? namespace_of(e->d_name) : 0;

		if (ns != 0)
			r = add_live(&live, ns, (int)strtol(e->d_name, NULL, 10));
	}
	(void)closedir(proc);
	if (r < 0)
		return r;
	make_unique(&live);
	*ret = live;
	live = LIVE_USERS_INIT;
	return 0;
}

void live_users_release(struct live_users *live)
{
	free(live->user);
	*live = LIVE_USERS_INIT;
}

/* The entry of namespace @ns, or NULL when no process lives in it. */
static struct live_user *find_live(const struct live_users *live, uint64_t ns)
{
	struct live_user key = { .ns = ns };

	if (live->n == 0)
		return NULL;
	return bsearch(&key, live->user, live->n, sizeof(*live->user), compare_ns);
}

/* With users->lock held. */
static void forget_dead(struct users *users, const struct live_users *live)
{
	struct table_node *n = table_walk(&users->table, NULL);

	while (n) {
		struct table_node *next = table_walk(&users->table, n);

		if (!find_live(live, n->hash)) {
			table_remove(&users->table, n);
			user_free(user_of(n));
		}
		n = next;
	}
}

void sharing_release(struct sharing *sum)
{
	free(sum->contents.key);
	sum->contents = (struct key_set){ .key = NULL };
}

/* The place of @key in @set, which has free ones. Keys are well mixed. */
static uint64_t *place_of(const struct key_set *set, uint64_t key)
{
	size_t i = key & (set->cap - 1);

	while (set->key[i] != 0 && set->key[i] != key)
		i = (i + 1) & (set->cap - 1);
	return &set->key[i];
}

/* Let at most half of the places be taken after one more. */
static int make_room(struct key_set *set)
{
	struct key_set grown = { .n = set->n, .cap = set->cap > 0 ? set->cap * 2 : 1024 };

	if (set->n < set->cap / 2)
		return 0;
	grown.key = calloc(grown.cap, sizeof(*grown.key));
	if (!grown.key)
		return -ENOMEM;
	for (size_t i = 0; i < set->cap; i++) {
		if (set->key[i] != 0)
			*place_of(&grown, set->key[i]) = set->key[i];
	}
	free(set->key);
	*set = grown;
	return 0;
}

/* Whether @key was not in @set, as far as there is memory. */
static bool add_key(struct key_set *set, uint64_t key)
{
	uint64_t *place;

	if (make_room(set) < 0)
		return true;
	place = place_of(set, key);
	if (*place == key)
		return key == 0;
	*place = key;
	set->n++;
	return true;
}

/* Add the contents that any user has opened, unless @sum has them. With users->lock held. */
static void add_shared(const struct users *users, struct sharing *sum)
{
	for (uint64_t word = 0; word < users->n_words; word++) {
		uint64_t opened = 0;

		for (struct table_node *n = NULL; (n = table_walk(&users->table, n)) != NULL;)
			opened |= user_of(n)->opened[word];
		for (; opened != 0; opened &= opened - 1) {
			const struct opened_content *content =
				&users->content[word * 64 + (uint64_t)__builtin_ctzll(opened)];

			if (add_key(&sum->contents, content->key))
				sum->bytes_shared += content->size;
		}
	}
}

void users_sum(struct users *users, struct live_users *live, struct sharing *sum)
{
	(void)pthread_mutex_lock(&users->lock);
	forget_dead(users, live);
	for (struct table_node *n = NULL; (n = table_walk(&users->table, n)) != NULL;) {
		struct live_user *user = find_live(live, n->hash);

		if (user) {
			sum->users += !user->counted;
			user->counted = true;
			user->bytes += user_of(n)->bytes;
		}
		sum->bytes_if_private += user_of(n)->bytes;
	}
	add_shared(users, sum);
	(void)pthread_mutex_unlock(&users->lock);
}
