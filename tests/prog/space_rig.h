/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A space over a real node, for tests: one client, one namespace whose parts are
 * SP_PART bytes, blocks that live_write() wrote. What goes wrong in a helper fails
 * the test.
 */
#ifndef ONECOPY_TESTS_PROG_SPACE_RIG_H
#define ONECOPY_TESTS_PROG_SPACE_RIG_H

#include <onecopy/space.h>
#include "tests/prog/live.h"

#define SP_PART (16 * KIB)
#define SP_P0	((struct oc_part){ 0, 0 })

struct space_rig {
	struct live n;
	oc_client *c;
	oc_ns *ns;
	oc_space *s;
};

/* Skips the test where faults are asked for and refused. */
oc_space *sp_make(oc_ns *ns, enum oc_space_how how);
void sp_start(struct space_rig *r, enum oc_space_how how);
/* With a configuration of this text; NULL: 64 MiB and nothing else. */
void sp_start_words(struct space_rig *r, enum oc_space_how how,
		    const char *yaml);
#define SP_FEW_PINS                                            \
	"dram: 64MiB\nclients:\n  pins: 64\n  overflow_pins: " \
	"16\n"
/* Ends the space, and checks that nothing is held then. */
void sp_end(struct space_rig *r);

/* Of live_write()'s blocks from `first` on; free() them. */
struct oc_key *sp_keys(uint64_t first, size_t n);
oc_span *sp_map_how(oc_space *s, uint64_t first, size_t n,
		    struct oc_span_options o);
oc_span *sp_map(oc_space *s, uint64_t first, size_t n, unsigned flags);
struct oc_span_info sp_info(oc_span *sp);
/* The address of a block. */
char *sp_at(oc_span *sp, size_t i);
enum oc_block_state sp_state(oc_span *sp, size_t i);
/* Block i of the span is live_write()'s block `n`. */
void sp_right(oc_span *sp, size_t i, uint64_t n);
struct oc_space_report sp_report(oc_space *s);
/* Where a page lies, for the kernel: the file's inode and the offset in it, or
 * 0 when it is nobody's. */
void sp_place(const void *address, uint64_t *ret_inode, uint64_t *ret_offset);

/* SIGBUS and SIGSEGV are caught from now on: is a read there one of them? */
void sp_catch_bus(void);
bool sp_is_bus(char *p);

#endif
