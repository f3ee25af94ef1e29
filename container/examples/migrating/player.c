/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Players of world.c, who notice when it moves.
 *
 * usage: player FIRST SECOND PLAYERS TURNS
 *
 * PLAYERS players, each in a zone of its own, make a move in turn every millisecond, over one connection: to the world at
 * the address FIRST, and when that is gone, at SECOND. Prints "playing" when each has had ten turns, and ends
 * when each has had TURNS more at SECOND. Then prints, in milliseconds, of answers from the world before and after
 * the move:
 *   before_max  the longest wait for one before
 *   pause       from the last one before to the first one after
 *   after_max   the longest wait for one after
 *   late        how many took more than 50 ms, a tick of many games, after
 *   stalled     the sum of pause and of the waits that were late
 * and "wrong", the number of answers that show that the world has forgotten a move or played it twice.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "moving.h"

enum {
	LATE_MS = 50,
	TURNS_TO_SETTLE = 10,
};

struct times {
	double before_max, pause, after_max, stalled;
	unsigned long late, wrong;
};

static double now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

/* A connection, or -1. */
static int connect_to(const char *text)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	const char *colon = strchr(text, ':');
	char host[INET_ADDRSTRLEN];
	int fd, yes = 1;

	if (!colon)
		return -1;
	(void)snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
	if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
		return -1;
	address.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		(void)close(fd);
		return -1;
	}
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
	return fd;
}

/* For as long as it takes: the world may not be there yet. */
static int connect_at_last(const char *text)
{
	int fd;

	while ((fd = connect_to(text)) < 0)
		(void)poll(NULL, 0, 1);
	return fd;
}

static bool ask(int fd, const struct move *move, struct answer *answer)
{
	return send(fd, move, sizeof(*move), MSG_NOSIGNAL) == sizeof(*move) &&
	       recv(fd, answer, sizeof(*answer), MSG_WAITALL) == sizeof(*answer);
}

static void count(struct times *times, bool moved, double waited)
{
	if (!moved) {
		if (waited > times->before_max)
			times->before_max = waited;
		return;
	}
	if (waited > times->after_max)
		times->after_max = waited;
	if (waited > LATE_MS) {
		times->late++;
		times->stalled += waited;
	}
}

/* @played turns of each before, @turns after the move. */
static void play(const char *const worlds[2], uint32_t players, uint32_t turns, struct times *times)
{
	int fd = connect_at_last(worlds[0]);
	double last = now_ms();
	uint32_t left = turns;
	bool moved = false;

	for (uint32_t number = 1; left > 0; number++) {
		for (uint32_t player = 0; player < players; player++) {
			struct move move = { .player = player, .number = number };
			double begin = now_ms();
			struct answer answer;
			bool first = false;

			while (!ask(fd, &move, &answer)) {
				first = !moved;
				moved = true;
				(void)close(fd);
				fd = connect_at_last(worlds[1]);
			}
			if (first)
				times->pause = now_ms() - last;
			else
				count(times, moved, now_ms() - begin);
			last = now_ms();
			times->wrong += answer.turns != number || answer.number != number ||
			                answer.player != player;
			(void)poll(NULL, 0, 1);
		}
		if (number == TURNS_TO_SETTLE) {
			(void)puts("playing");
			(void)fflush(stdout);
		}
		left -= moved;
	}
	(void)close(fd);
}

int main(int argc, char *argv[])
{
	struct times times = { 0 };
	uint32_t players = argc == 5 ? (uint32_t)strtoul(argv[3], NULL, 10) : 0;

	if (players == 0 || players > PLAYERS_MAX) {
		(void)fputs("usage: player FIRST SECOND PLAYERS TURNS\n", stderr);
		return 2;
	}
	play((const char *const[]){ argv[1], argv[2] }, players,
	     (uint32_t)strtoul(argv[4], NULL, 10), &times);
	(void)printf("before_max=%.1f pause=%.1f after_max=%.1f late=%lu stalled=%.1f wrong=%lu\n",
	             times.before_max, times.pause, times.after_max, times.late,
	             times.pause + times.stalled, times.wrong);
	return times.wrong == 0 ? 0 : 1;
}
