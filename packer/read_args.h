/* SPDX-License-Identifier: Apache-2.0 */
/* Command lines of the commands that look into an image: [OPTION]... IMAGE [ARGUMENT]... */
#pragma once

#include <getopt.h>
#include <stdbool.h>

#include "image.h"

/* What a command takes. */
struct read_command {
	const char *name;
	const char *help;
	const char *shorts; /* for getopt, "h" included */
	const struct option
		*options;  /* READ_OPTIONS and those without argument, each with its letter */
	int min_arguments; /* after IMAGE */
	int max_arguments;
	const char *wants; /* for the message when there are fewer or more */
};

/* Options that all of them take. */
#define READ_OPTIONS                                                                      \
	{ "platform", required_argument, NULL, 'P' }, { "help", no_argument, NULL, 'h' }, \
	{                                                                                 \
		NULL, 0, NULL, 0                                                          \
	}

struct read_args {
	struct image_ref image; /* owned */
	bool has_platform;
	struct platform platform;
	char letters[8];  /* of the options that were given, but for READ_OPTIONS */
	char **arguments; /* borrowed from argv */
	int n_arguments;
};

#define READ_ARGS_INIT ((struct read_args){ .image = IMAGE_REF_INIT })

/* Returns -1 to go on, or an exit status. */
int read_args_parse(const struct read_command *command, int argc, char *argv[],
                    struct read_args *ret);

/* Whether option @letter was given. */
bool read_args_has(const struct read_args *args, char letter);

void read_args_release(struct read_args *args);

static inline void read_args_release_cleanup(struct read_args *args)
{
	read_args_release(args);
}

/* Open the image for the platform that was asked for, or this machine's. */
MUST_CHECK int read_args_open(const struct read_args *args, struct image **ret, struct err *err);

/*
 * Open the layout and load all images that the tag names; the caller gives
 * both back. Sets *@ret_only, borrowed from the set, to the one for the
 * platform that was asked for, if one was, else to NULL.
 */
MUST_CHECK int read_args_images(const struct read_args *args, struct layout **ret_layout,
                                struct image_set *ret_set, const struct manifest **ret_only,
                                struct err *err);

/* Find @path in the image. Returns 0, -ENOENT or -errno. */
MUST_CHECK int read_args_find(struct image *img, const char *path, struct node *ret,
                              struct err *err);
