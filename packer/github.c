/* SPDX-License-Identifier: Apache-2.0 */
#include "github.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/text.h"

/* The value of a variable, or NULL when it is not set or empty. */
static const char *variable(const char *name)
{
	/* Nothing sets the environment while assetpack runs. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	const char *value = getenv(name);

	return value && value[0] != '\0' ? value : NULL;
}

void github_annotate(const char *kind, const char *text)
{
	CLEANUP(free) char *line = NULL;
	const char *on = variable("GITHUB_ACTIONS");
	size_t len = 0;
	FILE *to;

	if (!on || strcmp(on, "true") != 0)
		return;
	to = open_memstream(&line, &len);
	if (!to)
		return;
	(void)fprintf(to, "::%s::", kind);
	for (; *text != '\0'; text++) {
		if (*text == '%' || *text == '\r' || *text == '\n')
			(void)fprintf(to, "%%%02X", (unsigned)*text);
		else
			(void)putc(*text, to);
	}
	(void)putc('\n', to);
	if (fclose(to) == 0)
		(void)fputs(line, stderr);
}

/* A text for a cell of a table: what Markdown or HTML would obey is escaped. */
static void print_cell(FILE *to, const char *text)
{
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < ' ' || c == 0x7f)
			(void)putc('?', to);
		else if (strchr("\\`*_{}[]<>()#+!|~&", c))
			(void)fprintf(to, "&#%u;", c);
		else
			(void)putc(c, to);
	}
}

static void print_size(FILE *to, uint64_t bytes)
{
	char size[TEXT_SIZE_MAX];

	(void)fprintf(to, " %s |", text_size(bytes, size));
}

static void print_platform(FILE *to, const struct report *report, const struct platform_report *p)
{
	char hex[DIGEST_HEX_SIZE];

	(void)fprintf(to, "| %s | %llu |", p->platform.name, (unsigned long long)p->files);
	print_size(to, p->bytes);
	print_size(to, p->stored_bytes);
	if (report->has_base) {
		print_size(to, p->update_bytes);
		print_size(to, p->delta_bytes);
	}
	(void)fprintf(to, " `sha256:%s` |\n", digest_hex(&p->manifest.digest, hex));
}

static void print_table(FILE *to, const struct report *report, const char *name)
{
	char hex[DIGEST_HEX_SIZE];

	(void)fputs("### Assets ", to);
	print_cell(to, name);
	(void)fprintf(to, "\n\n| platform | files | bytes | image |%s digest |\n",
	              report->has_base ? " new since base | with deltas |" : "");
	(void)fprintf(to, "|---|--:|--:|--:|%s---|\n", report->has_base ? "--:|--:|" : "");
	for (unsigned i = 0; i < report->n_platforms; i++)
		print_platform(to, report, &report->platforms[i]);
	(void)fputs("| **total** | |", to);
	print_size(to, report->input_bytes);
	print_size(to, report->stored_bytes);
	if (report->has_base) {
		print_size(to, report->upload_bytes);
		(void)fputs(" |", to);
	}
	(void)fprintf(to, " `sha256:%s` |\n\n", digest_hex(&report->image.digest, hex));
}

/* Append @text to @path; GitHub has made the file. */
static int append(const char *path, const char *text, struct err *err)
{
	CLEANUP(close) int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
	int r;

	if (fd < 0)
		return err_set_errno(err, "'%s'", path);
	r = io_write(fd, text, strlen(text));
	return r < 0 ? err_set(err, r, "'%s' could not be written: %s", path, strerrordesc_np(-r))
	             : 0;
}

static int append_table(const char *path, const struct report *report, const char *name,
                        struct err *err)
{
	CLEANUP(free) char *text = NULL;
	size_t len = 0;
	FILE *to = open_memstream(&text, &len);

	if (!to)
		return err_set(err, -ENOMEM, "out of memory");
	print_table(to, report, name);
	if (fclose(to) != 0)
		return err_set(err, -ENOMEM, "out of memory");
	return append(path, text, err);
}

bool github_wants_report(void)
{
	return variable("GITHUB_STEP_SUMMARY") != NULL || variable("GITHUB_OUTPUT") != NULL;
}

int github_report(const struct report *report, const char *name, struct err *err)
{
	const char *summary = variable("GITHUB_STEP_SUMMARY");
	const char *output = variable("GITHUB_OUTPUT");
	char hex[DIGEST_HEX_SIZE], line[sizeof("digest=sha256:\n") + DIGEST_HEX_SIZE];
	int r = summary ? append_table(summary, report, name, err) : 0;

	if (r < 0 || !output)
		return r;
	(void)snprintf(line, sizeof(line), "digest=sha256:%s\n",
	               digest_hex(&report->image.digest, hex));
	return append(output, line, err);
}
