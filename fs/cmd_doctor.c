/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "client.h"
#include "commands.h"
#include "control.h"
#include "doctor.h"

static const char help[] =
	"Usage: assetfs doctor [OPTION]... [DIR]\n"
	"Check whether this machine is fit for assetfs, and say what to do where it is\n"
	"not. DIR is where mounts are to be made (default /).\n\n"
	"      --store DIR   the daemon's store (default $ASSETFS_STORE, else\n"
	"                    /var/lib/assetfs)\n"
	"      --region DIR  the region is to be this directory, not memory\n"
	"      --json        as JSON\n"
	"  -h, --help        show this help\n";

static const struct option options[] = {
	{ "store", required_argument, NULL, 's' },
	{ "region", required_argument, NULL, 'r' },
	{ "json", no_argument, NULL, 'j' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static const char *const levels[] = {
	[DOCTOR_OK] = "ok",
	[DOCTOR_WARN] = "warn",
	[DOCTOR_FAIL] = "fail",
};

static void print_finding(const struct doctor_check *check, const struct finding *finding)
{
	(void)printf("%-4s  %s: %s%s%s\n", levels[finding->level], check->name, finding->found,
	             finding->advice[0] != '\0' ? "; " : "", finding->advice);
}

static json_t *finding_json(const struct doctor_check *check, const struct finding *finding)
{
	return json_pack("{ss ss so so}", "check", check->name, "status", levels[finding->level],
	                 "found", control_text(finding->found), "advice",
	                 finding->advice[0] != '\0' ? control_text(finding->advice) : json_null());
}

static int examine(const struct doctor_options *what, bool as_json)
{
	CLEANUP(free) struct doctor_facts *facts = calloc(1, sizeof(*facts));
	CLEANUP(json_decref) json_t *list = json_array();
	bool failed = false;

	if (!facts || !list)
		return STATUS_FAILED;
	doctor_gather(what, facts);
	for (size_t i = 0; i < n_doctor_checks; i++) {
		struct finding finding = { .level = DOCTOR_OK };

		doctor_checks[i].judge(facts, &finding);
		failed = failed || finding.level == DOCTOR_FAIL;
		if (as_json)
			(void)json_array_append_new(list,
			                            finding_json(&doctor_checks[i], &finding));
		else
			print_finding(&doctor_checks[i], &finding);
	}
	if (as_json) {
		(void)json_dumpf(list, stdout, JSON_INDENT(2));
		(void)putchar('\n');
	}
	return cli_finish(failed ? STATUS_FAILED : STATUS_OK);
}

int cmd_doctor(int argc, char *argv[])
{
	struct doctor_options what = { .store = default_store(), .target = "/" };
	bool as_json = false;
	int option;

	/* One thread here. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (option == 'h') {
			(void)fputs(help, stdout);
			return STATUS_OK;
		}
		if (option == 's')
			what.store = optarg;
		else if (option == 'r')
			what.region = optarg;
		else if (option == 'j')
			as_json = true;
		else
			return STATUS_USAGE;
	}
	if (optind < argc)
		what.target = argv[optind++];
	if (optind < argc) {
		(void)fprintf(stderr, "assetfs doctor: unexpected argument '%s'\n", argv[optind]);
		return STATUS_USAGE;
	}
	return examine(&what, as_json);
}
