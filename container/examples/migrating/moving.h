/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What world.c and player.c say to each other over TCP, on machines of one kind.
 */
#pragma once

#include <stdint.h>

enum { PLAYERS_MAX = 256 };

/* A player's move. One that is sent again, for its answer was lost, has the same number. */
struct move {
	uint32_t player;
	uint32_t number; /* from 1 */
};

struct answer {
	uint32_t player;
	uint32_t number;
	uint64_t turns; /* that the world has played for the player */
};
