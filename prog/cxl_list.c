/* SPDX-License-Identifier: Apache-2.0 */
/*
 * onecopy cxl list: tier/cxl's list, with what was measured of it, for people or
 * as JSON (docs/formats/cxl-list.md). Nothing is changed; what is measured is
 * only read.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/guard.h"
#include "base/text.h"
#include "cxl.h"
#include "tier/cxl/cxl.h"

#define WINDOW_NS (30 * NS_PER_MS)

enum { OPTION_ROOT = CLI_LONG, OPTION_POISON, OPTION_QUICK };

static const struct cli_option list_options[] = {
	{ 'j', "json", NULL, NULL, "print JSON" },
	{ OPTION_QUICK, "no-measure", NULL, NULL, "measure nothing" },
	{ OPTION_POISON, "poison", NULL, NULL,
	  "ask each device for the bytes that it knows to be bad; needs root" },
	{ OPTION_ROOT, "root", "DIR", NULL,
	  "read sys/ of DIR, a picture of another machine; measures nothing" },
	CLI_END
};

struct listing {
	const struct command *command;
	const char *root;
	bool json, measure, poison;
	struct cxl_list *list;
	json_t *all; /* of memory, with --json */
};

/* ---- JSON ---------------------------------------------------------------------- */

static void put_u64(json_t *o, const char *name, uint64_t value)
{
	json_object_set_new(
		o, name,
		json_integer((json_int_t)MIN(value, (uint64_t)INT64_MAX)));
}

/* What is not known is left out. */
static void put_known(json_t *o, const char *name, int64_t value)
{
	if (value >= 0)
		json_object_set_new(o, name, json_integer(value));
}

static void put_text(json_t *o, const char *name, const char *value)
{
	json_object_set_new(o, name, json_string(value));
}

static void put_claim(json_t *o, const struct cxl_claim *c)
{
	if (c->read_latency_ns)
		put_u64(o, "firmware_read_latency_ns", c->read_latency_ns);
	if (c->write_latency_ns)
		put_u64(o, "firmware_write_latency_ns", c->write_latency_ns);
	if (c->read_bytes_per_s)
		put_u64(o, "firmware_read_bytes_per_s", c->read_bytes_per_s);
	if (c->write_bytes_per_s)
		put_u64(o, "firmware_write_bytes_per_s", c->write_bytes_per_s);
}

static json_t *memory_json(const struct cxl_memory *m)
{
	json_t *o = json_object();

	put_text(o, "name", m->name);
	put_text(o, "kind", cxl_memory_kind_name(m->kind));
	put_text(o, "state", cxl_memory_state_name(m->state));
	put_text(o, "on", m->on);
	json_object_set_new(o, "cxl", json_boolean(m->cxl));
	put_u64(o, "bytes", m->bytes);
	if (m->kind != CXL_NODE) {
		put_text(o, "driver", m->driver);
		json_object_set_new(o, "persistent",
				    json_boolean(m->persistent));
	}
	if (m->kind == CXL_MEMDEV)
		put_u64(o, "persistent_bytes", m->persistent_bytes);
	if (m->kind == CXL_NODE)
		put_u64(o, "free_bytes", m->free_bytes);
	if (m->kind == CXL_DAX)
		put_u64(o, "align", m->align);
	if (m->resource)
		put_u64(o, "resource", m->resource);
	if (m->kind == CXL_REGION) {
		put_u64(o, "ways", m->ways);
		put_u64(o, "granularity", m->granularity);
	}
	put_known(o, "node", m->node);
	put_known(o, "memory_tier", m->rank);
	put_known(o, "memory_failures", m->failures);
	put_known(o, "poison_bytes", m->poison_bytes);
	put_claim(o, &m->claim);
	return o;
}

