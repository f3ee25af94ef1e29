/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A game world that can be handed over to another instance of itself.
 *
 * usage: world ASSETS ADDRESS:PORT
 *        world ASSETS ADDRESS:PORT --take ADDRESS:PORT [--stop-first]
 *
 * Loads ASSETS/core and listens for players at PORT, for its successor at PORT + 1. A player is
 * in a zone, whose file ASSETS/zones/N is mapped when somebody plays there first.
 *
 * With --take it is the successor. It loads, prints "ready", waits for a line on standard input,
 * takes the state from the world at that address and plays on. With --stop-first it takes the state before
 * it loads: that is what stopping a world and starting it elsewhere comes to.
 *
 * The world before goes on until its successor says that it has everything, and then ends with
 * status 0. When the successor breaks off before, nothing has happened.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "moving.h"

enum {
	PAGE = 4096,
	PAGES_IN_TURN = 16,
	SUCCESSOR_PORT = 1, /* above the players' */
	CONNECTIONS_MAX = 16,
	PATIENCE_SECONDS = 5,
	LISTEN_PLAYERS = 0,
	LISTEN_SUCCESSOR,
	FIRST_CONNECTION,
};

/* A player's state: what is handed over. */
struct state {
	uint32_t number; /* of the last move */
	uint32_t zone;
	uint64_t turns;
};

struct zone {
	const volatile unsigned char *at; /* NULL: nobody has played there */
	size_t size;
};

struct world {
	const char *assets;
	struct state players[PLAYERS_MAX];
	struct zone *zones;
	uint32_t zone_count;
	struct pollfd fds[FIRST_CONNECTION + CONNECTIONS_MAX];
	nfds_t fd_count;
	unsigned sum; /* of what was read, so that it is */
};

static _Noreturn void die(const char *what)
{
	(void)fprintf(stderr, "world: %s: %s\n", what, strerrordesc_np(errno));
	_exit(1);
}

/* Maps a whole file for good. */
static struct zone map_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *at;

	if (fd < 0 || fstat(fd, &st) < 0)
		die(path);
	at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		die(path);
	(void)close(fd);
	return (struct zone){ .at = at, .size = (size_t)st.st_size };
}

/* Calls @each, if any, with the path of each file in a directory of the assets; returns their number. */
static uint32_t each_file(struct world *world, const char *name,
                          void (*each)(struct world *world, const char *path))
{
	struct dirent *entry;
	uint32_t n = 0;
	char path[4096];
	DIR *dir;

	(void)snprintf(path, sizeof(path), "%s/%s", world->assets, name);
	dir = opendir(path);
	if (!dir)
		die(path);
	/* One thread here. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	while ((entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		n++;
		if (!each)
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s/%s", world->assets, name, entry->d_name);
		each(world, path);
	}
	(void)closedir(dir);
	return n;
}

static void load_core_file(struct world *world, const char *path)
{
	struct zone core = map_file(path);

	for (size_t at = 0; at < core.size; at += PAGE)
		world->sum += core.at[at];
}

static void load(struct world *world)
{
	(void)each_file(world, "core", load_core_file);
	world->zone_count = each_file(world, "zones", NULL);
	errno = ENOENT;
	if (world->zone_count == 0)
		die("zones");
	world->zones = calloc(world->zone_count, sizeof(*world->zones));
	if (!world->zones)
		die("zones");
}

/* A turn reads some pages of the player's zone, other ones each time. */
static void turn(struct world *world, uint32_t player)
{
	struct state *state = &world->players[player];
	uint32_t number = state->zone % world->zone_count;
	struct zone *zone = &world->zones[number];

	if (!zone->at) {
		char path[4096];

		(void)snprintf(path, sizeof(path), "%s/zones/%u", world->assets, number);
		*zone = map_file(path);
	}
	for (uint64_t i = 0; i < PAGES_IN_TURN; i++)
		world->sum += zone->at[(state->turns * PAGES_IN_TURN + i) * 37 * PAGE % zone->size];
	state->turns++;
}

static struct sockaddr_in address_of(const char *text, int port_above)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	const char *colon = strchr(text, ':');
	char host[INET_ADDRSTRLEN];
	long port;

	errno = EINVAL;
	if (!colon || colon - text >= (long)sizeof(host))
		die(text);
	(void)snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
	port = strtol(colon + 1, NULL, 10) + port_above;
	if (inet_pton(AF_INET, host, &address.sin_addr) != 1 || port <= 0 || port > UINT16_MAX)
		die(text);
	address.sin_port = htons((uint16_t)port);
	return address;
}

