/* SPDX-License-Identifier: Apache-2.0 */
#include "progress.h"

#include <stdio.h>

#define PROGRESS_WIDTH 40

void progress_show(bool terminal, const char *what, double done)
{
	char bar[PROGRESS_WIDTH + 1];

	if (!terminal)
		return;
	for (int i = 0; i < PROGRESS_WIDTH; i++)
		bar[i] = (double)i < done * PROGRESS_WIDTH ? '#' : '.';
	bar[PROGRESS_WIDTH] = '\0';
	fprintf(stderr, "\r%s [%s] %3.0f %%", what, bar, 100 * done);
	fflush(stderr);
}

void progress_clear(bool terminal)
{
	if (terminal)
		fprintf(stderr, "\r\033[K");
}
