/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "client.h"
#include "commands.h"
#include "control.h"

static const char help[] =
	"Usage: assetfs generations [OPTION]... [IMAGE]\n"
	"Show for each name of an image, or for IMAGE, which images are mounted by it, and\n"
	"who uses them: those that a tag named when they were mounted, and the current one.\n\n"
	"      --json              as JSON\n"
	"      --store DIR         the daemon's store (default $ASSETFS_STORE, else\n"
	"                          /var/lib/assetfs)\n"
	"  -h, --help              show this help\n";

static const struct option options[] = {
	{ "json", no_argument, NULL, 'j' },
	{ "store", required_argument, NULL, 's' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static void print_user(const json_t *user)
{
	(void)printf("    %s %lld", client_text(user, "command"),
	             (long long)json_integer_value(json_object_get(user, "pid")));
	if (json_is_string(json_object_get(user, "pod_name")))
		(void)printf(", pod %s/%s", client_text(user, "pod_namespace"),
		             client_text(user, "pod_name"));
	else if (json_is_string(json_object_get(user, "pod_uid")))
		(void)printf(", pod %s", client_text(user, "pod_uid"));
	if (json_is_string(json_object_get(user, "container")))
		(void)printf(", container %.12s", client_text(user, "container"));
	(void)putchar('\n');
}

static void print_generation(const json_t *generation)
{
	const json_t *users = json_object_get(generation, "users");
	const json_t *user;
	size_t i;

	(void)printf("  %s  %s", client_text(generation, "digest"),
	             json_is_true(json_object_get(generation, "current")) ? "current" : "old");
	if (json_is_false(json_object_get(generation, "opens_seen")))
		(void)printf(", users not seen");
	else
		(void)printf(", users: %zu", json_array_size(users));
	(void)printf(", mounts: %zu\n",
	             json_array_size(json_object_get(generation, "mountpoints")));
	json_array_foreach(users, i, user)
		print_user(user);
}

/* Whether they are of one name and platform. */
static bool is_same_name(const json_t *a, const json_t *b)
{
	return strcmp(client_text(a, "image"), client_text(b, "image")) == 0 &&
	       strcmp(client_text(a, "platform"), client_text(b, "platform")) == 0;
}

/* Those of one name together, in the order in which they were mounted. */
static void print_generations(const json_t *list)
{
	const json_t *one;
	const json_t *other;
	size_t i;
	size_t k;

	json_array_foreach(list, i, one) {
		bool told = false;

		json_array_foreach(list, k, other)
			told |= k < i && is_same_name(one, other);
		if (told)
			continue;
		(void)printf("%s (%s)\n", client_text(one, "image"), client_text(one, "platform"));
		json_array_foreach(list, k, other) {
			if (is_same_name(one, other))
				print_generation(other);
		}
	}
}

/* Leave only those of the name @image in @list. Returns -ENOENT when there is none. */
static int keep_image(json_t *list, const char *image, struct err *err)
{
	for (size_t i = json_array_size(list); i-- > 0;) {
		if (strcmp(client_text(json_array_get(list, i), "image"), image) != 0)
			(void)json_array_remove(list, i);
	}
	return json_array_size(list) > 0
	               ? 0
	               : err_set(err, -ENOENT, "no image is mounted by the name '%s'", image);
}

static int show(const char *store, const char *image, bool as_json, struct err *err)
{
	CLEANUP(json_decref)
	json_t *request =
		json_pack("{si ss}", "version", CONTROL_VERSION, "command", "generations");
	CLEANUP(json_decref) json_t *answer = NULL;
	json_t *list;
	int r = control_call(store, request, &answer, NULL, err);

	if (r < 0)
		return r;
	list = json_object_get(answer, "generations");
	if (image)
		r = keep_image(list, image, err);
	if (r < 0)
		return r;
	(void)json_object_del(answer, "ok");
	if (as_json) {
		(void)json_dumpf(answer, stdout, JSON_INDENT(2));
		(void)putchar('\n');
	} else {
		print_generations(list);
	}
	return 0;
}

int cmd_generations(int argc, char *argv[])
{
	const char *store = default_store();
	bool as_json = false;
	struct err err = ERR_INIT;
	int option;

	/* One thread here. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (option) {
		case 'j':
			as_json = true;
			break;
		case 's':
			store = optarg;
			break;
		case 'h':
			(void)fputs(help, stdout);
			return STATUS_OK;
		default: /* getopt has said what is wrong */
			return STATUS_USAGE;
		}
	}
	if (optind + 1 < argc) {
		(void)fprintf(stderr, "assetfs generations: unexpected argument '%s'\n",
		              argv[optind + 1]);
		return STATUS_USAGE;
	}
	return show(store, argv[optind], as_json, &err) < 0 ? fail("generations", &err) : STATUS_OK;
}
