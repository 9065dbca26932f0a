/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `onecopy bench llama` runs: measures, and prints what it measured as
 * JSON, without a judgement. Engines are processes of their own (worker.h), of
 * one thread, one at work at a time; the node is a private one.
 *
 * Each run has tokens of its own, so that the first engine misses:
 *
 *	A	a prompt of 2,048 tokens, cold and unshared; then shared
 *	B, new	the same prompt taken over, and restored from the engine's state
 *		file (written once, in the page cache), by turns
 *	A	shorter prompts with the node and without it by turns, each with
 *		an answer, during which it exports
 *
 * Once: a prefix that ends in the middle of another prompt; a kill of the
 * server; three agents over one system prompt in a pool of their own; the node
 * stopped and started again, and the prompt taken over from its drive.
 */
#ifndef ONECOPY_PROG_LLAMA_MEASURE_H
#define ONECOPY_PROG_LLAMA_MEASURE_H

int measure_command(int argc, char **argv);

#endif
