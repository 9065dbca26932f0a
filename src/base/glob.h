/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Patterns over bytes, as Redis's SCAN MATCH has them. Pure.
 *
 *	*	any bytes, none too		?	any one byte
 *	[a-z]	one of these			[^a-z]	one that is none of these
 *	\x	x as it stands, in brackets too
 *
 * Case counts, no byte is special to `*` and `?` ('/' and 0 are bytes like any).
 * A ']' ends the brackets wherever it stands, so "[]" matches nothing; brackets
 * that are not closed end with the pattern; 'z-a' is 'a-z'; a '\' at the
 * pattern's end is itself. At most pattern_len * len steps.
 */
#ifndef ONECOPY_BASE_GLOB_H
#define ONECOPY_BASE_GLOB_H

#include "base/compiler.h"

bool glob_match(const char *pattern, size_t pattern_len, const char *text,
		size_t len);

#endif