static json_t *speed_json(const struct cxl_near *near,
			  const struct cxl_speed *s, int error)
{
	json_t *o = json_object();

	put_u64(o, "from_node", (uint64_t)near->node);
	if (error) {
		put_text(o, "error", strerror(-error));
		return o;
	}
	json_object_set_new(o, "latency_ns", json_real(s->latency_ns));
	put_u64(o, "read_bytes_per_s", (uint64_t)s->read_bytes_per_s);
	put_u64(o, "bytes_read", s->bytes);
	return o;
}

/* ---- for people ------------------------------------------------------------------ */

static void print_claim(const struct cxl_claim *c)
{
	if (!c->read_latency_ns && !c->read_bytes_per_s)
		return;
	printf("%12s firmware: ", "");
	if (c->read_latency_ns)
		printf("%" PRIu64 " ns%s", c->read_latency_ns,
		       c->read_bytes_per_s ? ", " : "");
	if (c->read_bytes_per_s)
		printf("%.1f GB/s", (double)c->read_bytes_per_s / 1e9);
	printf("\n");
}

static void print_more(const struct cxl_memory *m)
{
	char text[32];

	if (m->kind == CXL_NODE)
		printf(", %s free", text_size(m->free_bytes, text));
	if (m->persistent)
		printf(", persistent");
	if (m->kind == CXL_MEMDEV && !m->persistent && m->persistent_bytes)
		printf(", %s persistent", text_size(m->persistent_bytes, text));
	if (m->kind == CXL_DAX)
		printf(", align %s", text_size(m->align, text));
	if (m->kind == CXL_REGION && m->ways > 1)
		printf(", %u ways of %u bytes", m->ways, m->granularity);
	if (m->kind != CXL_NODE && m->node >= 0)
		printf(", node%d", m->node);
	if (m->rank >= 0)
		printf(", memory tier %d", m->rank);
	if (m->driver[0])
		printf(", driver %s", m->driver);
	if (m->kind == CXL_NODE && !m->cxl)
		printf(", no CXL device known");
	if (m->failures > 0)
		printf(", %" PRId64 " pages lost to memory errors",
		       m->failures);
	if (m->poison_bytes >= 0)
		printf(", %" PRId64 " bytes poisoned", m->poison_bytes);
}

static void print_memory(const struct cxl_memory *m)
{
	char size[32];

	printf("%-12s %-8s %-10s %9s%s%s", m->name,
	       cxl_memory_kind_name(m->kind), cxl_memory_state_name(m->state),
	       text_size(m->bytes, size), m->on[0] ? " on " : "", m->on);
	print_more(m);
	printf("\n");
	print_claim(&m->claim);
}

static void print_speed(const struct cxl_near *near, const struct cxl_speed *s,
			int error)
{
	char size[32];

	if (error)
		printf("%12s from node%d: not measured: %s\n", "", near->node,
		       strerror(-error));
	else
		printf("%12s from node%d: %.0f ns, %.1f GB/s (one thread, %s "
		       "read)\n",
		       "", near->node, s->latency_ns, s->read_bytes_per_s / 1e9,
		       text_size(s->bytes, size));
}

/* ---- the list --------------------------------------------------------------------- */

static void list_measure(struct listing *l, const struct cxl_memory *m,
			 json_t *speeds)
{
	/* a machine that tells of no nodes is all one */
	static const struct cxl_near here = { .node = 0 };
	uint32_t n = MAX(l->list->n_near, 1u);

	if (m->state != CXL_READY ||
	    (m->kind != CXL_DAX && m->kind != CXL_NODE))
		return;
	for (uint32_t i = 0; i < n; i++) {
		bool known = l->list->n_near > 0;
		const struct cxl_near *near = known ? &l->list->near[i] : &here;
		struct cxl_speed s = { 0 };
		int r = cxl_measure(m, known ? near : NULL, WINDOW_NS, &s);

		if (l->json)
			json_array_append_new(speeds, speed_json(near, &s, r));
		else
			print_speed(near, &s, r);
	}
}

