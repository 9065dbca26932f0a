/* SPDX-License-Identifier: Apache-2.0 */
#include "front/door.h"

const char *const door_counter_names[DOOR_COUNTERS_USED] = {
#define X(name, text) #name,
	DOOR_COUNTERS(X)
#undef X
};

const char *const door_counter_texts[DOOR_COUNTERS_USED] = {
#define X(name, text) text,
	DOOR_COUNTERS(X)
#undef X
};
