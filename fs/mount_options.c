/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "mount_helper.h"

/* Of mount(8) and fstab(5): what a read-only mount has anyway, and what others act upon. */
static const char *const passed_over[] = {
	"_netdev",  "async",      "auto",       "defaults",      "dev",
	"diratime", "exec",       "group",      "noatime",       "nodev",
	"noauto",   "nodiratime", "nofail",     "nogroup",       "noiversion",
	"nomand",   "noowner",    "norelatime", "nostrictatime", "nosuid",
	"nouser",   "nousers",    "owner",      "relatime",      "ro",
	"rw",       "silent",     "suid",       "user",          "users",
};

static bool is_passed_over(const char *name)
{
	if (strncmp(name, "x-", 2) == 0 || strncmp(name, "X-", 2) == 0 ||
	    strncmp(name, "comment=", strlen("comment=")) == 0 || name[0] == '\0')
		return true;
	for (size_t i = 0; i < sizeof(passed_over) / sizeof(passed_over[0]); i++) {
		if (strcmp(name, passed_over[i]) == 0)
			return true;
	}
	return false;
}

/* The value of @option if it is @name with one, else NULL. */
static const char *value_of(const char *option, const char *name)
{
	size_t len = strlen(name);

	return strncmp(option, name, len) == 0 && option[len] == '=' ? option + len + 1 : NULL;
}

static int parse_one(const char *option, bool sloppy, struct mount_options *ret, struct err *err)
{
	const char *value;

	if ((value = value_of(option, "platform")))
		ret->platform = value;
	else if ((value = value_of(option, "store")))
		ret->store = value;
	else if ((value = value_of(option, "prefetch")))
		ret->prefetch = value;
	else if ((value = value_of(option, "auth-file")))
		ret->auth_file = value;
	else if ((value = value_of(option, "verify-key")))
		ret->verify_key = value;
	else if (strcmp(option, "prefetch") == 0)
		ret->prefetch = "";
	else if (!sloppy && !is_passed_over(option))
		return err_set(err, -EINVAL,
		               "unknown option '%s'; there are platform=OS/ARCH, store=DIR, "
		               "prefetch[=TRACE], auth-file=FILE and verify-key=FILE",
		               option);
	return value && *value == '\0'
	               ? err_set(err, -EINVAL, "option '%s' lacks its value", option)
	               : 0;
}

int mount_options_parse(char *text, bool sloppy, struct mount_options *ret, struct err *err)
{
	char *save = NULL;
	int r = 0;

	for (char *option = strtok_r(text, ",", &save); option && r == 0;
	     option = strtok_r(NULL, ",", &save))
		r = parse_one(option, sloppy, ret, err);
	return r;
}
