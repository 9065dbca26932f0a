/* SPDX-License-Identifier: Apache-2.0 */
#include "screen.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define ENTER "\033[?1049h\033[?25l" /* other screen, no cursor */
#define LEAVE "\033[?25h\033[?1049l"

static bool screen_is_open;
static volatile sig_atomic_t screen_resized, screen_stop, screen_end;

static void screen_on_signal(int signo)
{
	if (signo == SIGWINCH)
		screen_resized = 1;
	else if (signo == SIGTSTP)
		screen_stop = 1;
	else
		screen_end = 1;
}

static void screen_catch(void (*handler)(int))
{
	static const int signals[] = { SIGWINCH, SIGTSTP, SIGQUIT };
	struct sigaction action = { .sa_handler = handler };

	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &action, NULL);
}

/* Past stdio, which loses what a signal interrupts. */
static int screen_write(const char *text, size_t bytes)
{
	while (bytes > 0) {
		ssize_t n = write(STDOUT_FILENO, text, bytes);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			text += n;
			bytes -= (size_t)n;
		}
	}
	return 0;
}

static void screen_put(const char *text)
{
	screen_write(text, strlen(text));
}

void screen_open(void)
{
	screen_catch(screen_on_signal);
	screen_put(ENTER);
	screen_is_open = true;
}

void screen_close(void)
{
	if (!screen_is_open)
		return;
	screen_is_open = false;
	screen_put(LEAVE);
	screen_catch(SIG_DFL);
}

bool screen_quit(void)
{
	return screen_end;
}

bool screen_signalled(void)
{
	bool again = screen_resized || screen_stop;

	screen_resized = 0;
	if (screen_stop) {
		screen_stop = 0;
		screen_put(LEAVE);
		raise(SIGSTOP);
		screen_put(ENTER);
	}
	return again;
}

/* ---- drawing ----------------------------------------------------------------- */

static void screen_size(size_t *rows, size_t *columns)
{
	struct winsize w = { 0 };

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) < 0 || !w.ws_row || !w.ws_col)
		w = (struct winsize){ .ws_row = 24, .ws_col = 80 };
	*rows = w.ws_row;
	*columns = w.ws_col;
}

/* A character of UTF-8 takes a column; what would move the cursor or speak to
 * the terminal (names are whatever clients say) becomes '?'. */
static void screen_line(FILE *out, const char *text, size_t bytes,
			size_t columns)
{
	size_t used = 0;

	for (size_t i = 0; i < bytes; i++) {
		unsigned char c = (unsigned char)text[i];
		bool follows = (c & 0xc0) == 0x80;

		if (!follows && used++ == columns)
			break;
		/* C1 controls are 0xc2 0x80 .. 0x9f */
		if (c == 0xc2 && i + 1 < bytes &&
		    (unsigned char)text[i + 1] < 0xa0) {
			putc('?', out);
			i++;
		} else {
			putc(c < 0x20 || c == 0x7f ? '?' : c, out);
		}
	}
	fputs("\033[K", out);
}

static void screen_page(FILE *out, const char *text, size_t bytes)
{
	const char *end = text + bytes;
	size_t rows, columns;

	screen_size(&rows, &columns);
	fputs("\033[H", out);
	for (size_t row = 0; row < rows && text < end; row++) {
		const char *stop = memchr(text, '\n', (size_t)(end - text));
		size_t n = (size_t)((stop ? stop : end) - text);

		/* none after the last line: it would scroll */
		if (row)
			fputs("\n", out);
		screen_line(out, text, n, columns);
		text += n + 1;
	}
	fputs("\033[J", out);
}

int screen_draw(const char *text, size_t bytes)
{
	char *page = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&page, &n);
	int r;

	if (!out)
		return -errno;
	screen_page(out, text, bytes);
	r = fclose(out) ? -ENOMEM : screen_write(page, n);
	free(page);
	return r;
}
