/* SPDX-License-Identifier: Apache-2.0 */
#include "fsstat_term.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define ENTER "\033[?1049h\033[?25l" /* another screen, no cursor */
#define LEAVE "\033[?25h\033[?1049l"
#define HOME  "\033[H"
#define CLEAR "\033[K" /* to the end of the line */
#define BELOW "\033[J"

static bool is_full(void)
{
	/* Nothing in this program changes the environment. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	const char *name = getenv("TERM");

	return isatty(STDOUT_FILENO) && name && name[0] != '\0' && strcmp(name, "dumb") != 0;
}

static void enter(struct term *term)
{
	struct termios raw;

	if (term->keys) {
		raw = term->saved;
		raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
		(void)tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	}
	if (term->full)
		(void)fputs(ENTER, stdout);
	(void)fflush(stdout);
}

static void leave(struct term *term)
{
	if (term->full)
		(void)fputs(LEAVE, stdout);
	(void)fflush(stdout);
	if (term->keys)
		(void)tcsetattr(STDIN_FILENO, TCSANOW, &term->saved);
}

int term_open(struct term *term, struct err *err)
{
	static const int wanted[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGWINCH };
	sigset_t set;

	(void)sigemptyset(&set);
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		(void)sigaddset(&set, wanted[i]);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	term->signals = signalfd(-1, &set, SFD_CLOEXEC);
	if (term->signals < 0)
		return err_set_errno(err, "signals");
	/* One thread here. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	(void)setlocale(LC_CTYPE, "");
	/* NOLINTNEXTLINE(concurrency-mt-unsafe) */
	term->utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
	term->full = is_full();
	term->keys = term->full && tcgetattr(STDIN_FILENO, &term->saved) == 0;
	enter(term);
	return 0;
}

void term_close(struct term *term)
{
	if (term->signals < 0)
		return;
	leave(term);
	(void)close(term->signals);
	*term = TERM_INIT;
}

void term_size(unsigned *ret_columns, unsigned *ret_rows)
{
	struct winsize size;
	bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;

	*ret_columns = known ? size.ws_col : 80;
	*ret_rows = known && size.ws_row > 0 ? size.ws_row : 24;
}

/* Bytes of the first @columns characters of the @len bytes at @line. */
static size_t cut(const char *line, size_t len, unsigned columns)
{
	unsigned n = 0;
	size_t i;

	for (i = 0; i < len; i++) {
		/* All but the bytes that go on with a character begin one. */
		if (((unsigned char)line[i] & 0xc0) != 0x80 && n++ == columns)
			break;
	}
	return i;
}

int term_draw(const struct term *term, const char *text)
{
	unsigned columns;
	unsigned rows;

	if (!term->full) {
		(void)fputs(text, stdout);
		return fflush(stdout) == 0 ? 0 : -errno;
	}
	term_size(&columns, &rows);
	(void)fputs(HOME, stdout);
	for (unsigned row = 0; row < rows && *text != '\0'; row++) {
		size_t len = strcspn(text, "\n");

		(void)fwrite(text, 1, cut(text, len, columns), stdout);
		(void)fputs(CLEAR, stdout);
		text += len + (text[len] == '\n');
		/* A line end in the last row would scroll. */
		if (*text != '\0' && row + 1 < rows)
			(void)fputs("\r\n", stdout);
	}
	(void)fputs(BELOW, stdout);
	return fflush(stdout) == 0 ? 0 : -errno;
}

static enum term_event take_signal(struct term *term)
{
	struct signalfd_siginfo info;

	if (read(term->signals, &info, sizeof(info)) != sizeof(info))
		return TERM_END;
	if (info.ssi_signo == SIGWINCH)
		return TERM_REDRAW;
	if (info.ssi_signo != SIGTSTP)
		return TERM_END;
	leave(term);
	(void)raise(SIGSTOP);
	enter(term);
	return TERM_REDRAW;
}

enum term_event term_wait(struct term *term, int ms, char *ret_key)
{
	struct pollfd fds[] = {
		{ .fd = term->signals, .events = POLLIN },
		{ .fd = term->keys ? STDIN_FILENO : -1, .events = POLLIN },
		{ .fd = STDOUT_FILENO, .events = 0 }, /* the other end may go away */
	};

	if (poll(fds, 3, ms) <= 0)
		return TERM_TIMEOUT;
	if (fds[0].revents)
		return take_signal(term);
	if (fds[2].revents & (POLLERR | POLLHUP | POLLNVAL))
		return TERM_END;
	if (fds[1].revents && read(STDIN_FILENO, ret_key, 1) == 1)
		return TERM_KEY;
	return fds[1].revents ? TERM_END : TERM_TIMEOUT;
}
