/* SPDX-License-Identifier: Apache-2.0 */
/* The fake libcufile as one of the first versions. */
#define FAKE_OLD
#include "tests/fakes/cufile.c"
