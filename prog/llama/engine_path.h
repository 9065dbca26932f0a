/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ONECOPY_PROG_LLAMA_ENGINE_PATH_H
#define ONECOPY_PROG_LLAMA_ENGINE_PATH_H

/* The folder that tools/fetch-llama filled beside a program that was not
 * installed; NULL where there is none or $ONECOPY_LLAMA says another. */
const char *engine_fetched(void);

#endif
