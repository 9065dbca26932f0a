/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A page that is redrawn in place: on the terminal's other screen, without
 * cursor. What does not fit in the window is cut. screen_close() gives the
 * terminal back as it was; while it is stopped (Ctrl-Z) the terminal is given
 * back as well. One at a time.
 */
#ifndef ONECOPY_PROG_SCREEN_H
#define ONECOPY_PROG_SCREEN_H

#include <stdbool.h>
#include <stddef.h>

/* Takes over standard output, SIGWINCH, SIGTSTP and SIGQUIT (which counts as a
 * wish to stop: screen_quit()). */
void screen_open(void);
void screen_close(void); /* closed already: no effect */
/* Text of lines; -errno when the terminal is gone. */
int screen_draw(const char *text, size_t bytes);
/* After a wait that a signal may have ended: stops when Ctrl-Z was pressed.
 * True: the page must be drawn again. */
bool screen_signalled(void);
bool screen_quit(void);

#endif
