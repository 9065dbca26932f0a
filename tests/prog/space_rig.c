/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/prog/space_rig.h"
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>

oc_space *sp_make(oc_ns *ns, enum oc_space_how how)
{
	struct oc_space_options o = { .size = sizeof(o), .how = how };
	oc_space *s;
	int r = oc_space_create(ns, &o, &s);

	if (r && how == OC_SPACE_FAULTS)
		SKIP("userfaultfd is refused: %s", strerror(-r));
	CHECK_OK(r);
	return s;
}

void sp_start_words(struct space_rig *r, enum oc_space_how how,
		    const char *yaml)
{
	if (yaml)
		live_start_config(&r->n, yaml);
	else
		live_start(&r->n, "--dram=64MiB");
	r->c = live_connect(&r->n);
	r->ns = live_ns(r->c, SP_PART);
	r->s = sp_make(r->ns, how);
	CHECK_INT(oc_space_how(r->s), ==, how);
}

void sp_start(struct space_rig *r, enum oc_space_how how)
{
	sp_start_words(r, how, NULL);
}

void sp_end(struct space_rig *r)
{
	oc_space_destroy(r->s);
	live_check(r->c);
	CHECK_INT(live_stat(r->c).pins_held, ==, 0);
	oc_ns_close(r->ns);
	oc_client_close(r->c);
	live_stop(&r->n);
}

struct oc_key *sp_keys(uint64_t first, size_t n)
{
	struct oc_key *keys = calloc(n, sizeof(*keys));

	for (size_t i = 0; i < n; i++)
		keys[i] = live_key(first + i);
	return keys;
}

oc_span *sp_map_how(oc_space *s, uint64_t first, size_t n,
		    struct oc_span_options o)
{
	struct oc_key *keys = sp_keys(first, n);
	oc_span *sp;

	o.size = sizeof(o);
	CHECK_OK(oc_span_map(s, keys, n, &o, &sp));
	free(keys);
	return sp;
}

oc_span *sp_map(oc_space *s, uint64_t first, size_t n, unsigned flags)
{
	return sp_map_how(s, first, n,
			  (struct oc_span_options){ .part = SP_P0,
						    .flags = flags });
}

struct oc_span_info sp_info(oc_span *sp)
{
	struct oc_span_info info;

	CHECK_OK(oc_span_info(sp, &info));
	return info;
}

char *sp_at(oc_span *sp, size_t i)
{
	struct oc_span_info info = sp_info(sp);

	return (char *)info.base + i * info.block_stride;
}

enum oc_block_state sp_state(oc_span *sp, size_t i)
{
	struct oc_span_block b;

	CHECK_OK(oc_span_block(sp, i, &b));
	CHECK(b.address == sp_at(sp, i));
	return b.state;
}

/* Block i of the span is live_write()'s block `n`. */
void sp_right(oc_span *sp, size_t i, uint64_t n)
{
	struct oc_key key = live_key(n);

	if (live_wrong(&key, sp_at(sp, i), SP_PART))
		FAIL("block %zu has other bytes than %" PRIu64, i, n);
}

struct oc_space_report sp_report(oc_space *s)
{
	struct oc_space_report report = { .size = sizeof(report) };

	CHECK_OK(oc_space_report(s, &report));
	return report;
}

/* Where a page lies, for the kernel: the file's inode and the offset in it, or
 * 0 when it is nobody's. */
void sp_place(const void *address, uint64_t *ret_inode, uint64_t *ret_offset)
{
	unsigned long long from, to, offset, inode;
	FILE *f = fopen("/proc/self/maps", "re");
	char line[512];

	*ret_inode = *ret_offset = 0;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%llx-%llx %*s %llx %*s %llu", &from, &to,
			   &offset, &inode) != 4 ||
		    (uintptr_t)address < from || (uintptr_t)address >= to)
			continue;
		*ret_inode = inode;
		*ret_offset = offset + ((uintptr_t)address - from);
	}
	fclose(f);
}

/* ---- signals ---- */

static sigjmp_buf bus_back;
static volatile sig_atomic_t bus_count;

static void on_bus(int signo)
{
	(void)signo;
	bus_count++;
	siglongjmp(bus_back, 1);
}

bool sp_is_bus(char *p)
{
	bus_count = 0;
	if (sigsetjmp(bus_back, 1) == 0)
		(void)atomic_load_explicit((_Atomic(char) *)p,
					   memory_order_relaxed);
	return bus_count;
}

void sp_catch_bus(void)
{
	struct sigaction a = { .sa_handler = on_bus };

	CHECK_OK(sigaction(SIGBUS, &a, NULL));
	CHECK_OK(sigaction(SIGSEGV, &a, NULL));
}
