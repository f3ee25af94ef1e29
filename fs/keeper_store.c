/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper_store.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "session.h"

enum { FILES_MAX = 2 * KEEPER_FDS_MAX + 64 }; /* each twice, while they are put in their places */

static void drop(struct keeper_store *store, const char *name)
{
	size_t kept = 0;

	for (size_t i = 0; i < store->n; i++) {
		if (strcmp(store->kept[i].name, name) == 0)
			(void)close(store->kept[i].fd);
		else
			store->kept[kept++] = store->kept[i];
	}
	store->n = kept;
}

/* Keep @fd, which is taken. */
static void keep(struct keeper_store *store, const char *name, int fd)
{
	if (store->n == KEEPER_FDS_MAX || name[0] == '\0' || strlen(name) >= KEPT_NAME_MAX ||
	    strchr(name, ':')) {
		log_warn("keeper: no room for '%.64s': it is lost with the daemon", name);
		(void)close(fd);
		return;
	}
	drop(store, name);
	store->kept[store->n].fd = fd;
	(void)snprintf(store->kept[store->n].name, KEPT_NAME_MAX, "%.*s", KEPT_NAME_MAX - 1, name);
	store->n++;
}

const char *keeper_value(const char *message, const char *key)
{
	size_t len = strlen(key);

	for (const char *line = message; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, key, len) == 0 && line[len] == '=')
			return line + len + 1;
	}
	return NULL;
}

void keeper_store_hear(struct keeper_store *store, const char *message, int fd)
{
	CLEANUP(close) int taken = fd;
	char name[KEPT_NAME_MAX + 1] = "";
	const char *named = keeper_value(message, "FDNAME");

	if (named)
		(void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(named, "\n"), named);
	if (keeper_value(message, "FDSTORE") && taken >= 0)
		keep(store, name, TAKE_FD(taken));
	if (keeper_value(message, "FDSTOREREMOVE"))
		drop(store, name);
}

void keeper_store_clear(struct keeper_store *store)
{
	while (store->n > 0)
		(void)close(store->kept[--store->n].fd);
}

size_t keeper_store_mounts(const struct keeper_store *store)
{
	size_t n = 0;

	for (size_t i = 0; i < store->n; i++) {
		struct pollfd fd = { .fd = store->kept[i].fd, .events = POLLIN };

		/* Of one that was unmounted the kernel says that it is in error. */
		n += strncmp(store->kept[i].name, SESSION_KEPT_FUSE, strlen(SESSION_KEPT_FUSE)) ==
		             0 &&
		     poll(&fd, 1, 0) >= 0 && !(fd.revents & POLLERR);
	}
	return n;
}

void keeper_raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= FILES_MAX)
		return;
	limit.rlim_cur = FILES_MAX;
	if (limit.rlim_max < limit.rlim_cur)
		limit.rlim_max = limit.rlim_cur;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}