static struct pollfd listen_at(const char *text, int port_above)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
	struct sockaddr_in address = address_of(text, port_above);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) < 0 ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(fd, CONNECTIONS_MAX) < 0)
		die(text);
	return (struct pollfd){ .fd = fd, .events = POLLIN };
}

static void accept_player(struct world *world)
{
	int fd = accept4(world->fds[LISTEN_PLAYERS].fd, NULL, NULL, SOCK_CLOEXEC), yes = 1;

	if (fd < 0)
		return;
	if (world->fd_count == FIRST_CONNECTION + CONNECTIONS_MAX) {
		(void)close(fd);
		return;
	}
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
	world->fds[world->fd_count++] = (struct pollfd){ .fd = fd, .events = POLLIN };
}

/* Answers one move. Returns whether the connection goes on. */
static bool answer_move(struct world *world, int fd)
{
	struct answer answer;
	struct state *state;
	struct move move;

	if (recv(fd, &move, sizeof(move), MSG_WAITALL) != sizeof(move) ||
	    move.player >= PLAYERS_MAX)
		return false;
	state = &world->players[move.player];
	/* Else it was played, and its answer lost. */
	if (move.number != state->number) {
		state->zone = move.player;
		turn(world, move.player);
		state->number = move.number;
	}
	answer = (struct answer){ .player = move.player,
		                  .number = move.number,
		                  .turns = state->turns };
	return send(fd, &answer, sizeof(answer), MSG_NOSIGNAL) == sizeof(answer);
}

/* Returns whether the successor has the world now. Players wait meanwhile. */
static bool hand_over(struct world *world)
{
	int fd = accept4(world->fds[LISTEN_SUCCESSOR].fd, NULL, NULL, SOCK_CLOEXEC);
	const char *at = (const char *)world->players;
	size_t left = sizeof(world->players);
	/* One that does not go on stops the world no longer. */
	struct timeval patience = { .tv_sec = PATIENCE_SECONDS };
	char taken = 0;

	if (fd < 0)
		return false;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	while (left > 0) {
		ssize_t n = send(fd, at, left, MSG_NOSIGNAL);

		if (n <= 0)
			break;
		at += n;
		left -= (size_t)n;
	}
	(void)!read(fd, &taken, 1);
	(void)close(fd);
	return taken == 't';
}

static void take_over(struct world *world, const char *from)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = address_of(from, SUCCESSOR_PORT);
	ssize_t size = sizeof(world->players);

	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		die(from);
	if (recv(fd, world->players, (size_t)size, MSG_WAITALL) != size || write(fd, "t", 1) != 1)
		die(from);
	(void)close(fd);
}

/* Returns when the world has been handed over. */
static void serve(struct world *world)
{
	for (;;) {
		if (poll(world->fds, world->fd_count, -1) < 0)
			die("poll");
		if (world->fds[LISTEN_SUCCESSOR].revents && hand_over(world))
			return;
		if (world->fds[LISTEN_PLAYERS].revents)
			accept_player(world);
		for (nfds_t i = FIRST_CONNECTION; i < world->fd_count; i++) {
			if (!world->fds[i].revents || answer_move(world, world->fds[i].fd))
				continue;
			(void)close(world->fds[i].fd);
			world->fds[i--] = world->fds[--world->fd_count];
		}
	}
}

int main(int argc, char *argv[])
{
	static struct world world;
	bool successor = argc >= 5 && strcmp(argv[3], "--take") == 0;
	bool stop_first = argc == 6 && strcmp(argv[5], "--stop-first") == 0;

	if (argc != 3 && (!successor || (argc != 5 && !stop_first))) {
		(void)fputs(
			"usage: world ASSETS ADDRESS:PORT [--take ADDRESS:PORT [--stop-first]]\n",
			stderr);
		return 2;
	}
	world.assets = argv[1];
	if (stop_first)
		take_over(&world, argv[4]);
	load(&world);
	(void)puts("ready");
	(void)fflush(stdout);
	if (successor && !stop_first)
		(void)getchar();
	/* Players find it as soon as the world before lets them go. */
	world.fds[LISTEN_PLAYERS] = listen_at(argv[2], 0);
	world.fds[LISTEN_SUCCESSOR] = listen_at(argv[2], SUCCESSOR_PORT);
	world.fd_count = FIRST_CONNECTION;
	if (successor && !stop_first)
		take_over(&world, argv[4]);
	(void)puts("plays");
	(void)fflush(stdout);
	serve(&world);
	return 0;
}
