/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whatever daemons say, a message to a chunk up to a zero byte and each with a descriptor: what the keeper holds has
 * proper names, each once, and is open; what it does not hold is closed.
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "fuzz.h"
#include "keeper_store.h"

enum { MESSAGE_MAX = 4096, MESSAGES_MAX = 64 };

static struct keeper_store store;

static void check(void)
{
	for (size_t i = 0; i < store.n; i++) {
		size_t len = strnlen(store.kept[i].name, KEPT_NAME_MAX);

		must(len > 0 && len < KEPT_NAME_MAX && !strpbrk(store.kept[i].name, ":\n"));
		must(fcntl(store.kept[i].fd, F_GETFD) >= 0);
		for (size_t k = 0; k < i; k++)
			must(strcmp(store.kept[i].name, store.kept[k].name) != 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int before = -1;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int after;

	log_set_level(LOG_LEVEL_ERR);
	for (int i = 0; i < MESSAGES_MAX && size > 0; i++) {
		char text[MESSAGE_MAX];
		size_t len =
			strnlen((const char *)data, size < sizeof(text) ? size : sizeof(text) - 1);

		memcpy(text, data, len);
		text[len] = '\0';
		keeper_store_hear(&store, text, len % 2 == 0 ? dup(fd) : -1);
		check();
		len += len < size;
		data += len;
		size -= len;
	}
	must(keeper_store_mounts(&store) <= store.n);
	keeper_store_clear(&store);
	(void)close(fd);
	/* The lowest number that is free stays the same: nothing is left open. */
	after = dup(STDIN_FILENO);
	must(before < 0 || after <= before);
	before = after;
	(void)close(after);
	return 0;
}
