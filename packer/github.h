/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What GitHub Actions shows of a step: annotations, the summary, outputs. Each
 * function does nothing where its variable is not set.
 */
#pragma once

#include "report.h"

/* $GITHUB_ACTIONS: annotate the step; @kind is "error" or "warning". Any thread. */
void github_annotate(const char *kind, const char *text);

/* Whether github_report() has anything to write. */
bool github_wants_report(void);

/*
 * $GITHUB_STEP_SUMMARY: append a table of @report about the image @name.
 * $GITHUB_OUTPUT: append "digest=sha256:…". Returns 0 or -errno.
 */
MUST_CHECK int github_report(const struct report *report, const char *name, struct err *err);
