/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logarithms in whole numbers: products of many small factors become sums, and
 * every machine computes the same. A logarithm is in 1/256 of an octave, and at
 * most 1/256 wrong; a power is in 1/65536.
 */
#ifndef ONECOPY_POLICY_LOG2_H
#define ONECOPY_POLICY_LOG2_H

#include "base/compiler.h"

#define LOG2_ONE 256   /* an octave */
#define EXP2_ONE 65536 /* 2^0 */

extern const uint16_t log2_table[256];
extern const uint32_t exp2_table[256];

/* log2(v); 0 for v = 0. */
static inline int log2_of(uint64_t v)
{
	int top = v ? 63 - __builtin_clzll(v) : 0;
	uint64_t mantissa = top >= 8 ? v >> (top - 8) : v << (8 - top);

	return v ? top * LOG2_ONE + log2_table[mantissa & 255] : 0;
}

/* 2^(l / 256), in 1/65536; at most 2^15, and 0 below 2^-17. */
static inline uint32_t exp2_of(int l)
{
	int whole = l >> 8;

	if (whole < -17)
		return 0;
	if (whole > 14)
		return 1u << 31;
	return whole < 0 ? exp2_table[l & 255] >> -whole
			 : exp2_table[l & 255] << whole;
}

#endif