static void list_one(struct listing *l, struct cxl_memory *m)
{
	json_t *o, *speeds;
	int r = 0;

	if (l->poison && m->kind == CXL_MEMDEV)
		r = cxl_poison(m);
	if (r)
		cli_fail(l->command, 0, "%s: its list of poison: %s", m->name,
			 strerror(-r));
	if (!l->json) {
		print_memory(m);
		if (l->measure)
			list_measure(l, m, NULL);
		return;
	}
	o = memory_json(m);
	speeds = json_array();
	if (l->measure)
		list_measure(l, m, speeds);
	json_object_set_new(o, "measured", speeds);
	json_array_append_new(l->all, o);
}

static int list_json(struct listing *l)
{
	json_t *root = json_object(), *nodes = json_array();
	int bad;

	for (uint32_t i = 0; i < l->list->n_near; i++)
		json_array_append_new(nodes,
				      json_integer(l->list->near[i].node));
	put_u64(root, "format", 1);
	json_object_set_new(root, "bus", json_boolean(l->list->bus));
	put_u64(root, "decoders", l->list->decoders);
	put_u64(root, "left_out", l->list->spilled);
	json_object_set_new(root, "nodes_with_processors", nodes);
	json_object_set(root, "memory", l->all);
	bad = json_dumpf(root, stdout, JSON_INDENT(2));
	printf("\n");
	json_decref(root);
	return bad ? PROG_SYSTEM : PROG_OK;
}

static int list_all(struct listing *l)
{
	int r = cxl_find(l->root, &l->list);

	if (r)
		return cli_fail(l->command, PROG_SYSTEM, "%s", strerror(-r));
	l->all = json_array();
	for (uint32_t i = 0; i < l->list->n; i++)
		list_one(l, &l->list->memory[i]);
	if (l->json)
		r = list_json(l);
	else if (l->list->n == 0)
		printf("nothing: %s, no dax device, no node without "
		       "processors\n",
		       l->list->bus ? "a CXL bus without memory"
				    : "no CXL bus");
	if (l->list->spilled)
		cli_fail(l->command, 0, "%u more were left out",
			 l->list->spilled);
	json_decref(l->all);
	cxl_list_destroy(l->list);
	return r;
}

/* Without sys there is no machine in it, not a machine without memory. */
static int list_root(const struct command *self, const char *root)
{
	char path[PATH_MAX];
	struct stat st;

	if (snprintf(path, sizeof(path), "%s/sys", root) >= (int)sizeof(path))
		return cli_fail(self, PROG_BAD_INPUT, "%s: too long", root);
	if (stat(path, &st))
		return cli_fail(self, PROG_BAD_INPUT, "%s: %s", path,
				strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return cli_fail(self, PROG_BAD_INPUT, "%s: no directory", path);
	return 0;
}

static int list_run(const struct command *self, int argc, char **argv)
{
	struct listing l = { .command = self, .root = "", .measure = true };
	struct cli c;
	int id, r;

	cli_begin(&c, self, argc, argv);
	while ((id = cli_next(&c)) > 0) {
		if (id == 'j')
			l.json = true;
		else if (id == OPTION_QUICK)
			l.measure = false;
		else if (id == OPTION_POISON)
			l.poison = true;
		else
			l.root = c.value;
	}
	if (id < 0)
		return c.status;
	r = cli_words(&c, 0, 0);
	if (r)
		return r;
	if (l.root[0]) {
		l.measure = false; /* nothing of it is here */
		if (l.poison)
			return cli_fail(self, PROG_USAGE,
					"--poison asks this machine's devices, "
					"--root is another machine");
		r = list_root(self, l.root);
		if (r)
			return r;
	}
	guard_install(); /* for cxl_measure() */
	return list_all(&l);
}

const struct command cxl_command_list = {
	.name = "cxl list",
	.summary = "CXL memory of this machine, its state and its speed",
	.usage = "[OPTIONS]",
	.options = list_options,
	.run = list_run,
};
